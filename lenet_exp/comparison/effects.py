"""Computes the effect of each flag on accuracy, and its share of the variance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenet_exp.comparison.group import Group
from lenet_exp.comparison.statistics.pairs import NO_SPREAD, AccuracyTable, GroupMeans, group_means

WIDE_RANGE = 20  # minimum ratio of the largest value to the smallest value for a logarithmic axis


@dataclass(frozen=True)
class Level:
    """A value of a flag.

    Attributes:
        value: the value, as text.
        mean: average of the mean accuracies of the level's groups; NaN if none of their runs
            finished.
        effect: difference between `mean` and the average over all groups.
        finished: number of finished replicates.
        runs: number of replicates.
        low, high: ends of the 95% confidence interval of the effect over seeds, for the compared
            groups only; NaN if a group has only one run. The interval is not corrected for the
            number of levels.
    """

    value: str
    mean: float
    effect: float
    finished: int
    runs: int
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Effect:
    """The effect of one flag.

    Attributes:
        flag: name of the flag.
        levels: the levels of the flag, best mean first.
        share: fraction of the variance over all finished runs that is due to differences between
            the flag's levels; NaN if unknown. The fraction is estimated by omega squared, which
            subtracts the part that chance alone would cause.
    """

    flag: str
    levels: list[Level]
    share: float


@dataclass(frozen=True)
class Effects:
    """The effects of all flags, and their shares of the variance.

    The shares are fractions of the variance, estimated by omega squared (Hays 1963, Statistics for
    psychologists). In a full grid, the shares of the flags, `interactions`, and `seeds` add up to
    1.

    Attributes:
        flags: the effect of each flag, largest effect first.
        seeds: share of the variance within groups, which is the seed-to-seed variation.
        interactions: share due to interactions between flags; None if the grid is not full, in
            which case the shares overlap.
        no_shares: reason why the shares are unknown; None if they are known.
        aliased: whether the shares are unknown because all flags change together and their effects
            cannot be separated.
    """

    flags: list[Effect]
    seeds: float
    interactions: float | None
    no_shares: str | None = None
    aliased: bool = False


def effects(groups: Sequence[Group], flags: Sequence[str]) -> Effects:
    """Compute the effects of `flags` from the groups of one dataset."""
    with_runs = [g for g in groups if g.n]
    values = np.array([v for g in with_runs for v in g.accuracy.values()])
    total = float(((values - values.mean()) ** 2).sum()) if len(values) else 0.0
    within = sum(sum((v - g.mean) ** 2 for v in g.accuracy.values()) for g in with_runs)
    freedom = len(values) - len(with_runs)
    aliased = _aliased(with_runs, flags)
    no_shares = _no_shares(total, freedom, len(values)) or aliased
    # The sum of squares, per degree of freedom, that chance alone causes.
    luck = within / freedom if no_shares is None else math.nan

    def share(between: float, levels: int) -> float:
        return (
            max(between - (levels - 1) * luck, 0.0) / (total + luck)
            if no_shares is None
            else math.nan
        )

    found = []
    for flag in flags:
        members: dict[str, list[Group]] = {}
        for g in groups:
            members.setdefault(g.value(flag), []).append(g)
        levels = _means(groups, members)
        runs = [[v for g in its for v in g.accuracy.values()] for its in members.values()]
        # The sum of squares between the levels, over all runs.
        between = float(sum(len(its) * (np.mean(its) - values.mean()) ** 2 for its in runs if its))
        known = sum(level.finished > 0 for level in levels)
        found.append((between, Effect(flag, levels, share(between, known))))
    ordered = [effect for _, effect in sorted(found, key=lambda of: -of[0])]
    explained = share(total - within, len(with_runs))
    if no_shares is not None or not _full(with_runs, flags):
        return Effects(ordered, 1 - explained, None, no_shares, aliased=aliased is not None)
    alone = sum(effect.share for effect in ordered)
    interactions = max(explained - alone, 0.0)
    return Effects(ordered, 1 - alone - interactions, interactions)


def _no_shares(total: float, freedom: int, runs: int) -> str | None:
    """Return the reason why shares cannot be computed; None if they can."""
    if runs < 2:
        return "fewer than two runs finished"
    if total < NO_SPREAD**2 * runs:
        return "all runs have the same accuracy"
    return (
        None
        if freedom
        else "each configuration has only one run, so effects cannot be separated from chance"
    )


def _aliased(groups: Sequence[Group], flags: Sequence[str]) -> str | None:
    """Return the reason why the effects of flags cannot be separated in the finished runs; None if
    they can.
    """
    if len(groups) < 2:
        return "only one configuration has results"
    alike = changing_together(groups, flags)
    if len(alike) != 1 or len(alike[0]) < 2:
        return None
    return f"{', '.join(alike[0])} change together, so their effects cannot be separated"


def changing_together(groups: Sequence[Group], flags: Sequence[str]) -> list[list[str]]:
    """Return the flags that have several values, with flags that always change together in the same
    list.
    """
    alike: dict[tuple[int, ...], list[str]] = {}
    for flag in flags:
        values = [g.value(flag) for g in groups]
        if len(set(values)) > 1:
            alike.setdefault(tuple(map(values.index, values)), []).append(flag)
    return list(alike.values())


def number(text: str) -> float | None:
    """Return a flag's value as a number; None if the value is not a number."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def is_log(values: Iterable[str]) -> bool:
    """Return whether the values of a flag belong on a logarithmic axis: they are positive and span
    a wide range.
    """
    numbers = [n for n in map(number, values) if n is not None]
    return bool(numbers) and min(numbers) > 0 and max(numbers) >= WIDE_RANGE * min(numbers)


