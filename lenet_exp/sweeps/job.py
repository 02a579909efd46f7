"""One job of a sweep, in whatever process the launcher gives it."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

from lenet_exp.config.compose import typed
from lenet_exp.errors import UserError
from lenet_exp.folders.results import ended
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.reports.progress import display
from lenet_exp.runs.run import run
from lenet_exp.tracking.delivery import Deliverer, LeftToOthers
from lenet_exp.training.execution import SWEEP_THREADS

log = logging.getLogger("lenet_exp")

_delivery: Deliverer = LeftToOthers()


def deliver_here(delivery: Deliverer) -> None:
    """Lets the jobs of this process deliver: it is the sweep's own."""
    global _delivery
    _delivery = delivery


def run_job(folder: Path, offset: int) -> float:
    """Runs a frozen job of the sweep in `folder`; its best validation accuracy, NaN where it diverged.

    Raises:
        Exception: it failed; what it was stands in the record, or else in the sweep folder.
    """
    log.setLevel(logging.DEBUG)
    log.propagate = False
    sweep = SweepFolder(folder)
    job = sweep.job_at(offset)
    config = typed(job.config)
    started = False

    def on_start(_: object) -> None:
        nonlocal started
        started = True
        sweep.begin_job(job.number)

    error = None
    try:
        result = run(
            config,
            name=job.name,
            default_threads=SWEEP_THREADS,
            folder_id=job.run,
            delivery=_delivery,
            on_start=on_start,
            force_before=sweep.plan()["forced_ms"],
        )
    except Exception as e:
        error = None if started else one_line(e)
        if error is not None and not isinstance(e, UserError):
            traceback.print_exc()  # there is no run log yet
        raise
    finally:
        sweep.end_job(job.number, error)
        outcome, line = ended(job, error, sweep.plan()["started_ms"])
        display.job_done(job.name, outcome, line, config.num_epoch)
    return result.value


def one_line(error: Exception) -> str:
    """An error as a reason."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
