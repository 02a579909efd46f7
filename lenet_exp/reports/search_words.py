"""What a search came to, in a line."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence

from lenet_exp.config.schema import Objective, PrunerName
from lenet_exp.folders.records import Outcome, SearchPlan
from lenet_exp.folders.results import JobResult

SEEDS = 5  # that a first look at luck takes


def how(plan: SearchPlan) -> str:
    """How it is searched: `tpe, asha`."""
    pruner = "" if plan.pruner == PrunerName.none else f", {plan.pruner}"
    return plan.sampler + pruner + ("" if plan.objective == Objective.accuracy else f", {plan.objective}")


def search_line(plan: SearchPlan, results: Sequence[JobResult]) -> str:
    """`search (tpe, asha): 12 of 60 trials (5 finished, 7 pruned), 27 epochs, 14.2 s; best 98.00 % by trial 3: ...`"""
    of = f" of {plan.n_trials}" if plan.n_trials is not None and plan.n_trials > plan.trials else ""
    counts = Counter(r.outcome for r in results)
    ended = ", ".join(f"{counts[o]} {o}" for o in Outcome if counts[o])
    said = f"search ({how(plan)}): {plan.trials}{of} trials" + (f" ({ended})" if ended else "")
    said += f", {plan.epochs:,} epochs, {plan.seconds:.1f} s"
    best = best_result(plan, results)
    if best is None or plan.best_value is None:
        return said
    value = f"{plan.best_value:.2%}" if plan.objective == Objective.accuracy else f"loss {plan.best_value:.4g}"
    return f"{said}; best {value} by trial {best.job.number}: {best.job.name}"


def best_result(plan: SearchPlan, results: Sequence[JobResult]) -> JobResult | None:
    """Of the best trial by the objective."""
    number = plan.best_trial
    return results[number] if number is not None and number < len(results) else None


def luck_line(result: JobResult) -> str:
    """What to type to see how much of it is luck."""
    first = result.job.config.seed + 1
    kept = [o for o in result.job.overrides if not o.startswith(("seed=", "sweep."))]
    return shlex.join(["lenet-train", "-m", *kept, f"seed=range({first},{first + SEEDS})"])
