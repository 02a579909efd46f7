"""The executor of one machine: a pool of processes, each warm for many jobs."""

from __future__ import annotations

from functools import partial

from lenet_exp.executors.executor import WorkSpec
from lenet_exp.executors.local.pool import JobEnd, Pool
from lenet_exp.folders.job import Job


class PoolExecutor:
    """An `Executor`.

    Args:
        workers: processes at once.
        retries, time_limit: as of `Pool`.
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
        return set(self._pool.running)

    def submit(self, job: Job) -> None:
        self._pool.submit(job.number, self._task, job)

    def next_done(self, timeout: float) -> JobEnd | None:
        return self._pool.next_done(timeout)

    def stop(self) -> None:
        self._pool.stop()

    def kill(self) -> None:
        self._pool.kill()

    def __enter__(self) -> PoolExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()
