"""Describes searches and running sweeps as text: counts, the best result so far, the history, and
the time left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lenet_exp.amounts import duration, first_of, number_of
from lenet_exp.config.metric import Metric
from lenet_exp.config.schema import Cost, Objective, PrunerName
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.results import JobResult, best_of
from lenet_exp.folders.sweep_plan import SearchPlan, SweepPlan
from lenet_exp.folders.sweep_progress import OPEN, SweepProgress

if TYPE_CHECKING:
    from lenet_exp.comparison.search.summary import SearchSummary

SHOWN = 5  # maximum number of trials shown from a Pareto front
IMPROVEMENTS = 8  # maximum number of improvements shown in a line
FEW = 4  # maximum number of runs named in a line
UNENDED = OPEN | {Outcome.killed}  # killed trials resume in the next session


def how(plan: SearchPlan) -> str:
    """Describe the method of a search, such as `tpe, asha`."""
    pruner = "" if plan.pruner == PrunerName.none else f", {plan.pruner}"
    objective = "" if plan.objective == Objective.accuracy else f", {plan.objective}"
    objective += f" of accuracy and {plan.cost}" if plan.objective == Objective.front else ""
    objective += f" to {plan.target:.2%}" if plan.target is not None else ""
    most = (
        f", at most {plan.max_parameters:,} parameters" if plan.max_parameters is not None else ""
    )
    return (
        plan.sampler
        + pruner
        + objective
        + (f", {plan.seeds} seeds" if plan.seeds > 1 else "")
        + most
    )


def search_line(plan: SearchPlan, results: Sequence[JobResult], *, with_best: bool = True) -> str:
    """Summarize a search in one line: its method, its trials, its cost, its best trial, and what
    remains to be found.

    For example: `search (tpe, asha): 12 trials (5 finished, 7 pruned); 27 epochs, 14.2 s in total;
    best 98.00% by trial 3: ...`.
    """
    trials = f"search ({how(plan)}): {trials_words(plan, results)}"
    clauses = [f"{trials}; {number_of(plan.epochs, 'epoch')}, {plan.seconds:.1f} s in total"]
    if with_best and (best := best_line(plan, results)):
        clauses.append(best if plan.front else f"best {best}")
    if plan.best_value is not None and plan.left is not None and not plan.front:
        clauses.append(f"{number_of(len(plan.left), 'configuration')} could still be the best")
    elif (
        plan.best_value is None
        and plan.target is not None
        and plan.finished_trials
        and not plan.front
    ):
        clauses.append(f"no trial has reached {plan.target:.2%}")
    return "; ".join(clauses)


def best_line(plan: SearchPlan, results: Sequence[JobResult]) -> str:
    """Describe the best trial of a search: `98.00% (mean of 3 seeds) by trial 3: lr=0.1 relu`.

    For two objectives, describe the Pareto front. Return an empty string if no run has finished.
    """
    if plan.front:
        return _front(plan, results)
    best = best_result(plan, results)
    if best is None or plan.best_value is None:
        return ""
    seeds = f" (mean of {plan.best_seeds} seeds)" if plan.best_seeds > 1 else ""
    metric = Metric.of(best.job.config.metric)
    return f"{_value(plan, plan.best_value, metric)}{seeds} by trial {plan.best_trial}: {best.job.name}"


def trials_words(plan: SearchPlan, results: Sequence[JobResult]) -> str:
    """Describe how many trials of a search have ended, with their outcomes.

    Examples:
        - `12 trials (5 finished, 7 pruned)`
        - `6 of 40 trials ended (1 finished, 5 pruned), 2 running`
        - `8 trials (2 finished, 6 pruned), 4 runs with additional seeds (4 finished)`
    """
    firsts = list(first_results(results).values())
    ended = [r for r in firsts if r.outcome not in UNENDED]
    of = max(len(firsts), plan.n_trials or 0)
    said = (
        number_of(of, "trial")
        if len(ended) == of
        else f"{len(ended)} of {number_of(of, 'trial')} ended"
    )
    said += f" ({_outcomes(ended)})" if ended else ""
    if len(ended) < len(firsts):
        said += f", {_outcomes(r for r in firsts if r.outcome in UNENDED)}"
    first = set(map(id, firsts))
    if further := [r for r in results if id(r) not in first]:
        said += f", {number_of(len(further), 'run')} with additional seeds ({_outcomes(further)})"
    return said


def _outcomes(results: Iterable[JobResult]) -> str:
    counts = Counter(r.outcome for r in results)
    return ", ".join(f"{counts[o]} {o}" for o in Outcome if counts[o])


def best_result(plan: SearchPlan, results: Sequence[JobResult]) -> JobResult | None:
    """Return the result of the best trial's first seed, or None if there is no best trial."""
    number = plan.best_job
    return results[number] if number is not None and number < len(results) else None


