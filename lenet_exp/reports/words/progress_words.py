"""Describes the progress of a sweep: the runs that ended, the best run so far, and the time left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lenet_exp.amounts import duration, first_of, number_of
from lenet_exp.config.metric import Metric
from lenet_exp.folders.results import JobResult, best_of
from lenet_exp.folders.sweep_plan import SweepPlan
from lenet_exp.folders.sweep_progress import OPEN, SweepProgress
from lenet_exp.reports.words.search_words import (
    best_line,
    outcome_counts,
    search_line,
    trials_words,
)

if TYPE_CHECKING:
    pass

FEW = 4  # maximum number of runs named in a line


def progress_line(progress: SweepProgress) -> str:
    """Describe the progress of a sweep in one line.

    For example: `12 of 60 runs ended (11 finished, 1 diverged), 2 training, about 4 min left; best
    98.10% by relu`.
    """
    plan, results, running = progress.plan, progress.results, progress.running
    said, left = best_words(plan, results), left_words(progress)
    best = f"best {said}" if said else ""
    if plan.search is not None:
        words = [best, search_line(plan.search, results, with_best=False), left]
    else:
        training = f"{len(running)} training" if running else ""
        words = [", ".join(filter(None, [ended_words(plan, results), training, left])), best]
    if running:
        epochs = [f"{run.job.name} ({run.epochs}/{run.job.config.num_epoch})" for run in running]
        words.append(f"training {first_of(epochs, FEW)}")
    return "; ".join(filter(None, words))


def ended_words(plan: SweepPlan, results: Sequence[JobResult]) -> str:
    """Describe how many runs of a sweep have ended: `12 of 60 runs ended (11 finished, 1
    diverged)`.

    For a search, describe its trials instead.
    """
    if plan.search is not None:
        return trials_words(plan.search, results)
    ended = [r for r in results if r.outcome not in OPEN]
    said = f"{len(ended)} of {number_of(len(results), 'run')} ended"
    return said + (f" ({outcome_counts(ended)})" if ended else "")


def left_words(progress: SweepProgress) -> str:
    """Describe the time left for a sweep: `about 4 min left`. Return an empty string if the time is
    unknown.
    """
    left = progress.seconds_left
    return "" if left is None else f"about {duration(left)} left"


def best_words(plan: SweepPlan, results: Sequence[JobResult]) -> str:
    """Describe the best run of a sweep so far: `98.10% by relu lr=0.1 seed=3`.

    For a search, describe the best trial. Return an empty string if no run has finished.
    """
    if plan.search is not None:
        return best_line(plan.search, results)
    best = best_of(results)
    return (
        f"{Metric.of(best.job.config.metric).text(best.value)} by {best.job.name}"
        if best is not None
        else ""
    )
