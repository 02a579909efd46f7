"""A sweep in Slurm's queue: lists and cancels the sweep's allocations, and runs a place in an
allocation.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from lenet_exp.executors.queues import SlotProcessOf
from lenet_exp.executors.slurm.messages import SlurmMessages
from lenet_exp.executors.slurm.options import job_prefix
from lenet_exp.executors.slurm.place import SlurmSlot, place_name
from lenet_exp.executors.slurm.queue import Queue
from lenet_exp.folders.sweep_folder import SweepFolder


def queued(sweep: Path) -> dict[str, str]:
    """Return the states of a sweep's allocations in Slurm's queue, keyed by ID; see
    `queues.queued`.
    """
    if shutil.which("squeue") is None:
        return {}
    alive = [job for job in Queue().jobs(job_prefix(sweep.name)) or [] if job.is_alive]
    return {job.id: f"{job.state} ({job.reason})" if job.waits else job.state for job in alive}


def cancel(ids: Iterable[str]) -> None:
    """Cancel allocations with these IDs. Running jobs write a checkpoint first."""
    Queue().cancel(list(ids))


def serve_place(sweep: SweepFolder, host_of: SlotProcessOf) -> bool:
    """Run jobs of a sweep in this task of an allocation; see `queues.serve_place`."""
    channel = SlurmMessages(sweep.path / "slurm")
    plan = channel.plan()
    if plan is None:
        return False
    try:
        host, place = host_of(plan.work, plan.asks, plan.time_limit, plan.probe)
        name, has_driver = place_name(), lambda: sweep.owner() is not None
        return SlurmSlot(
            channel, plan.session, name, host, outputs=sweep.outputs, has_driver=has_driver
        ).serve(place)
    except OSError:
        now = channel.plan()
        if now is not None and now.session == plan.session:
            raise
        return now is not None  # the sweep ended or restarted while this process was starting
