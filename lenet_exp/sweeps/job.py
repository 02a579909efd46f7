"""Runs one job of a sweep, in the process that the launcher provides."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from lenet_exp.errors import UserError, message_of, shortened
from lenet_exp.folders.job import Job
from lenet_exp.folders.results import outcome_line
from lenet_exp.folders.run_folder import RunFolder
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
    command: str,
    interruptible: bool = False,
    display: Display | None = None,
) -> float:
    """Run a job of a sweep. Return its best validation accuracy, or NaN if the job did not finish.

    Args:
        sweep: folder of the sweep.
        job: job to run.
        prune: function that decides whether to prune the run after an epoch; see
            `lenet_exp.runs.run.run`.
        command: command of the sweep, for the record of the run.
        interruptible: whether an interrupted job remains open. If so, the process that interrupted
            it decides how to continue.
        display: display of the sweep, if the job trains in the sweep's own process.

    Raises:
        Exception: the job failed. The reason is in its record or, if it has no record, in the sweep
            folder.
    """
    log.setLevel(logging.DEBUG)
    log.propagate = False

    start = _JobStart(sweep, job)
    started_ms = 0
    error: str | None = None
    is_over = True
    try:
        # Another session can start while this job trains on a cluster. The job keeps the plan of
        # the session that started it.
        plan = sweep.started()
        started_ms = plan.started_ms
        result = run(
            job,
            command=command,
            default_threads=SWEEP_THREADS,
            forced_ms=plan.forced_ms,
            on_start=start.mark,
            prune=prune,
            display=display,
        )
    except Exception as e:
        # A run that has started has no record if, for example, the disk is full.
        is_recorded = start.has_started and job.folder.record() is not None
        if not is_recorded:
            error = one_line(e)
            if not isinstance(e, UserError):
                traceback.print_exc()  # there is no run log yet
        raise
    except BaseException:
        is_over = not interruptible
        raise
    finally:
        if is_over:
            sweep.end_job(job.number, error)
            log.info("%s: %s", job.name, outcome_line(job, error, started_ms))
    return result.value


@dataclass
class _JobStart:
    """Whether the run of a job has started.

    Attributes:
        sweep: folder of the sweep.
        job: the job.
        has_started: whether `run` has called `mark`.
    """

    sweep: SweepFolder
    job: Job
    has_started: bool = False

    def mark(self, folder: RunFolder) -> None:
        """Mark the job as being trained. `run` calls this once the run folder is ready."""
        self.has_started = True
        self.sweep.begin_job(self.job.number)


def one_line(error: BaseException) -> str:
    """Format an error as one line, without the middle of a long message."""
    line = " ".join(message_of(error).split())
    if isinstance(error, UserError):
        return line
    return shortened(f"{type(error).__name__}: {line}")
