"""Repairs sweeps and runs whose process was killed, in their folders. `lenet-sync` then updates
MLflow.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from lenet_exp.errors import DamagedError, UserError
from lenet_exp.folders.damage import warn_once
from lenet_exp.folders.job import Job
from lenet_exp.folders.owner import owner_of
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.results import end_killed_run, end_killed_sweep
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps

LEAVING_SECONDS = 5.0  # maximum time for a stopped process to exit

log = logging.getLogger("lenet_exp")


def repair_all(outputs: Path) -> list[SweepFolder]:
    """Repair all sweeps in an outputs folder, and return the sweeps whose folders are readable."""
    return [sweep for sweep in all_sweeps(outputs) if try_repair(sweep)]


def try_repair(sweep: SweepFolder) -> bool:
    """Repair a sweep, or log a warning if that is not possible. Return whether the sweep's folder
    is readable.
    """
    try:
        repair(sweep)
        sweep.jobs()
    except DamagedError as e:
        warn_once(e)
        return False
    except UserError as e:
        log.warning("sweep %s: cannot be repaired: %s", sweep.id, e)
    return True


def repair(sweep: SweepFolder) -> None:
    """End a sweep whose process died, and end its runs. The sweep and its runs can be resumed."""
    if sweep.owner() is not None or sweep.started().outcome is not Outcome.running:
        return

    with sweep.claim():
        # `end_killed_sweep` reads the outcome again, because another process may have resumed or
        # repaired the sweep before this process owned it.
        if end_killed_sweep(sweep):
            log.info(
                "sweep %s: its process died, so the sweep and its runs were marked as killed; "
                "you can resume the sweep, or run lenet-sync to update MLflow",
                sweep.id,
            )


def settle(sweep: SweepFolder, jobs: Sequence[Job]) -> None:
    """Close runs whose process died, after a launcher has returned or failed. Runs with a process
    stay as they are.

    Args:
        sweep: folder of the sweep.
        jobs: all jobs of the sweep.
    """
    open_jobs = {}
    for job in jobs:
        if job.folder.record() is None and job.folder.begun() is not None:
            open_jobs[job.run] = job
    active_runs = {jobs[number].run for number in sweep.active() if number < len(jobs)}

    # The processes of active runs may be about to exit.
    deadline = time.monotonic() + LEAVING_SECONDS
    while active_runs & _owned_runs(open_jobs) and time.monotonic() < deadline:
        time.sleep(0.1)

    for job in open_jobs.values():
        end_killed_run(job.folder)


def _owned_runs(jobs: dict[str, Job]) -> set[str]:
    """Return the runs that a process owns."""
    return {run for run, job in jobs.items() if owner_of(job.folder.path) is not None}
