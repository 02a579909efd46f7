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


@dataclass(frozen=True)
class _Variance:
    """The variance over all finished runs, which is divided among flags.

    Attributes:
        total: sum of squared deviations of all runs from their mean.
        chance: sum of squares, per degree of freedom, that chance alone causes; NaN if shares are
            unknown.
    """

    total: float
    chance: float

    def share(self, between: float, levels: int) -> float:
        """Return the share of a flag, or of all configurations, as omega squared.

        Args:
            between: sum of squares between the levels, over all runs.
            levels: number of levels with finished runs.
        """
        if math.isnan(self.chance):
            return math.nan
        by_chance = (levels - 1) * self.chance
        return max(between - by_chance, 0.0) / (self.total + self.chance)


def effects(groups: Sequence[Group], flags: Sequence[str]) -> Effects:
    """Compute the effects of `flags` from the groups of one dataset."""
    with_runs = [group for group in groups if group.n]
    values = np.array([value for group in with_runs for value in group.accuracy.values()])
    mean = float(values.mean()) if len(values) else math.nan
    total = float(((values - mean) ** 2).sum())
    within = sum(_within(group) for group in with_runs)

    df_within = len(values) - len(with_runs)
    aliased = _aliased(with_runs, flags)
    no_shares = _no_shares(total, df_within, len(values)) or aliased
    chance = within / df_within if no_shares is None else math.nan
    variance = _Variance(total, chance)

    effects_and_between = []
    for flag in flags:
        groups_by_value = _groups_by_value(groups, flag)
        levels = _levels(groups, groups_by_value)
        levels_with_runs = sum(level.finished > 0 for level in levels)
        between = _between(groups_by_value, mean)
        effect = Effect(flag, levels, variance.share(between, levels_with_runs))
        effects_and_between.append((effect, between))
    effects_and_between.sort(key=lambda pair: -pair[1])
    largest_first = [effect for effect, _ in effects_and_between]

    explained = variance.share(total - within, len(with_runs))
    if no_shares is not None or not _full(with_runs, flags):
        return Effects(largest_first, 1 - explained, None, no_shares, aliased=aliased is not None)
    of_flags = sum(effect.share for effect in largest_first)
    interactions = max(explained - of_flags, 0.0)
    return Effects(largest_first, 1 - of_flags - interactions, interactions)


def _within(group: Group) -> float:
    """Return the sum of squared deviations of a group's runs from their mean."""
    return sum((value - group.mean) ** 2 for value in group.accuracy.values())


def _between(groups_by_value: Mapping[str, Sequence[Group]], mean: float) -> float:
    """Return the sum of squares between the levels of a flag, over all runs.

    Args:
        groups_by_value: groups of each level.
        mean: mean over all runs.
    """
    squares = []
    for groups in groups_by_value.values():
        values = [value for group in groups for value in group.accuracy.values()]
        if values:
            squares.append(len(values) * (np.mean(values) - mean) ** 2)
    return float(sum(squares))


def _groups_by_value(groups: Sequence[Group], flag: str) -> dict[str, list[Group]]:
    groups_by_value: dict[str, list[Group]] = {}
    for group in groups:
        groups_by_value.setdefault(group.value(flag), []).append(group)
    return groups_by_value


def _no_shares(total: float, df_within: int, runs: int) -> str | None:
    """Return the reason why shares cannot be computed; None if they can.

    Args:
        total: sum of squared deviations of all runs from their mean.
        df_within: degrees of freedom within groups; 0 if each group has only one run.
        runs: number of finished runs.
    """
    if runs < 2:
        return "fewer than two runs finished"
    if total < NO_SPREAD**2 * runs:
        return "all runs have the same accuracy"
    if df_within == 0:
        return "each configuration has only one run, so effects cannot be separated from chance"
    return None


def _aliased(groups: Sequence[Group], flags: Sequence[str]) -> str | None:
    """Return the reason why the effects of flags cannot be separated in the finished runs; None if
    they can.
    """
    if len(groups) < 2:
        return "only one configuration has results"
    flags_together = changing_together(groups, flags)
    if len(flags_together) != 1:
        return None
    (aliased,) = flags_together
    if len(aliased) < 2:
        return None
    return f"{', '.join(aliased)} change together, so their effects cannot be separated"


