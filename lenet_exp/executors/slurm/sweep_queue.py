"""A sweep in Slurm's queue: its allocations, and a job slot that runs in an allocation."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from lenet_exp.executors.queues import NewSlotProcess
from lenet_exp.executors.slurm.messages import SlurmMessages
from lenet_exp.executors.slurm.options import job_prefix
from lenet_exp.executors.slurm.queue import Queue, QueuedJob
from lenet_exp.executors.slurm.slurm_slot import SlurmSlot, slot_name
from lenet_exp.folders.sweep_folder import SweepFolder


def queued(sweep: Path) -> dict[str, str]:
    """Return the states of a sweep's allocations in Slurm's queue, keyed by ID.

    See `queues.queued`.
    """
    if shutil.which("squeue") is None:
        return {}
    jobs = Queue().jobs(job_prefix(sweep.name)) or []
    return {job.id: _state(job) for job in jobs if job.is_alive}


def _state(job: QueuedJob) -> str:
    if job.waits:
        return f"{job.state} ({job.reason})"
    return job.state


def cancel(ids: Iterable[str]) -> None:
    """Cancel allocations with these IDs. Running jobs write a checkpoint first."""
    Queue().cancel(list(ids))


def serve_slot(sweep: SweepFolder, new_process: NewSlotProcess) -> bool:
    """Run jobs of a sweep in this task of an allocation; see `queues.serve_slot`."""
    channel = SlurmMessages(sweep.path / "slurm")
    plan = channel.plan()
    if plan is None:
        return False

    try:
        process, info = new_process(plan.work, plan.asks, plan.time_limit, plan.probe)
        slot = SlurmSlot(
            channel,
            plan.session,
            slot_name(),
            process,
            outputs=sweep.outputs,
            has_driver=partial(_has_process, sweep),
        )
        return slot.serve(info)
    except OSError:
        new_plan = channel.plan()
        if new_plan is not None and new_plan.session == plan.session:
            raise
        # The sweep ended or restarted while this process was starting.
        return new_plan is not None


def _has_process(sweep: SweepFolder) -> bool:
    return sweep.owner() is not None
