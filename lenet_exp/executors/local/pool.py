"""A pool of worker processes that survives the death of any of them.

Each worker has a process group of its own (setsid), so that Ctrl-C reaches only the pool's process. A worker runs one
job after the other. If a worker dies, its job is retried and the others continue. If the pool's process dies, the
workers finish cleanly.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import cloudpickle

from lenet_exp.stopping import stop_signal

STOP_SECONDS = 30.0  # time for a job to end after SIGTERM


@dataclass(frozen=True)
class JobEnd:
    """How a job ended.

    Attributes:
        job: the job's number, as submitted.
        value: the value that the job returned.
        error: the exception that the job raised; None if it raised none.
        lost: why there is neither a value nor an error, such as `killed by SIGKILL`; None if there is one.
        over_limit: whether the job was lost because it exceeded its time limit.
    """

    job: int
    value: Any = None
    error: BaseException | None = None
    lost: str | None = None
    over_limit: bool = False


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    pipe: Connection
    job: int | None = None
    since: float = 0.0
    stop_by: float | None = None
    over_limit: bool = False


class Pool:
    """Runs `function(*arguments)` for each submitted job, in at most `workers` processes. Use it as a context manager.

    Args:
        workers: number of processes.
        retries: how many times to retry a job whose worker died.
        time_limit: seconds that a job may take; after that, its worker gets SIGTERM and the job counts as lost. None:
            no limit.
        prepare: called once in each new worker, before its first job.
        inherit: file descriptors that the workers keep open.
        output: file to which the workers' stdout and stderr are appended; None: the pool's own streams.
        answer: computes the answer to a job's question; called within `next_done`.
    """

    def __init__(
        self,
        workers: int,
        *,
        retries: int = 0,
        time_limit: float | None = None,
        prepare: Callable[[], object] | None = None,
        inherit: Sequence[int] = (),
        output: Path | None = None,
        answer: Callable[[Any], Any] | None = None,
    ) -> None:
        self._size = workers
        self._retries = retries
        self._time_limit = time_limit
        self._prepare = cloudpickle.dumps(prepare)
        self._inherit = tuple(inherit)
        self._output = output
        self._answer = answer
        self._waiting: deque[int] = deque()
        self._tasks: dict[int, bytes] = {}
        self._tries: dict[int, int] = {}
        self._workers: list[_Worker] = []
        self._stopping = False

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, job: int, function: Callable[..., Any], *arguments: Any) -> None:
        """Queue a job. The caller chooses the number `job`, and the job's `JobEnd` repeats it.

        If the pool has an `answer`, `function` gets one more argument: a function that sends a question and returns the
        answer.
        """
        self._tasks[job] = cloudpickle.dumps((function, arguments, self._answer is not None))
        self._tries[job] = 0
        self._waiting.append(job)

    def next_done(self, timeout: float | None = None) -> JobEnd | None:
        """Wait for the next job to end. Return None after `timeout` seconds, or if no job is left to wait for."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            self._assign()
            busy = [w for w in self._workers if w.job is not None]
            if not busy:
                return None
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return None
            pause = min([left if left is not None else 3600.0, *(self._limit(w) for w in busy)])
            ready = wait([w.pipe for w in busy], max(pause, 0.0))
            for worker in busy:
                if worker.pipe in ready:
                    done = self._receive(worker)
                    if done is not None:
                        return done
                elif self._limit(worker) <= 0:
                    self._enforce(worker)

    @property
    def running(self) -> dict[int, int]:
        """The jobs that are running, with the process ids of their workers."""
        return {w.job: w.process.pid for w in self._workers if w.job is not None}

    def stop(self) -> None:
        """Start no more jobs and ask the running ones to stop; `next_done` still returns them.

        Workers get the signal that this process received or, if there was none, SIGTERM.
        """
        self._waiting.clear()
        self._stopping = True
        for worker in self._workers:
            if worker.job is not None and worker.stop_by is None:
                self._ask(worker, stop_signal() or signal.SIGTERM)

    def kill(self) -> None:
        """Kill all workers and every process that they started."""
        for worker in self._workers:
            _kill_group(worker.process)

    def close(self) -> None:
        """Release idle workers and kill busy ones."""
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
        while self._waiting:
            worker = next((w for w in self._workers if w.job is None), None)
            if worker is None:
                if len(self._workers) >= self._size:
                    return
                worker = self._start()
                self._workers.append(worker)
            job = self._waiting.popleft()
            worker.job, worker.since, worker.stop_by, worker.over_limit = job, time.monotonic(), None, False
            # An OSError means that the worker died while idle or starting; `_receive` sees the end of its pipe.
            with contextlib.suppress(OSError):
                worker.pipe.send_bytes(self._tasks[job])

    def _start(self) -> _Worker:
        mine, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as stack:
            output = stack.enter_context(self._output.open("ab")) if self._output else None
            process = subprocess.Popen(
                # Without -P, a torch.py in the working directory would be imported first.
                [sys.executable, "-P", "-m", "lenet_exp.executors.local.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(theirs.fileno(), *self._inherit),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
                start_new_session=True,
            )
        pipe = Connection(mine.detach())
        with contextlib.suppress(OSError):
            pipe.send_bytes(self._prepare)
        return _Worker(process, pipe)

    def _receive(self, worker: _Worker) -> JobEnd | None:
        """Handle a worker's message. Return None for a question, or if the worker's job will be retried."""
        job = worker.job
        assert job is not None
        try:
            question, value, error = cloudpickle.loads(worker.pipe.recv_bytes())
        except (EOFError, OSError):
            return self._lost(worker, job)
        if question is not None:
            assert self._answer is not None
            answer = cloudpickle.dumps(self._answer(question))
            with contextlib.suppress(OSError):  # it has died; the next read sees the end of its pipe
                worker.pipe.send_bytes(answer)
            return None
        worker.job = None
        if worker.stop_by is not None:  # it was asked to stop and is exiting
            self._remove(worker)
        return self._end(worker, JobEnd(job, value, error))

    def _lost(self, worker: _Worker, job: int) -> JobEnd | None:
        _kill_group(worker.process)  # including processes that it started
        code = worker.process.wait()
        self._remove(worker)
        self._tries[job] += 1
        if self._tries[job] <= self._retries and not self._stopping and not worker.over_limit:
            self._waiting.appendleft(job)
            return None
        reason = f"killed by {signal.Signals(-code).name}" if code < 0 else f"its process exited with status {code}"
        return self._end(worker, JobEnd(job, lost=reason))

    def _end(self, worker: _Worker, done: JobEnd) -> JobEnd:
        del self._tasks[done.job], self._tries[done.job]
        if not worker.over_limit:
            return done
        return JobEnd(done.job, lost=f"exceeded the time limit of {self._time_limit:g} s", over_limit=True)

    def _remove(self, worker: _Worker) -> None:
        worker.pipe.close()
        self._workers.remove(worker)
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(STOP_SECONDS)

    def _limit(self, worker: _Worker) -> float:
        """Return the number of seconds until the worker reaches its time limit or its deadline to stop."""
        if worker.stop_by is not None:
            return worker.stop_by - time.monotonic()
        return worker.since + self._time_limit - time.monotonic() if self._time_limit else 3600.0

    def _enforce(self, worker: _Worker) -> None:
        if worker.stop_by is None:
            worker.over_limit = True
            self._ask(worker, signal.SIGTERM)
        else:
            worker.stop_by = time.monotonic() + STOP_SECONDS
            _kill_group(worker.process)

    @staticmethod
    def _ask(worker: _Worker, which: signal.Signals) -> None:
        worker.stop_by = time.monotonic() + STOP_SECONDS
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.process.pid, which)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
