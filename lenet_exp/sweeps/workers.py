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
from lenet_exp.machine import command_line, shell_command
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
    job_of_data = {_data_of(job.executed): job for job in jobs}
    sample_jobs = list(job_of_data.values())
    remote = RemoteWork(
        argv=[hide_password(word) for word in sys.argv],
        environment=dict(environment),
        sample_jobs=[job_to_json(job) for job in sample_jobs],
    )
    return WorkSpec(
        task=partial(_train, str(sweep.path), command=command_line()),
        prepare=partial(_prepare, dict(environment)),
        sets=share_datasets(job.executed for job in sample_jobs),
        cores=cores_of(jobs),
        jobs=len(jobs) if all_known else None,
        output=sweep.path / "workers.log",
        answer=answer,
        devices=devices,
        remote=remote,
    )


def cores_of(jobs: Sequence[Job]) -> int:
    """Return the maximum number of cores that any of the jobs needs."""
    return max(job.config.num_threads or SWEEP_THREADS for job in jobs)


def remote_task(
    sweep: SweepFolder, work: RemoteWork
) -> tuple[Callable[..., float], Callable[..., object]]:
    """Return the functions `task` and `prepare` of a `WorkSpec`, for a process on another
    machine.
    """
    command = shell_command(work.argv)
    task = partial(_train, str(sweep.path), command=command, interruptible=True)
    prepare = partial(_prepare, work.environment)
    return task, prepare


def _data_of(config: Config) -> str:
    """Return a key that is the same for configurations with the same data, split, and engine."""
    return str((config.dataset, config.data_root, config.split_seed, config.engine))


def _prepare(environment: dict[str, str], sets: Sequence[SharedDataset]) -> None:
    os.environ.update(environment)
    use_shared_datasets(sets)


def _train(
    sweep: str, job: Job, ask: Ask | None = None, *, command: str, interruptible: bool = False
) -> float:
    """Train one job. The sweep's own process decides whether to prune it."""
    folder = SweepFolder(Path(sweep))
    prune = partial(_should_prune, ask, job.number)
    return run_job(folder, job, prune, command=command, interruptible=interruptible)


def _should_prune(ask: Ask | None, job_number: int, epoch: EpochResult) -> bool:
    """Report an epoch, and return whether to prune the run.

    Args:
        ask: function that reports an epoch; None to never prune.
    """
    if ask is None:
        return False
    report = EpochReport(job_number, epoch.epoch, epoch.value, epoch.val_loss)
    return bool(ask(report))