def value_order(value: str) -> tuple[bool, float, str]:
    """Return a key that sorts the values of a flag: numbers in ascending order, then words."""
    known = number(value)
    return known is None, known or 0.0, value


def _means(groups: Sequence[Group], members: Mapping[str, Sequence[Group]]) -> list[Level]:
    means = {value: [g.mean for g in its if g.n] for value, its in members.items()}
    everything = [m for its in means.values() for m in its]
    mean = float(np.mean(everything)) if everything else math.nan
    levels = []
    with_runs = [g for g in groups if g.n]
    table = AccuracyTable.of([g.accuracy for g in with_runs])
    alone = group_means(table.values, table)
    for value, its in members.items():
        level = float(np.mean(means[value])) if means[value] else math.nan
        half = _half(alone, np.array([g in its for g in with_runs]))
        counts = sum(g.n for g in its), sum(g.replicates for g in its)
        levels.append(
            Level(value, level, level - mean, *counts, level - mean - half, level - mean + half)
        )
    sign = groups[0].metric.sign
    return sorted(levels, key=lambda level: (math.isnan(level.mean), -sign * level.mean))


def _half(alone: GroupMeans, inside: NDArray[np.bool_]) -> float:
    """Return half the width of the 95% confidence interval for the difference between the mean of
    some groups and the mean of all groups.

    The interval is Welch's, with Satterthwaite's degrees of freedom (Satterthwaite 1946, An
    approximate distribution of estimates of variance components).
    """
    if not inside.any():
        return math.nan
    parts = (inside / inside.sum() - 1 / len(inside)) ** 2 * alone.variance
    total = float(parts.sum())
    if not total > 0:  # no spread, or NaN
        return total
    from scipy.special import (
        stdtrit,
    )  # this import takes 0.2 s and is needed only with repeated seeds

    return float(stdtrit(total**2 / float((parts**2 / alone.df).sum()), 0.975)) * math.sqrt(total)


def _full(groups: Sequence[Group], flags: Sequence[str]) -> bool:
    """Return whether every combination of values has the same number of runs. Otherwise, the shares
    overlap.
    """
    counts = {tuple(g.value(f) for f in flags): g.n for g in groups}
    combinations = math.prod(len({g.value(f) for g in groups}) for f in flags)
    return len(counts) == combinations and len(set(counts.values())) == 1
