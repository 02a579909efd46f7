"""What each flag does by itself, and how much of the differences comes from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from lenet_exp.comparison.group import Group

MANY = 8  # values of a number; more are put into ranges
RANGES = 4


@dataclass(frozen=True)
class Level:
    """One value of a flag, or a range of values.

    Attributes:
        mean: of the means of its groups; NaN where no run of them finished.
        effect: how far that is from the mean over all groups.
        finished, runs: how many of its runs finished, and how many there are.
    """

    value: str
    mean: float
    effect: float
    finished: int
    runs: int


@dataclass(frozen=True)
class Effect:
    """One flag.

    Attributes:
        share: of the variance of all finished runs, what the differences between its levels' means explain (eta
            squared); NaN where nothing varies. The shares of a full grid add up to 1 with that of the seeds and of what
            flags do together.
        importance: by Optuna's fANOVA; None without Optuna.
    """

    flag: str
    levels: list[Level]
    share: float
    importance: float | None


@dataclass(frozen=True)
class Effects:
    """All flags, the one that explains most first.

    Attributes:
        seeds: share of the variance that is within groups: luck.
        together: what is left: what flags do together; None where the grid is not full, and so the shares overlap.
    """

    flags: list[Effect]
    seeds: float
    together: float | None


def effects(groups: Sequence[Group], flags: Sequence[str]) -> Effects:
    """The effects of `flags` over groups of one data set."""
    with_runs = [g for g in groups if g.n]
    values = np.array([v for g in with_runs for v in g.accuracy.values()])
    total = float(((values - values.mean()) ** 2).sum()) if len(values) else 0.0
    importance = _importance(with_runs, flags)
    found = []
    for flag in flags:
        level_of = _levels({g.flags.get(flag, "-") for g in groups})
        between = _between(with_runs, flag, level_of)
        share = between / total if total else math.nan
        found.append(Effect(flag, _means(groups, flag, level_of), share, importance.get(flag)))
    within = sum(sum((v - g.mean) ** 2 for v in g.accuracy.values()) for g in with_runs)
    seeds = within / total if total else math.nan
    together = 1 - seeds - sum(e.share for e in found) if total and _full(with_runs, flags) else None
    return Effects(sorted(found, key=lambda e: -e.share if e.share == e.share else 0.0), seeds, together)


def number(text: str) -> float | None:
    """A flag's value as a number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _levels(values: Iterable[str]) -> Callable[[str], str]:
    """Each value by itself, or the range that it lies in."""
    numbers = sorted(n for n in map(number, values) if n is not None)
    if len(numbers) <= MANY:
        return lambda value: value
    edges = np.quantile(numbers, np.linspace(0, 1, RANGES + 1))
    names = [f"{a:.3g} to {b:.3g}" for a, b in pairwise(edges)]

    def name(value: str) -> str:
        n = number(value)
        return value if n is None else names[min(int(np.searchsorted(edges[1:], n)), RANGES - 1)]

    return name


def _between(groups: Sequence[Group], flag: str, level_of: Callable[[str], str]) -> float:
    """Sum of squares between the levels, over runs."""
    runs: dict[str, list[float]] = {}
    for g in groups:
        runs.setdefault(level_of(g.flags.get(flag, "-")), []).extend(g.accuracy.values())
    everything = [v for values in runs.values() for v in values]
    if not everything:
        return 0.0
    mean = np.mean(everything)
    return float(sum(len(values) * (np.mean(values) - mean) ** 2 for values in runs.values()))


def _means(groups: Sequence[Group], flag: str, level_of: Callable[[str], str]) -> list[Level]:
    members: dict[str, list[Group]] = {}
    for g in groups:
        members.setdefault(level_of(g.flags.get(flag, "-")), []).append(g)
    means = {value: [g.mean for g in its if g.n] for value, its in members.items()}
    everything = [m for its in means.values() for m in its]
    mean = float(np.mean(everything)) if everything else math.nan
    levels = []
    for value, its in members.items():
        level = float(np.mean(means[value])) if means[value] else math.nan
        levels.append(Level(value, level, level - mean, sum(g.n for g in its), sum(len(g.runs) for g in its)))
    return sorted(levels, key=lambda level: (math.isnan(level.mean), -level.mean))


def _full(groups: Sequence[Group], flags: Sequence[str]) -> bool:
    """Whether each combination of values has the same number of runs, without which shares overlap."""
    counts = {tuple(g.flags.get(f, "-") for f in flags): g.n for g in groups}
    combinations = math.prod(len({g.flags.get(f, "-") for g in groups}) for f in flags)
    return len(counts) == combinations and len(set(counts.values())) == 1


def _importance(groups: Sequence[Group], flags: Sequence[str]) -> dict[str, float]:
    """Optuna's fANOVA over the groups' means (Hutter, Hoos, Leyton-Brown 2014), where Optuna is installed."""
    try:
        import optuna
    except ImportError:
        return {}
    if len(groups) < 4 or not flags or len({g.mean for g in groups}) == 1:
        return {}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = {flag: _distribution([g.flags.get(flag, "-") for g in groups]) for flag in flags}
    study = optuna.create_study(direction="maximize")
    for g in groups:
        values = {
            flag: float(g.flags[flag])
            if isinstance(d, optuna.distributions.FloatDistribution)
            else g.flags.get(flag, "-")
            for flag, d in space.items()
        }
        study.add_trial(optuna.trial.create_trial(params=values, distributions=space, value=g.mean))
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=16, max_depth=8, seed=0)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def _distribution(values: Sequence[str]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    numbers = [number(v) for v in values]
    known = [n for n in numbers if n is not None]
    if len(known) < len(values) or len(set(known)) <= 2:
        return CategoricalDistribution(sorted(set(values)))
    return FloatDistribution(min(known), max(known), log=min(known) > 0 and max(known) / min(known) > 20)
