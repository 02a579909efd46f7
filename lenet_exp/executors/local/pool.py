"""The executor for this machine: a pool of worker processes, which survives the death of workers.

Each worker has its own process group (setsid), so Ctrl-C reaches only the pool's process. A worker
runs one job after another. If a worker dies, its job is retried, and the other workers continue. If
the pool's process dies, running jobs write a checkpoint, and the workers end.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Self

import cloudpickle

from lenet_exp.executors.local.devices import prepare_worker
from lenet_exp.executors.work import JobEnd, WorkSpec
from lenet_exp.folders.job import Job
from lenet_exp.stopping import stop_signal

log = logging.getLogger("lenet_exp")

STOP_SECONDS = 30.0  # maximum time for a job to end after SIGTERM
LONG_SECONDS = 3600.0  # in place of a time limit


@dataclass
class _Worker:
    """A worker process.

    Attributes:
        slot: a number that no other worker has at the same time.
        job: its current job; None if it is idle.
        job_started: time when it received the job.
        stop_by: time by which it must end after a signal; None if it received none.
        over_limit: whether the job exceeded the time limit.
    """

    process: subprocess.Popen[bytes]
    pipe: Connection
    slot: int
    job: Job | None = None
    job_started: float = 0.0
    stop_by: float | None = None
    over_limit: bool = False


class PoolExecutor:
    """An `Executor` for this machine: a pool of worker processes, each of which runs many jobs.

    Args:
        work: functions that run the jobs, and information about the jobs.
        workers: maximum number of worker processes.
        retries: number of times to retry a job whose worker died.
        time_limit: maximum duration of a job, in seconds; None for no limit. If a job exceeds it,
            its worker receives SIGTERM, and the job counts as lost.
    """

    def __init__(
        self, work: WorkSpec, workers: int, *, retries: int, time_limit: float | None
    ) -> None:
        self.capacity = workers
        if work.jobs is not None:
            self.capacity = min(workers, work.jobs)
        self._work = work
        self._retries = retries
        self._time_limit = time_limit
        prepare = partial(prepare_worker, partial(work.prepare, work.sets), work.devices)
        self._prepare = cloudpickle.dumps(prepare)  # called with the worker's slot
        self._waiting: deque[Job] = deque()
        self._tries = Counter[int]()
        self._workers: list[_Worker] = []
        self._stopping = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._waiting.append(job)

    def next_done(self, timeout: float) -> JobEnd | None:
        """Wait for the next job to end, and return how it ended.

        Return None after `timeout` seconds, or if all jobs have ended.
        """
        deadline = time.monotonic() + timeout
        while True:
            self._assign()
            busy_workers = [worker for worker in self._workers if worker.job is not None]
            left = deadline - time.monotonic()
            if not busy_workers or left <= 0:
                return None

            pause = min(left, *map(self._seconds_left, busy_workers))
            pipes = [worker.pipe for worker in busy_workers]
            ready_pipes = wait(pipes, max(pause, 0.0))
            for worker in busy_workers:
                if worker.pipe in ready_pipes:
                    done = self._receive(worker)
                    if done is not None:
                        return done
                elif self._seconds_left(worker) <= 0:
                    self._enforce_limit(worker)

    @property
    def running(self) -> dict[int, int]:
        """Process IDs of the workers of running jobs, keyed by job number."""
        return {
            worker.job.number: worker.process.pid
            for worker in self._workers
            if worker.job is not None
        }

    def stop(self) -> None:
        """Start no new jobs, and stop the running jobs gracefully.

        `next_done` still returns how they ended. Workers receive the signal that this process
        received or, if it received none, SIGTERM.
        """
        self._waiting.clear()
        self._stopping = True
        for worker in self._workers:
            if worker.job is not None and worker.stop_by is None:
                self._stop(worker, stop_signal() or signal.SIGTERM)

    def kill(self) -> None:
        """Kill all workers and all processes that they started."""
        for worker in self._workers:
            _kill_group(worker.process)

    def close(self) -> None:
        """Stop idle workers and kill busy ones."""
        for worker in self._workers:
            worker.pipe.close()
            if worker.job is not None:
                _kill_group(worker.process)

        for worker in self._workers:
            try:
                worker.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                _kill_group(worker.process)
                worker.process.wait()
        self._workers = []

    def _assign(self) -> None:
        """Assign waiting jobs to idle workers, and start workers for the remaining jobs."""
        while self._waiting:
            worker = self._idle_worker()
            if worker is None:
                return
            job = self._waiting.popleft()
            worker.job = job
            worker.job_started = time.monotonic()
            worker.stop_by = None
            worker.over_limit = False

            asks = self._work.answer is not None
            # An OSError means that the worker died while idle or starting. `_receive` detects the
            # end of its pipe.
            with contextlib.suppress(OSError):
                worker.pipe.send_bytes(cloudpickle.dumps((self._work.task, job, asks)))

    def _idle_worker(self) -> _Worker | None:
        """Return an idle worker, which may be a new one; None if all workers are busy."""
        for worker in self._workers:
            if worker.job is None:
                return worker
        if len(self._workers) >= self.capacity:
            return None
        worker = self._start()
        self._workers.append(worker)
        return worker

    def _start(self) -> _Worker:
        # The smallest number that no other worker has; the slot of a dead worker is free again.
        used_slots = {worker.slot for worker in self._workers}
        slot = min(set(range(self.capacity)) - used_slots)

        pool_end, worker_end = socket.socketpair()
        inherited = [worker_end.fileno()]
        for dataset in self._work.sets:
            inherited += dataset.descriptors
        import_path = os.pathsep.join(folder for folder in sys.path if folder)
        # Without -P, a torch.py in the working directory would be imported first.
        command = [sys.executable, "-P", "-m", "lenet_exp.executors.local.worker"]
        command += [str(worker_end.fileno()), str(slot)]

        with worker_end, self._work.output.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=inherited,
                env={**os.environ, "PYTHONPATH": import_path},
                start_new_session=True,
            )
        pipe = Connection(pool_end.detach())
        with contextlib.suppress(OSError):
            pipe.send_bytes(self._prepare)
        return _Worker(process, pipe, slot)

    def _receive(self, worker: _Worker) -> JobEnd | None:
        """Handle a worker's message.

        Return the end of its job, or None if the job continues or is retried.
        """
        job = worker.job
        assert job is not None
        try:
            question, value, error = cloudpickle.loads(worker.pipe.recv_bytes())
        except (EOFError, OSError):
            return self._lost(worker, job)

        if question is not None:
            assert self._work.answer is not None
            answer = cloudpickle.dumps(self._work.answer(question))
            # If the worker has died, the next read detects the end of its pipe.
            with contextlib.suppress(OSError):
                worker.pipe.send_bytes(answer)
            return None

        worker.job = None
        if worker.stop_by is not None:  # it received a signal to stop and is exiting
            self._remove(worker)
        return self._end(worker, JobEnd(job.number, value, error))

    def _lost(self, worker: _Worker, job: Job) -> JobEnd | None:
        """Handle the death of a worker. Return the end of its job, or None if it is retried."""
        _kill_group(worker.process)  # also kills processes that the worker started
        status = worker.process.wait()
        self._remove(worker)
        self._tries[job.number] += 1
        if status < 0:
            reason = f"killed by {signal.Signals(-status).name}"
        else:
            reason = f"its process exited with status {status}"

        has_tries_left = self._tries[job.number] <= self._retries
        if has_tries_left and not self._stopping and not worker.over_limit:
            log.info("%s: %s; retrying it", job.name, reason)
            self._waiting.appendleft(job)
            return None
        return self._end(worker, JobEnd(job.number, lost=reason))

    def _end(self, worker: _Worker, done: JobEnd) -> JobEnd:
        """Return the end of a job, which is lost if it exceeded the time limit."""
        del self._tries[done.job]
        if not worker.over_limit:
            return done
        reason = f"exceeded the time limit of {self._time_limit:g} s"
        return JobEnd(done.job, lost=reason, over_limit=True)

    def _remove(self, worker: _Worker) -> None:
        worker.pipe.close()
        self._workers.remove(worker)
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(STOP_SECONDS)

    def _seconds_left(self, worker: _Worker) -> float:
        """Return the seconds until a worker's time limit or, after a signal, until it must end."""
        if worker.stop_by is not None:
            return worker.stop_by - time.monotonic()
        if not self._time_limit:
            return LONG_SECONDS
        return worker.job_started + self._time_limit - time.monotonic()

    def _enforce_limit(self, worker: _Worker) -> None:
        """Stop a worker whose time is up or, if it was stopped before, kill it."""
        if worker.stop_by is None:
            worker.over_limit = True
            self._stop(worker, signal.SIGTERM)
        else:
            worker.stop_by = time.monotonic() + STOP_SECONDS
            _kill_group(worker.process)

    @staticmethod
    def _stop(worker: _Worker, signum: signal.Signals) -> None:
        worker.stop_by = time.monotonic() + STOP_SECONDS
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.process.pid, signum)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
