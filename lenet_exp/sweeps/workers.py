"""What a sweep does in the processes that train its jobs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from lenet_exp.data.images import SharedSet, share, use_shared
from lenet_exp.executors.executor import Ask, Report, Work
from lenet_exp.folders.job import Job
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.sweeps.job import run_job
from lenet_exp.tracking.delivery import LeftToOthers
from lenet_exp.training.execution import SWEEP_THREADS
from lenet_exp.training.fit import EpochResult


def work_of(
    sweep: SweepFolder,
    jobs: Sequence[Job],
    environment: Mapping[str, str],
    *,
    all_known: bool,
    answer: Ask | None = None,
) -> Work:
    """Loads each data set of these jobs once, for all processes.

    Args:
        environment: what `hydra.job.env_set` sets in them.
        all_known: whether there will be no other jobs.
        answer: says after each epoch of a job whether its run is pruned; None: none is.
    """
    configs = [job.executed for job in jobs]
    sets = share({str((c.dataset, c.data_root, c.split_seed, c.engine)): c for c in configs}.values())
    return Work(
        task=partial(_train, str(sweep.path)),
        prepare=partial(_prepare, list(sys.argv), dict(environment)),
        sets=sets,
        cores=cores_of(jobs),
        jobs=len(jobs) if all_known else None,
        output=sweep.path / "workers.log",
        answer=answer,
    )


def cores_of(jobs: Sequence[Job]) -> int:
    """What a process needs for any of these."""
    return max(job.config.num_threads or SWEEP_THREADS for job in jobs)


def _prepare(argv: list[str], environment: dict[str, str], sets: Sequence[SharedSet]) -> None:
    sys.argv = argv  # a run's record tells the sweep's command
    os.environ.update(environment)
    use_shared(sets)


def _train(sweep: str, job: Job, ask: Ask | None = None) -> float:
    """One job; the sweep's own process delivers, and decides where it is asked."""

    def prune(result: EpochResult) -> bool:
        return ask is not None and bool(ask(Report(job.number, result.epoch, result.val_accuracy, result.val_loss)))

    return run_job(SweepFolder(Path(sweep)), job, LeftToOthers(), prune)
