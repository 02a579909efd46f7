"""Describes a search as text: its method, its trials, and the best trial so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lenet_exp.amounts import number_of
from lenet_exp.config.metric import Metric
from lenet_exp.config.schema import Cost, Objective, PrunerName
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.results import JobResult
from lenet_exp.folders.sweep_plan import SearchPlan
from lenet_exp.folders.sweep_progress import OPEN

if TYPE_CHECKING:
    pass

SHOWN = 5  # maximum number of trials shown from a Pareto front
UNENDED = OPEN | {Outcome.killed}  # killed trials resume in the next session


def search_method(plan: SearchPlan) -> str:
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
    trials = f"search ({search_method(plan)}): {trials_words(plan, results)}"
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
    said += f" ({outcome_counts(ended)})" if ended else ""
    if len(ended) < len(firsts):
        said += f", {outcome_counts(r for r in firsts if r.outcome in UNENDED)}"
    first = set(map(id, firsts))
    if further := [r for r in results if id(r) not in first]:
        said += (
            f", {number_of(len(further), 'run')} with additional seeds ({outcome_counts(further)})"
        )
    return said


def outcome_counts(results: Iterable[JobResult]) -> str:
    """Return the number of results with each outcome as text: `5 finished, 7 pruned`."""
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
