"""Runs one job of a sweep, in whatever process the launcher provides."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig

from lenet_exp.errors import UserError
from lenet_exp.folders.job import Job
from lenet_exp.folders.results import outcome_line
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.reports.terminal.progress import Display
from lenet_exp.runs.run import run
from lenet_exp.tracking.delivery.store_delivery import Delivery, NoDelivery
from lenet_exp.training.epoch import EpochResult
from lenet_exp.training.execution import SWEEP_THREADS

log = logging.getLogger("lenet_exp")


def run_job(
    sweep: SweepFolder,
    job: Job,
    delivery: Delivery,
    prune: Callable[[EpochResult], bool] = lambda result: False,
    *,
    interruptible: bool = False,
    display: Display | None = None,
) -> float:
    """Run a job of a sweep. Return its best validation accuracy, or NaN if it did not finish.

    Args:
        delivery: uploads the run to MLflow.
        prune: see `runs.run`.
        interruptible: whether an interrupt leaves the job open, because the process that sent the interrupt decides how
            to continue.
        display: the sweep's display, if the job trains in the sweep's own process.

    Raises:
        Exception: the job failed; the reason is in its record or, if there is no record, in the sweep folder.
    """
    log.setLevel(logging.DEBUG)
    log.propagate = False
    started = False

    def on_start(_: object) -> None:
        nonlocal started
        started = True
        sweep.begin_job(job.number)

    error, is_over = None, True
    try:
        forced_ms = sweep.started().forced_ms
        result = run(
            job,
            delivery,
            default_threads=SWEEP_THREADS,
            forced_ms=forced_ms,
            on_start=on_start,
            prune=prune,
            display=display,
        )
    except Exception as e:
        error = None if started and job.folder.record() is not None else one_line(e)  # a full disk prevents the record
        if error is not None and not isinstance(e, UserError):
            traceback.print_exc()  # there is no run log yet
        raise
    except BaseException:
        is_over = not interruptible
        raise
    finally:
        if is_over:
            sweep.end_job(job.number, error)
            log.info("%s: %s", job.name, outcome_line(job, error, sweep.started().started_ms))
    return result.value


def one_line(error: BaseException) -> str:
    """Format an error as one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def hydra_task(cfg: DictConfig, delivery: Delivery | None = None, display: Display | None = None) -> float:
    """Run a job as Hydra's task. Without a `delivery`, the sweep's own process uploads the run folder."""
    sweep = SweepFolder(Path(cfg.sweep_job.sweep))
    return run_job(sweep, sweep.job(cfg.sweep_job.number), delivery or NoDelivery(), display=display)
