"""Describes a search as text: its method, its trials, and the best trial so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from lenet_exp.amounts import number_of
from lenet_exp.config.metric import Metric
from lenet_exp.config.schema import Cost, Objective, PrunerName
from lenet_exp.folders.records import Outcome, Record
from lenet_exp.folders.results import JobResult
from lenet_exp.folders.sweep_plan import SearchPlan
from lenet_exp.folders.sweep_progress import OPEN

MOST_FRONT_TRIALS = 5  # maximum number of trials shown from a Pareto front

# Trials without a final outcome. Killed trials resume at the next start.
UNENDED = OPEN | {Outcome.killed}


def search_method(plan: SearchPlan) -> str:
    """Describe the method of a search: `tpe, asha`, or `tpe, epochs to 98.00%, 5 seeds`."""
    text = plan.sampler
    if plan.pruner != PrunerName.none:
        text += f", {plan.pruner}"
    if plan.objective != Objective.accuracy:
        text += f", {plan.objective}"
    if plan.objective == Objective.front:
        text += f" of accuracy and {plan.cost}"
    if plan.target is not None:  # the objective is `epochs` or `seconds`
        text += f" to {plan.target:.2%}"
    if plan.seeds > 1:
        text += f", {plan.seeds} seeds"
    if plan.max_parameters is not None:
        text += f", at most {plan.max_parameters:,} parameters"
    return text


def search_line(plan: SearchPlan, results: Sequence[JobResult], *, with_best: bool = True) -> str:
    """Summarize a search in one line: its method, its trials, its cost, its best trial, and what
    remains to be found.

    For example: `search (tpe, asha): 12 trials (5 finished, 7 pruned); 27 epochs, 14.2 s in total;
    best 98.00% by trial 3: ...`.
    """
    clauses = [
        f"search ({search_method(plan)}): {trials_words(plan, results)}",
        f"{number_of(plan.epochs, 'epoch')}, {plan.seconds:.1f} s in total",
    ]
    best = best_line(plan, results) if with_best else ""
    if best:
        clauses.append(best if plan.front else f"best {best}")
    remaining = _remaining(plan)
    if remaining:
        clauses.append(remaining)
    return "; ".join(clauses)


def _remaining(plan: SearchPlan) -> str:
    """Describe what a search has not found yet; empty if nothing is known to remain."""
    if plan.front:
        return ""
    if plan.best_value is not None:
        if plan.left is None:
            return ""
        return f"{number_of(len(plan.left), 'configuration')} could still be the best"
    if plan.target is not None and plan.finished_trials:
        return f"no trial has reached {plan.target:.2%}"
    return ""


def best_line(plan: SearchPlan, results: Sequence[JobResult]) -> str:
    """Describe the best trial of a search: `98.00% (mean of 3 seeds) by trial 3: lr=0.1 relu`.

    For two objectives, describe the Pareto front. Return an empty string if no run has finished.
    """
    if plan.front:
        return _front(plan, results)
    best = best_result(plan, results)
    if best is None or plan.best_value is None:
        return ""

    text = _value(plan, plan.best_value, Metric.of(best.job.config.metric))
    if plan.best_seeds > 1:
        text += f" (mean of {plan.best_seeds} seeds)"
    return f"{text} by trial {plan.best_trial}: {best.job.name}"


def _value(plan: SearchPlan, value: float, metric: Metric) -> str:
    """Format a value of a search's objective: `98.00%`, `loss 0.1234`, or `98.00% in 3 epochs`."""
    if plan.objective == Objective.loss:
        return f"loss {value:.4g}"
    if plan.target is None:
        return metric.text(value)

    if plan.objective == Objective.seconds:
        unit = "s"
    else:
        unit = "epoch" if value == 1 else "epochs"
    return f"{plan.target:.2%} in {value:.4g} {unit}"


def _front(plan: SearchPlan, results: Sequence[JobResult]) -> str:
    """Describe the first trials on the Pareto front.

    For example: `Pareto front: 98.00% in 3.1 s by trial 4: lr=0.1; 98.40% in 9.0 s by trial 2:
    lr=0.01; and 3 more`.
    """
    result_of_trial = first_results(results)
    trials = []
    for number in plan.front[:MOST_FRONT_TRIALS]:
        result = result_of_trial.get(number)
        if result is not None and result.record is not None:
            cost = _cost(plan, result.record)
            trials.append(f"{result.value:.2%}{cost} by trial {number}: {result.job.name}")

    text = f"Pareto front: {'; '.join(trials)}"
    num_others = len(plan.front) - MOST_FRONT_TRIALS
    if num_others > 0:
        text += f"; and {num_others} more"
    return text


def _cost(plan: SearchPlan, record: Record) -> str:
    """Return the value of the second objective: ` in 3.1 s`; empty if it is unknown."""
    if plan.cost == Cost.parameters and record.parameters is not None:
        return f" with {record.parameters:,} parameters"
    if plan.cost == Cost.seconds and record.seconds_to_best is not None:
        return f" in {record.seconds_to_best:.1f} s"
    return ""


def trials_words(plan: SearchPlan, results: Sequence[JobResult]) -> str:
    """Describe how many trials of a search have ended, with their outcomes.

    Examples:
        - `12 trials (5 finished, 7 pruned)`
        - `6 of 40 trials ended (1 finished, 5 pruned), 2 running`
        - `8 trials (2 finished, 6 pruned), 4 runs with additional seeds (4 finished)`
    """
    firsts = list(first_results(results).values())
    ended = [result for result in firsts if result.outcome not in UNENDED]
    unended = [result for result in firsts if result.outcome in UNENDED]
    ids_of_firsts = {id(result) for result in firsts}
    further = [result for result in results if id(result) not in ids_of_firsts]

    num_trials = max(len(firsts), plan.n_trials or 0)
    trials = number_of(num_trials, "trial")
    text = trials if len(ended) == num_trials else f"{len(ended)} of {trials} ended"
    if ended:
        text += f" ({outcome_counts(ended)})"
    if unended:
        text += f", {outcome_counts(unended)}"
    if further:
        runs = number_of(len(further), "run")
        text += f", {runs} with additional seeds ({outcome_counts(further)})"
    return text


def outcome_counts(results: Iterable[JobResult]) -> str:
    """Return the number of results with each outcome as text: `5 finished, 7 pruned`."""
    counts = Counter(result.outcome for result in results)
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome])


def best_result(plan: SearchPlan, results: Sequence[JobResult]) -> JobResult | None:
    """Return the result of the best trial's first seed, or None if there is no best trial."""
    number = plan.best_job
    if number is None or number >= len(results):
        return None
    return results[number]


def first_results(results: Sequence[JobResult]) -> dict[int, JobResult]:
    """Return the result of each trial's first seed, keyed by trial number."""
    result_of_trial: dict[int, JobResult] = {}
    for result in results:
        result_of_trial.setdefault(result.job.trial_number, result)
    return result_of_trial


def more_of(plan: SearchPlan) -> str:
    """Return a phrase that describes how to extend a search, such as `a larger budget`."""
    can_add_seeds = plan.objective in {Objective.accuracy, Objective.loss}
    if not can_add_seeds or plan.seeds != 1:
        return "a larger budget"
    more_seeds = "seeds=5 to add seeds to every configuration that could be the best"
    return f"a larger budget, or with {more_seeds}"
