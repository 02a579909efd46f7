"""What a search came to, in a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lenet_exp.config.schema import Objective, PrunerName
from lenet_exp.folders.records import Outcome, SearchPlan
from lenet_exp.folders.results import JobResult

SHOWN = 5  # of a front


def how(plan: SearchPlan) -> str:
    """How it is searched: `tpe, asha`."""
    pruner = "" if plan.pruner == PrunerName.none else f", {plan.pruner}"
    objective = "" if plan.objective == Objective.accuracy else f", {plan.objective}"
    objective += f" to {plan.target:.2%}" if plan.target is not None else ""
    return plan.sampler + pruner + objective + (f", {plan.seeds} seeds" if plan.seeds > 1 else "")


def search_line(plan: SearchPlan, results: Sequence[JobResult]) -> str:
    """`search (tpe, asha): 12 of 60 trials (5 finished, 7 pruned), 27 epochs, 14.2 s; best 98.00 % by trial 3: ...`"""
    of = f" of {plan.n_trials}" if plan.n_trials is not None and plan.n_trials > plan.trials else ""
    firsts = list(first_results(results).values())
    counts = Counter(r.outcome for r in firsts)
    ended = ", ".join(f"{counts[o]} {o}" for o in Outcome if counts[o])
    said = f"search ({how(plan)}): {plan.trials}{of} trials" + (f" ({ended})" if ended else "")
    said += f", {len(results) - len(firsts)} runs of further seeds" if len(results) > len(firsts) else ""
    said += f", {plan.epochs:,} epochs, {plan.seconds:.1f} s"
    if plan.front:
        return said + _front(plan, results)
    best = best_result(plan, results)
    if best is None or plan.best_value is None:
        return said + (f"; none has reached {plan.target:.2%}" if plan.target is not None and plan.told else "")
    seeds = f" (mean of {plan.best_seeds} seeds)" if plan.best_seeds > 1 else ""
    said += f"; best {_value(plan, plan.best_value)}{seeds} by trial {plan.best_trial}: {best.job.name}"
    return said + (f"; {len(plan.left)} configurations may still be the best" if plan.left is not None else "")


def best_result(plan: SearchPlan, results: Sequence[JobResult]) -> JobResult | None:
    """Of the best trial by the objective: that of its first seed."""
    number = plan.best_trial if plan.best_job is None else plan.best_job  # older releases: a job a trial
    return results[number] if number is not None and number < len(results) else None


def first_results(results: Sequence[JobResult]) -> dict[int, JobResult]:
    """Of each trial that of its first seed."""
    found: dict[int, JobResult] = {}
    for result in results:
        found.setdefault(result.job.number if result.job.trial is None else result.job.trial, result)
    return found


def more_of(plan: SearchPlan) -> str:
    """What the same line may be given besides."""
    one_seed = plan.seeds == 1 and plan.objective in {Objective.accuracy, Objective.loss}
    luck = ", or with seeds=5, which gives further seeds to all that may be the best: how much is luck"
    return "larger budgets" + (luck if one_seed else "")


def _value(plan: SearchPlan, value: float) -> str:
    if plan.objective == Objective.loss:
        return f"loss {value:.4g}"
    if plan.target is None:
        return f"{value:.2%}"
    unit = "s" if plan.objective == Objective.seconds else "epoch" if value == 1 else "epochs"
    return f"{plan.target:.2%} in {value:.4g} {unit}"


def _front(plan: SearchPlan, results: Sequence[JobResult]) -> str:
    trials, shown = first_results(results), []
    for number in plan.front[:SHOWN]:
        result = trials.get(number)
        if result is not None and result.record is not None:
            seconds = result.record.seconds_to_best
            took = f" in {seconds:.1f} s" if seconds is not None else ""
            shown.append(f"{result.value:.2%}{took} by trial {number}: {result.job.name}")
    more = f"; and {len(plan.front) - SHOWN} more" if len(plan.front) > SHOWN else ""
    return f"; not beaten in both: {'; '.join(shown)}{more}"
