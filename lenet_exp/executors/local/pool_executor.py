"""The executor of one machine: a pool of processes, each reused for many jobs."""

from __future__ import annotations

from functools import partial

from lenet_exp.executors.executor import WorkSpec
from lenet_exp.executors.local.pool import JobEnd, Pool
from lenet_exp.folders.job import Job


class PoolExecutor:
    """An `Executor` on this machine.

    Args:
        workers: number of processes.
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
        """The numbers of the jobs that are running."""
        return set(self._pool.running)

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._pool.submit(job.number, self._task, job)

    def next_done(self, timeout: float) -> JobEnd | None:
        """Wait for the next job to end; see `Pool.next_done`."""
        return self._pool.next_done(timeout)

    def stop(self) -> None:
        """Start no more jobs and ask the running ones to stop."""
        self._pool.stop()

    def kill(self) -> None:
        """Kill all workers immediately."""
        self._pool.kill()

    def __enter__(self) -> PoolExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()
