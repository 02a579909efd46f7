"""Adds seeds to configurations until the leader is at most `within` below the best one.

The results are judged at looks, each with a third more seeds than the one before. At each look, the
leader is the configuration with the best mean of those with all seeds of the look, and every other
configuration has an upper bound of how much better it could be (`bounds.upper_bounds`). The leader
and the configurations whose bound is above `within` get the seeds of the next look. One that was
out and could be better again catches up. It ends when none could be better by more than `within`.

A rule that is applied again and again must pay for it, so each look uses a fraction of the level
(`look_level`). `python -m benchmarks.within` simulates how often the result is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lenet_exp.comparison.statistics.bounds import upper_bounds
from lenet_exp.comparison.statistics.multiplicity import LEVEL
from lenet_exp.comparison.statistics.pairs import AccuracyTable, Bools, Floats

FEWEST_SEEDS = 3  # seeds of the first look; two would hardly show the variation between seeds
MOST_SEEDS = 50  # maximum number of seeds if `sweep.most_seeds` is not set
GROWTH = 4 / 3  # ratio of the numbers of seeds of two looks

# The fraction of the level that each look uses, by the number of configurations, and for more of
# them. Simulated: with these, all looks together are wrong in at most 5% of sweeps.
SHARES = {2: 0.15, 3: 0.25}
USUAL_SHARE = 0.3

# The one-sided level, at each look, of each test of a leader that beats every other configuration.
WIN_LEVEL = 0.006


def look_sizes(first: int, most: int) -> list[int]:
    """Return the numbers of seeds at which the results are judged, such as 3, 4, 5, 7, 9, 12, 16.

    Args:
        first: number of seeds of the first look.
        most: maximum number of seeds, at least `first`.
    """
    sizes = [first]
    while sizes[-1] < most:
        larger = max(sizes[-1] + 1, round(sizes[-1] * GROWTH))
        sizes.append(min(most, larger))
    return sizes


def look_level(configurations: int) -> float:
    """Return the one-sided level of each of the configurations - 1 comparisons at each look."""
    share = SHARES.get(configurations, USUAL_SHARE)
    return LEVEL * share / (configurations - 1)


@dataclass(frozen=True)
class RaceTable:
    """The results of the configurations of a race. Both arrays have the shape (configurations,
    seeds).

    Attributes:
        values: accuracies, or values of another metric of which larger ones are better; NaN for
            runs without such a result.
        failed: whether a run diverged or could not be trained, so that it will have no value.
    """

    values: Floats
    failed: Bools


@dataclass(frozen=True)
class Look:
    """The judgment of the first results of a race. The arrays have the shape (configurations,).

    Attributes:
        seeds: number of seeds of the look.
        leader: position of the leader.
        bounds: upper bounds of how much better each configuration is than the leader; -inf for the
            leader and for configurations that are out.
        counts: number of seeds of each configuration.
        out: whether the configuration has left the race, because one of its runs failed.
    """

    seeds: int
    leader: int
    bounds: Floats
    counts: NDArray[np.int64]
    out: Bools

    @property
    def bound(self) -> float:
        """How far the leader can be below the best configuration; 0 if it is the best."""
        return max(float(self.bounds.max()), 0.0)

    def racing(self, within: float) -> Bools:
        """Return whether each configuration gets more seeds: the leader, and all that could be
        better by more than `within`.
        """
        racing = self.bounds > within
        racing[self.leader] = True
        return racing

    def is_decided(self, within: float) -> bool:
        """Return whether no configuration could be better than the leader by more than `within`."""
        return self.bound <= within


@dataclass(frozen=True)
class RaceStanding:
    """How far a race has come.

    Attributes:
        looks: the complete looks, in order.
        requested: which runs the race has asked for, with shape (configurations, seeds).
        seeds: number of seeds of the last or, if runs are missing, of the next look.
        is_over: whether no more runs are needed: the leader is within the difference that does not
            matter, all seeds are used, or every configuration has left the race.
    """

    looks: list[Look] = field(default_factory=list)
    requested: Bools = field(default_factory=lambda: np.zeros((0, 0), dtype=bool))
    seeds: int = 0
    is_over: bool = False

    @property
    def last(self) -> Look | None:
        """The last complete look; None if the first one is not complete."""
        return self.looks[-1] if self.looks else None


def race(
    table: RaceTable,
    within: float,
    sizes: Sequence[int],
    images: int | None = None,
) -> RaceStanding:
    """Judge the results of a race at each look for which they are complete.

    The decisions depend only on the runs that the race has asked for. Other results in the table
    change nothing, so neither the order in which runs end nor runs of other sweeps matter.

    Args:
        table: results; the positions of the configurations break ties.
        within: difference that does not matter, in the unit of the values (accuracies: a fraction).
        sizes: numbers of seeds of the looks; see `look_sizes`.
        images: number of images from which each accuracy was computed; None if unknown.
    """
    requested = np.zeros(table.values.shape, dtype=bool)
    looks: list[Look] = []
    racing = np.ones(len(requested), dtype=bool)

    for seeds in sizes:
        requested[racing, :seeds] = True
        has_result = ~np.isnan(table.values) | table.failed
        if (requested & ~has_result).any():
            return RaceStanding(looks, requested, seeds)

        out = np.any(requested & table.failed, axis=1)
        has_all_seeds = requested[:, :seeds].all(axis=1) & ~out
        if not has_all_seeds.any():  # all that raced have left, so the others catch up
            requested[~out, :seeds] = True
            if (requested & ~has_result).any():
                return RaceStanding(looks, requested, seeds)
            out = np.any(requested & table.failed, axis=1)
        if out.all():
            return RaceStanding(looks, requested, seeds, is_over=True)
        look = _judge(table.values, requested & ~out[:, None], seeds, images)
        looks.append(look)
        if look.is_decided(within):
            return RaceStanding(looks, requested, seeds, is_over=True)
        racing = look.racing(within)

    return RaceStanding(looks, requested, sizes[-1], is_over=True)


def _judge(values: Floats, used: Bools, seeds: int, images: int | None) -> Look:
    """Judge the results of one look. The error rate covers all configurations, also those that are
    out.

    Args:
        values: see `RaceTable`.
        used: which results are judged, with the same shape; none of configurations that are out.
        seeds: number of seeds of the look.
        images: see `race`.
    """
    counts = used.sum(axis=1)
    means = np.where(used, values, 0.0).sum(axis=1) / np.maximum(counts, 1)
    means[counts < seeds] = -np.inf
    leader = int(means.argmax())

    remaining = np.flatnonzero(counts)
    others = remaining[remaining != leader]
    bounds = np.full(len(values), -np.inf)
    if others.size:
        order = [leader, *others]
        judged = np.where(used, values, np.nan)[order, :seeds]
        replicates = np.arange(seeds)
        table = AccuracyTable(judged, replicates, np.zeros_like(replicates))
        level = look_level(len(values))
        bounds[others] = upper_bounds(table, images, level=level, win_level=WIN_LEVEL)
    return Look(seeds, leader, bounds, counts=counts, out=counts == 0)
