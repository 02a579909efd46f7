"""A sweep in Slurm's queue: submits the job that runs a detached sweep's command, lists and cancels the sweep's jobs,
and runs a place in an allocation."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from lenet_exp.executors.queues import HostOf
from lenet_exp.executors.slurm.messages import SlurmMessages
from lenet_exp.executors.slurm.options import SlurmOptions, driver_arguments, driver_script, job_prefix, log_pattern
from lenet_exp.executors.slurm.place import Place, place_name
from lenet_exp.executors.slurm.queue import Queue, QueuedJob
from lenet_exp.folders.sweep_folder import SweepFolder


def submit_driver(
    sweep: Path, command: Sequence[str], options: SlurmOptions, more: Mapping[str, str | int | float | bool | None]
) -> str:
    """Submit the Slurm job that runs the command of a detached sweep, and return the job's ID.

    Args:
        sweep: path of the sweep folder.
        command: the user's command, without `sweep.detach=true`.
        options: Slurm options for the sweep.
        more: additional `sbatch` options for this job.

    Raises:
        ConfigError: Slurm's commands were not found, or Slurm refused the job.
    """
    queue = Queue()
    folder = sweep / "slurm"
    folder.mkdir(parents=True, exist_ok=True)
    driver = folder / "driver.sh"
    driver.write_text(driver_script(options, Path.cwd(), sweep, command))
    arguments = driver_arguments(options, more)
    return queue.submit_one(driver, _name(sweep.name), f"{log_pattern(folder)}/driver-%j.log", arguments)


def queued(sweep: Path) -> tuple[QueuedJob | None, list[QueuedJob]]:
    """Return a sweep's jobs in Slurm's queue: the job that runs its command, or None, and the sweep's allocations."""
    if shutil.which("squeue") is None:
        return None, []
    queue, names = Queue(), (_name(sweep.name), job_prefix(sweep.name))
    drivers, allocations = ([job for job in queue.jobs(name) or [] if job.is_alive] for name in names)
    return (drivers[0] if drivers else None), allocations


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


def _name(sweep: str) -> str:
    return f"lenet-driver-{sweep}"
