"""Reproduces the runs of a sweep in parallel processes on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from lenet_exp.data.images import use_shared_datasets
from lenet_exp.executors.drive import drive
from lenet_exp.executors.local.pool_executor import PoolExecutor
from lenet_exp.executors.work import JobEnd, WorkSpec
from lenet_exp.folders.job import Job
from lenet_exp.machine import cpu_count
from lenet_exp.reproduction.reproduce import reproduce
from lenet_exp.reproduction.reproduce_result import ReproduceResult, not_comparable
from lenet_exp.tracking.models.recorded import of_folder


def reproduce_in_parallel(
    jobs: Sequence[Job],
    hear: Callable[[Job, ReproduceResult], None],
    *,
    uri: str,
    data_root: str | None,
    trust: str | None,
) -> None:
    """Reproduce the run of each job, with as many parallel processes as the cores allow.

    Args:
        jobs: jobs to reproduce, one for each run.
        hear: function called with each job and its result as soon as the result is available.
        uri: address of the MLflow store.
        data_root, trust: see `reproduce`.

    Raises:
        UserError: a run cannot be reproduced; see `reproduce`.
        KeyboardInterrupt, Terminated: a signal interrupted the command. If the command is rerun, interrupted runs
            resume.
    """

    def on_done(done: JobEnd) -> None:
        if isinstance(done.error, Exception):
            raise done.error
        if done.error is None:  # otherwise, a signal ended the job
            hear(by_number[done.job], not_comparable(done.lost) if done.lost is not None else done.value)

    by_number = {job.number: job for job in jobs}
    cores = max(_threads(job) for job in jobs)
    work = WorkSpec(
        task=partial(_answer, uri, data_root, trust),
        prepare=use_shared_datasets,
        sets=(),
        cores=cores,
        jobs=len(jobs),
        output=Path(os.devnull),  # each repeated run has its own log
    )
    executor = PoolExecutor(work, max(1, cpu_count() // cores), retries=1, time_limit=None)
    drive(executor, jobs, max_failures=None, on_done=on_done)


def _threads(job: Job) -> int:
    record = job.folder.record()
    threads = record.execution.get("num_threads") if record is not None else None
    return threads if isinstance(threads, int) else 1


def _answer(uri: str, data_root: str | None, trust: str | None, job: Job) -> ReproduceResult:
    """Reproduce one run, in a worker process."""
    return reproduce(of_folder(job.folder, uri), data_root=data_root, trust=trust)
