"""Describes the progress of a sweep: the runs that ended, the best run, and the time left."""

from __future__ import annotations

from collections.abc import Sequence

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

MOST_RUNNING = 4  # maximum number of running jobs named in a line


def progress_line(progress: SweepProgress) -> str:
    """Describe the progress of a sweep in one line.

    For example: `12 of 60 runs ended (11 finished, 1 diverged), 2 training, about 4 min left; best
    98.10% by relu; training relu (2/3), tanh (1/3)`.
    """
    plan = progress.plan
    results = progress.results
    running = progress.running

    best = best_words(plan, results)
    if best:
        best = f"best {best}"
    left = left_words(progress)
    if plan.search is not None:
        clauses = [best, search_line(plan.search, results, with_best=False), left]
    else:
        num_training = f"{len(running)} training" if running else ""
        counts = [ended_words(plan, results), num_training, left]
        clauses = [", ".join(filter(None, counts)), best]

    if running:
        jobs = [f"{run.job.name} ({run.epochs}/{run.job.config.num_epoch})" for run in running]
        clauses.append(f"training {first_of(jobs, MOST_RUNNING)}")
    return "; ".join(filter(None, clauses))


def ended_words(plan: SweepPlan, results: Sequence[JobResult]) -> str:
    """Describe how many runs of a sweep have ended: `12 of 60 runs ended (11 finished, 1
    diverged)`.

    For a search, describe its trials instead.
    """
    if plan.search is not None:
        return trials_words(plan.search, results)

    ended = [result for result in results if result.outcome not in OPEN]
    text = f"{len(ended)} of {number_of(len(results), 'run')} ended"
    if ended:
        text += f" ({outcome_counts(ended)})"
    return text


def left_words(progress: SweepProgress) -> str:
    """Describe the time left for a sweep: `about 4 min left`. Return an empty string if the time is
    unknown.
    """
    seconds_left = progress.seconds_left
    return "" if seconds_left is None else f"about {duration(seconds_left)} left"


def best_words(plan: SweepPlan, results: Sequence[JobResult]) -> str:
    """Describe the best run of a sweep so far: `98.10% by relu lr=0.1 seed=3`.

    For a search, describe the best trial. Return an empty string if no run has finished.
    """
    if plan.search is not None:
        return best_line(plan.search, results)

    best = best_of(results)
    if best is None:
        return ""
    metric = Metric.of(best.job.config.metric)
    return f"{metric.text(best.value)} by {best.job.name}"
