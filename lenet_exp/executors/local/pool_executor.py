"""The executor for this machine: a pool of processes, each of which runs many jobs."""

from __future__ import annotations

from functools import partial

from lenet_exp.executors.local.devices import prepare_worker
from lenet_exp.executors.local.pool import Pool
from lenet_exp.executors.work import WorkSpec
from lenet_exp.folders.job import Job


class PoolExecutor(Pool):
    """An `Executor` for this machine.

    Args:
        work: functions that run the jobs, and information about the jobs.
        workers: maximum number of processes.
        retries, time_limit: see `Pool`.
    """

    def __init__(self, work: WorkSpec, workers: int, *, retries: int, time_limit: float | None) -> None:
        self.capacity = workers if work.jobs is None else min(workers, work.jobs)
        self._task = work.task
        super().__init__(
            self.capacity,
            retries=retries,
            time_limit=time_limit,
            prepare=partial(prepare_worker, partial(work.prepare, work.sets), work.devices),
            inherit=[d for shared in work.sets for d in shared.descriptors],
            output=work.output,
            answer=work.answer,
        )

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self.call(job.number, self._task, job, name=job.name)