def first_results(results: Sequence[JobResult]) -> dict[int, JobResult]:
    """Return the result of each trial's first seed, keyed by trial number."""
    found: dict[int, JobResult] = {}
    for result in results:
        found.setdefault(result.job.trial_number, result)
    return found


def more_of(plan: SearchPlan) -> str:
    """Return a phrase that describes how to extend a search, such as `a larger budget`."""
    one_seed = plan.seeds == 1 and plan.objective in {Objective.accuracy, Objective.loss}
    seeds = ", or with seeds=5 to add seeds to every configuration that could be the best"
    return "a larger budget" + (seeds if one_seed else "")


def search_lines(searched: SearchSummary) -> list[str]:
    """Return lines about a search: its history, the best trial's command, and the importance of
    flags, if known.
    """
    from lenet_exp.comparison.search.importance import (
        BEST,
        search_importance,
    )  # this module imports torch

    lines = []
    if steps := searched.improvements:
        shown = steps[-IMPROVEMENTS:]
        more = len(steps) - len(shown)
        before = f"{number_of(more, 'earlier improvement')}, then " if more else ""
        told = ", ".join(
            f"{value_words(searched, s.best)} after {number_of(s.epochs, 'epoch')}" for s in shown
        )
        waits = (
            f" ({searched.objective} to {searched.target:.2%})"
            if searched.target is not None
            else ""
        )
        lines.append(
            f"best so far{waits}: {before}{told}; {number_of(searched.epochs, 'epoch')} in total"
        )
    if (command := searched.best_command) is not None:
        lines.append(f"to train the best configuration, run: {command}")
    if importance := search_importance(searched):
        told = ", ".join(f"{flag} {share:.0%}" for flag, share in importance.items())
        trials = len(searched.ended)
        lines.append(
            f"importance of flags for the best {BEST:.0%} of {trials} trials (PED-ANOVA): {told}"
        )
    return lines


def value_words(searched: SearchSummary, value: float) -> str:
    """Format a value of a search's objective, such as `97.60%` or `loss 0.1234`."""
    if searched.is_metric:
        return searched.metric.text(value)
    return f"loss {value:.4g}" if searched.is_loss else f"{value:.4g}"


def objective_words(searched: SearchSummary) -> str:
    """Return the axis label for the objective of a search."""
    if searched.is_metric:
        return f"best validation {searched.metric.name}"
    return (
        "lowest validation loss"
        if searched.is_loss
        else f"{searched.objective} to {searched.target:.2%}"
    )


def ended_words(plan: SweepPlan, results: Sequence[JobResult]) -> str:
    """Describe how many runs of a sweep have ended: `12 of 60 runs ended (11 finished, 1
    diverged)`.

    For a search, describe its trials instead.
    """
    if plan.search is not None:
        return trials_words(plan.search, results)
    ended = [r for r in results if r.outcome not in OPEN]
    said = f"{len(ended)} of {number_of(len(results), 'run')} ended"
    return said + (f" ({_outcomes(ended)})" if ended else "")


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


def _value(plan: SearchPlan, value: float, metric: Metric) -> str:
    if plan.objective == Objective.loss:
        return f"loss {value:.4g}"
    if plan.target is None:
        return metric.text(value)
    unit = "s" if plan.objective == Objective.seconds else "epoch" if value == 1 else "epochs"
    return f"{plan.target:.2%} in {value:.4g} {unit}"


def _front(plan: SearchPlan, results: Sequence[JobResult]) -> str:
    trials, shown = first_results(results), []
    for number in plan.front[:SHOWN]:
        result = trials.get(number)
        if result is not None and result.record is not None:
            took, record = "", result.record
            if plan.cost == Cost.parameters and record.parameters is not None:
                took = f" with {record.parameters:,} parameters"
            elif plan.cost == Cost.seconds and record.seconds_to_best is not None:
                took = f" in {record.seconds_to_best:.1f} s"
            shown.append(f"{result.value:.2%}{took} by trial {number}: {result.job.name}")
    more = f"; and {len(plan.front) - SHOWN} more" if len(plan.front) > SHOWN else ""
    return f"Pareto front: {'; '.join(shown)}{more}"