def changing_together(groups: Sequence[Group], flags: Sequence[str]) -> list[list[str]]:
    """Return the flags that have several values, with flags that always change together in the same
    list.

    For example, the values `relu, relu, selu` of one flag and `0.1, 0.1, 0.2` of another flag have
    the same pattern, (0, 0, 2): the position of the first group with the same value.
    """
    flags_by_pattern: dict[tuple[int, ...], list[str]] = {}
    for flag in flags:
        values = [group.value(flag) for group in groups]
        if len(set(values)) > 1:
            pattern = tuple(values.index(value) for value in values)
            flags_by_pattern.setdefault(pattern, []).append(flag)
    return list(flags_by_pattern.values())


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
    numbers = [value for value in map(number, values) if value is not None]
    if not numbers or min(numbers) <= 0:
        return False
    return max(numbers) >= WIDE_RANGE * min(numbers)


def value_order(value: str) -> tuple[bool, float, str]:
    """Return a key that sorts the values of a flag: numbers in ascending order, then words."""
    as_number = number(value)
    is_word = as_number is None
    return is_word, as_number or 0.0, value


def _levels(groups: Sequence[Group], groups_by_value: Mapping[str, Sequence[Group]]) -> list[Level]:
    """Return the levels of a flag, best mean first; levels without a finished run are last.

    Args:
        groups: all groups.
        groups_by_value: groups of each level.
    """
    means_by_value = {
        value: _means(groups_of_value) for value, groups_of_value in groups_by_value.items()
    }
    all_means = [mean for means in means_by_value.values() for mean in means]
    overall_mean = float(np.mean(all_means)) if all_means else math.nan

    with_runs = [group for group in groups if group.n]
    table = AccuracyTable.of([group.accuracy for group in with_runs])
    means_and_variances = group_means(table.values, table)

    levels = []
    for value, groups_of_value in groups_by_value.items():
        means = means_by_value[value]
        mean = float(np.mean(means)) if means else math.nan
        effect = mean - overall_mean
        in_level = np.array([group in groups_of_value for group in with_runs])
        half_width = _half_width(means_and_variances, in_level)
        level = Level(
            value,
            mean,
            effect,
            finished=sum(group.n for group in groups_of_value),
            runs=sum(group.replicates for group in groups_of_value),
            low=effect - half_width,
            high=effect + half_width,
        )
        levels.append(level)

    sign = groups[0].metric.sign
    return sorted(levels, key=lambda level: (math.isnan(level.mean), -sign * level.mean))


def _means(groups: Sequence[Group]) -> list[float]:
    """Return the means of the groups that have finished runs."""
    return [group.mean for group in groups if group.n]


def _half_width(groups: GroupMeans, inside: NDArray[np.bool_]) -> float:
    """Return half the width of the 95% confidence interval for the difference between the mean of
    some groups and the mean of all groups.

    The interval is Welch's, with Satterthwaite's degrees of freedom (Satterthwaite 1946, An
    approximate distribution of estimates of variance components).

    Args:
        groups: means of all groups with their variances, with shape (groups,).
        inside: whether a group is one of the compared groups, with shape (groups,).
    """
    if not inside.any():
        return math.nan

    # The difference is a weighted sum of the groups' means. For example, the weights are
    # (1/6, 1/6, -1/3) if the first two of three groups are inside.
    weights = inside / inside.sum() - 1 / len(inside)
    variances = weights**2 * groups.variance
    variance = float(variances.sum())
    if variance == 0 or math.isnan(variance):
        return variance  # The width, too, is 0 or unknown.

    # This import takes 0.2 s and is needed only with repeated seeds.
    from scipy.special import stdtrit

    df = variance**2 / float((variances**2 / groups.df).sum())
    return float(stdtrit(df, 0.975)) * math.sqrt(variance)


def _full(groups: Sequence[Group], flags: Sequence[str]) -> bool:
    """Return whether every combination of values has the same number of runs.

    Otherwise, the shares overlap.
    """
    runs_by_combination = {}
    for group in groups:
        combination = tuple(group.value(flag) for flag in flags)
        runs_by_combination[combination] = group.n

    combinations = 1
    for flag in flags:
        values = {group.value(flag) for group in groups}
        combinations *= len(values)

    has_all_combinations = len(runs_by_combination) == combinations
    return has_all_combinations and len(set(runs_by_combination.values())) == 1
