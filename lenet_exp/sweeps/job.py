"""Runs one job of a sweep, in the process that the launcher provides."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable

from lenet_exp.errors import UserError, message_of, shortened
from lenet_exp.folders.job import Job
from lenet_exp.folders.results import outcome_line
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.reports.terminal.progress import Display
from lenet_exp.runs.run import run
from lenet_exp.training.epoch import EpochResult
from lenet_exp.training.execution import SWEEP_THREADS

log = logging.getLogger("lenet_exp")


def run_job(
    sweep: SweepFolder,
    job: Job,
    prune: Callable[[EpochResult], bool] = lambda result: False,
    *,
    interruptible: bool = False,
    display: Display | None = None,
) -> float:
    """Run a job of a sweep. Return its best validation accuracy, or NaN if the job did not finish.

    Args:
        sweep: folder of the sweep.
        job: job to run.
        prune: function that decides whether to prune the run after an epoch; see
            `lenet_exp.runs.run.run`.
        interruptible: whether an interrupted job remains open. If so, the process that interrupted
            it decides how to continue.
        display: display of the sweep, if the job trains in the sweep's own process.

    Raises:
        Exception: the job failed. The reason is in its record or, if it has no record, in the sweep
            folder.
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
            default_threads=SWEEP_THREADS,
            forced_ms=forced_ms,
            on_start=on_start,
            prune=prune,
            display=display,
        )
    except Exception as e:
        error = (
            None if started and job.folder.record() is not None else one_line(e)
        )  # no record if the disk is full
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
    """Format an error as one line, without the middle of a long message."""
    line = " ".join(message_of(error).split())
    if isinstance(error, UserError):
        return line
    return shortened(f"{type(error).__name__}: {line}")
