"""A sweep in Slurm's queue: lists and cancels the sweep's allocations, and runs a place in an allocation."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from lenet_exp.executors.queues import HostOf
from lenet_exp.executors.slurm.messages import SlurmMessages
from lenet_exp.executors.slurm.options import job_prefix
from lenet_exp.executors.slurm.place import Place, place_name
from lenet_exp.executors.slurm.queue import Queue, QueuedJob
from lenet_exp.folders.sweep_folder import SweepFolder


def queued(sweep: Path) -> list[QueuedJob]:
    """Return a sweep's allocations in Slurm's queue."""
    if shutil.which("squeue") is None:
        return []
    return [job for job in Queue().jobs(job_prefix(sweep.name)) or [] if job.is_alive]


def cancel(jobs: Sequence[QueuedJob]) -> None:
    """Cancel Slurm jobs. Running jobs write a checkpoint first."""
    Queue().cancel([job.id for job in jobs])


def serve_place(sweep: SweepFolder, host_of: HostOf) -> bool:
    """Run jobs of a sweep in this task of an allocation; see `queues.serve_place`."""
    channel = SlurmMessages(sweep.path / "slurm")
    plan = channel.plan()
    if plan is None:
        return False

    def has_driver() -> bool:
        return sweep.owner() is not None

    try:
        host, place = host_of(plan.work, plan.asks, plan.time_limit, plan.probe)
        outputs, name = sweep.outputs, place_name()
        return Place(channel, plan.session, name, host, outputs=outputs, has_driver=has_driver).serve(place)
    except OSError:
        now = channel.plan()
        if now is not None and now.session == plan.session:
            raise
        return now is not None  # the sweep ended or restarted while this process was starting
