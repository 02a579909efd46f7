"""What the script of a comparison's page draws from, as JSON: numbers, and the words for them where lenet-compare has
words. Accuracies are fractions; None for what is not known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from lenet_exp.comparison.brief import brief
from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.effects import Effect, number
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.runs import ComparedRun
from lenet_exp.comparison.words import percent
from lenet_exp.config.names import rounded
from lenet_exp.files import Json
from lenet_exp.folders.records import Outcome
from lenet_exp.reports.page.page_search import search_page_data
from lenet_exp.reports.source import Source
from lenet_exp.reports.terminal.leaderboard import accuracy, interval, remark, short, signed

WIDE_RANGE = 20  # of a number's values; from there on its axis is logarithmic
FACTOR = 1.5  # between neighbours that were swept in factors
MOST_CURVES = 1000  # runs
MOST_POINTS = 400_000  # of all curves; of longer ones each second, third, ... epoch is kept
DIGITS = 5  # of a curve's accuracies: a thousandth of a point


def page_data(comparison: Comparison, source: Source) -> dict[str, Json]:
    """Of one comparison."""
    found = comparison.effects
    curves, every = _curves(comparison)
    groups = [_group(comparison, n, source) | {"curves": drawn} for n, drawn in enumerate(curves)]
    return {
        "dataset": comparison.dataset,
        "by": comparison.by.value,
        "flags": [_flag(comparison, flag) for flag in comparison.flags],
        "groups": groups,
        "every": every,
        "effects": list(map(_effect, found.flags)) if comparison.searched is None else [],
        "search": search_page_data(comparison.searched) if comparison.searched is not None else None,
    }


def known(value: float | None, digits: int | None = None) -> float | None:
    """For JSON, which has no NaN."""
    if value is None or not math.isfinite(value):
        return None
    return value if digits is None else round(value, digits)


def is_log(values: Iterable[str]) -> bool:
    """Whether numbers belong on a logarithmic axis: they lie far apart, or each is the same number of times the one
    before."""
    numbers = sorted({n for n in map(number, values) if n is not None})
    if len(numbers) < 3 or numbers[0] <= 0:
        return len(numbers) == 2 and numbers[0] > 0 and numbers[1] >= WIDE_RANGE * numbers[0]
    steps = [b / a for a, b in pairwise(numbers)]
    return numbers[-1] >= WIDE_RANGE * numbers[0] or (min(steps) >= FACTOR and max(steps) < 1.01 * min(steps))


def _flag(comparison: Comparison, flag: str) -> dict[str, Json]:
    values = list(dict.fromkeys(g.flags.get(flag, "-") for g in comparison.groups))
    searched = comparison.searched.flags if comparison.searched is not None else []
    ranges = {f.name: f.log for f in searched if not f.choice}
    return {"name": flag, "short": short(flag), "log": ranges.get(flag, is_log(values))}


def _group(comparison: Comparison, position: int, source: Source) -> dict[str, Json]:
    group = comparison.groups[position]
    low, high = group.interval
    return {
        "name": comparison.name(group),
        "values": comparison.values(group),
        "shown": list(map(rounded, comparison.values(group))),
        "n": group.n,
        "mean": known(group.mean),
        "sd": known(group.sd),
        "low": known(low),
        "high": known(high),
        "accuracy": accuracy(group),
        "interval": interval(group),
        "epoch": known(group.best_epoch),
        "seconds": known(group.seconds_to_best),
        "state": _state(group),
        "leader": group is comparison.leader,
        "best": any(group is left for left in comparison.not_excluded),
        "brief": brief(comparison, position),
        "remark": remark(comparison, position),
        "seeds": list(group.accuracy.values()),
        "runs": [_run(run, source) for run in sorted(group.runs, key=lambda run: run.replicate)],
    }


def _state(group: Group) -> str:
    """Why it has no accuracy that counts; empty where it has."""
    if group.diverged:
        return "diverged" if not group.n else f"{group.diverged} of {group.replicates} diverged"
    if group.n:
        return ""
    return "pruned" if group.outcomes.get(Outcome.pruned) else next(iter(group.outcomes), "missing")


def _run(run: ComparedRun, source: Source) -> dict[str, Json]:
    named = f"{run.seed}" + (f", split {run.split}" if run.split else "")
    reached = percent(run.best_val_accuracy) if run.best_val_accuracy is not None else None
    return {"seed": named, "outcome": run.outcome, "reached": reached, "page": source.page_of(run)}


def _curves(comparison: Comparison) -> tuple[list[list[dict[str, Json]]], int]:
    """The curves of those runs that ended, a list a configuration, the best first; and how many epochs have a point."""
    left = MOST_CURVES if comparison.searched is None else 0  # a search shows its own
    shown: list[list[tuple[ComparedRun, Sequence[float]]]] = []
    for group in comparison.groups:
        shown.append([(run, run.curve()) for run in group.ended] if len(group.ended) <= left else [])
        left -= len(shown[-1])
    every = max(1, math.ceil(sum(len(curve) for runs in shown for _, curve in runs) / MOST_POINTS))
    return [[_curve(run, curve[every - 1 :: every]) for run, curve in runs] for runs in shown], every


def _curve(run: ComparedRun, curve: Sequence[float]) -> dict[str, Json]:
    y = [known(accuracy, DIGITS) for accuracy in curve]
    return {"seed": run.seed, "diverged": run.outcome == Outcome.diverged, "y": y}


def _effect(effect: Effect) -> dict[str, Json]:
    share = None if math.isnan(effect.share) else f"{effect.share:.0%}"
    return {
        "flag": effect.flag,
        "share": share,
        "levels": [
            {
                "value": rounded(level.value),
                "effect": known(level.effect),
                "said": signed(level.effect),
                "finished": level.finished,
                "runs": level.runs,
            }
            for level in effect.levels
        ],
    }
