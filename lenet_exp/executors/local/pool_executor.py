"""The executor for this machine: a pool of processes, each of which runs many jobs."""

from __future__ import annotations

from functools import partial

from lenet_exp.executors.executor import WorkSpec
from lenet_exp.executors.local.pool import JobEnd, Pool
from lenet_exp.folders.job import Job


class PoolExecutor:
    """An `Executor` for this machine.

    Args:
        work: functions that run the jobs, and information about the jobs.
        workers: maximum number of processes.
        retries, time_limit: see `Pool`.
    """

    def __init__(self, work: WorkSpec, workers: int, *, retries: int, time_limit: float | None) -> None:
        self.capacity = workers if work.jobs is None else min(workers, work.jobs)
        self._task = work.task
        self._pool = Pool(
            self.capacity,
            retries=retries,
            time_limit=time_limit,
            prepare=partial(work.prepare, work.sets),
            inherit=[d for shared in work.sets for d in shared.descriptors],
            output=work.output,
            answer=work.answer,
        )

    @property
    def running(self) -> set[int]:
        """Numbers of the running jobs."""
        return set(self._pool.running)

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._pool.submit(job.number, self._task, job)

    def next_done(self, timeout: float) -> JobEnd | None:
        """Wait for the next job to end; see `Pool.next_done`."""
        return self._pool.next_done(timeout)

    def stop(self) -> None:
        """Start no new jobs, and stop the running jobs gracefully."""
        self._pool.stop()

    def kill(self) -> None:
        """Kill all workers immediately."""
        self._pool.kill()

    def __enter__(self) -> PoolExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()
