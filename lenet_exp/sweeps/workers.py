"""The part of a sweep that runs in its worker processes, which train the jobs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from lenet_exp.addresses import hide_password
from lenet_exp.config.schema import Config
from lenet_exp.data.images import SharedDataset, share_datasets, use_shared_datasets
from lenet_exp.executors.work import Ask, EpochReport, RemoteWork, WorkSpec
from lenet_exp.folders.job import Job, job_to_json
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.sweeps.job import run_job
from lenet_exp.training.epoch import EpochResult
from lenet_exp.training.execution import SWEEP_THREADS


def work_spec(
    sweep: SweepFolder,
    jobs: Sequence[Job],
    environment: Mapping[str, str],
    *,
    all_known: bool,
    answer: Ask | None = None,
    devices: Sequence[int] = (),
) -> WorkSpec:
    """Return a sweep's work for an executor. Each dataset of the jobs is loaded only once for all
    processes.

    Args:
        sweep: folder of the sweep.
        jobs: jobs of the sweep, or samples with the same datasets and numbers of threads.
        environment: environment variables in `hydra.job.env_set`.
        all_known: whether `jobs` are all jobs of the sweep.
        answer: function called after each epoch of a job to decide whether to prune the run; None
            to never prune.
        devices: see `WorkSpec`.
    """
    sample_jobs = list({_data_of(job.executed): job for job in jobs}.values())
    sets = share_datasets(job.executed for job in sample_jobs)
    return WorkSpec(
        task=partial(_train, str(sweep.path)),
        prepare=partial(_prepare, list(sys.argv), dict(environment)),
        sets=sets,
        cores=cores_of(jobs),
        jobs=len(jobs) if all_known else None,
        output=sweep.path / "workers.log",
        answer=answer,
        devices=devices,
        remote=RemoteWork(
            list(map(hide_password, sys.argv)),
            dict(environment),
            [job_to_json(job) for job in sample_jobs],
        ),
    )


def cores_of(jobs: Sequence[Job]) -> int:
    """Return the maximum number of cores that any of the jobs needs."""
    return max(job.config.num_threads or SWEEP_THREADS for job in jobs)


def remote_task(
    sweep: SweepFolder, given: RemoteWork
) -> tuple[Callable[..., float], Callable[..., object]]:
    """Return the functions `task` and `prepare` of a `WorkSpec`, for a process on another machine."""
    return partial(_train, str(sweep.path), interruptible=True), partial(
        _prepare, given.argv, given.environment
    )


def _data_of(config: Config) -> str:
    """Return a key that is the same for configurations with the same data, split, and engine."""
    return str((config.dataset, config.data_root, config.split_seed, config.engine))


def _prepare(argv: list[str], environment: dict[str, str], sets: Sequence[SharedDataset]) -> None:
    sys.argv = argv  # run records contain the sweep's command
    os.environ.update(environment)
    use_shared_datasets(sets)


def _train(sweep: str, job: Job, ask: Ask | None = None, *, interruptible: bool = False) -> float:
    """Train one job. The sweep's own process decides whether to prune it."""

    def prune(epoch: EpochResult) -> bool:
        return ask is not None and bool(
            ask(EpochReport(job.number, epoch.epoch, epoch.value, epoch.val_loss))
        )

    return run_job(SweepFolder(Path(sweep)), job, prune, interruptible=interruptible)
