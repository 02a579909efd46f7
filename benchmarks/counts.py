"""Judge simulated sweeps, and count how often the claims of a verdict are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import comb

import numpy as np

from benchmarks.simulated import Source
from lenet_exp.comparison.statistics.intervals import simultaneous_intervals
from lenet_exp.comparison.statistics.leader_tests import pair_tests
from lenet_exp.comparison.statistics.multiplicity import (
    LEVEL,
    Bools,
    Floats,
    shaffer_levels,
    step_down,
)
from lenet_exp.comparison.statistics.pairs import AccuracyTable, Pairs, compare_all_pairs

CHUNK = 4_000_000  # maximum number of values in memory at the same time


@dataclass(frozen=True)
class Claims:
    """What a verdict states about each configuration except the leader. Each array has the shape
    (sweeps, k - 1).

    Attributes:
        behind: whether the leader is declared better.
        outside: whether the configuration is outside the set of configurations that could be the
            best.
        low, high: ends of the interval of the leader's lead; NaN if there is no interval.
    """

    behind: Bools
    outside: Bools
    low: Floats
    high: Floats

    @classmethod
    def of(cls, pairs: Pairs, behind: Bools, outside: Bools) -> Claims:
        """Add the plain simultaneous intervals to the claims about the leader's pairs."""
        k = behind.shape[-1] + 1
        low, high = simultaneous_intervals(pairs, comb(k, 2))
        has_no_test = np.isnan(pairs.p)
        return cls(
            behind,
            outside,
            low=np.where(has_no_test, np.nan, low),
            high=np.where(has_no_test, np.nan, high),
        )


def shipped(table: AccuracyTable, images: int | None = None) -> Claims:
    """Return the claims of lenet_exp. The first row of the table must be the leader."""
    tests = pair_tests(table, images)
    return Claims.of(tests.pairs, tests.behind, tests.excluded)


def release_0_2(table: AccuracyTable) -> Claims:
    """Return the claims of release 0.2, which did not moderate variances, and excluded only
    configurations that were behind. The first row of the table must be the leader."""
    k = table.values.shape[-2]
    all_pairs = compare_all_pairs(table)
    pairs = all_pairs.first(k - 1)  # those of the leader
    is_ahead = pairs.points > 0
    wins = (is_ahead & (pairs.p <= LEVEL)).all(axis=-1, keepdims=True)
    differs = step_down(all_pairs.p, shaffer_levels(k))[..., : k - 1] | wins
    behind = differs & is_ahead
    return Claims.of(pairs, behind, behind)


@dataclass
class Counts:
    """Counts of correct and false claims over simulated sweeps.

    Attributes:
        k: number of configurations in a sweep.
        sweeps: number of sweeps.
        false_behind: number of sweeps in which the leader is declared better than an equally good
            or better one.
        false_wins: number of sweeps in which the leader wins although another one is equally good
            or better.
        wins: number of sweeps in which the leader wins and is the best.
        held: number of sweeps in which all intervals contain the true differences.
        worse: number of configurations that are worse than the best.
        worse_behind: number of these that the leader is declared better than.
        worse_outside: number of these that are outside the set of configurations that could be the
            best.
        best: for each configuration, the number of sweeps in which it is a truly best one.
        best_outside: for each configuration, the number of sweeps in which it is a truly best one
            outside the set.
    """

    k: int
    sweeps: int = 0
    false_behind: int = 0
    false_wins: int = 0
    wins: int = 0
    held: int = 0
    worse: int = 0
    worse_behind: int = 0
    worse_outside: int = 0
    best: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    best_outside: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def __post_init__(self) -> None:
        self.best = np.zeros(self.k, dtype=np.int64)
        self.best_outside = np.zeros(self.k, dtype=np.int64)

    def add(self, claims: Claims, order: np.ndarray, means: Floats) -> None:
        """Add the claims about some sweeps.

        Args:
            order: number of the configuration in each row of the table, with shape (sweeps, rows).
            means: true means of all configurations, with shape (sweeps, k).
        """
        mean = np.take_along_axis(means, order, axis=1)
        is_best = mean == means.max(axis=1, keepdims=True)
        true_lead = mean[:, :1] - mean[:, 1:]
        is_not_worse = true_lead <= 0
        is_missed = (true_lead < claims.low) | (true_lead > claims.high)
        wins = claims.behind.all(axis=-1)
        leader_outside = np.zeros_like(is_best[:, :1])  # never
        outside = np.concatenate([leader_outside, claims.outside], axis=-1)

        self.sweeps += len(order)
        self.false_behind += int((claims.behind & is_not_worse).any(axis=-1).sum())
        self.false_wins += int((wins & is_not_worse.any(axis=-1)).sum())
        self.wins += int((wins & (true_lead > 0).all(axis=-1)).sum())
        self.held += int((~is_missed.any(axis=-1)).sum())
        self.worse += int((~is_best).sum())
        self.worse_behind += int((claims.behind & ~is_best[:, 1:]).sum())
        self.worse_outside += int((outside & ~is_best).sum())
        self.best += np.bincount(order[is_best], minlength=self.k)
        self.best_outside += np.bincount(order[is_best & outside], minlength=self.k)

    def percent(self, name: str) -> float:
        """Return a count as a percentage: of the sweeps, or of the configurations that it counts.
        For the truly best configurations, return the largest percentage of them."""
        if name == "best_outside":
            return float(100 * (self.best_outside / np.maximum(self.best, 1)).max())
        total = self.worse if name.startswith("worse") else self.sweeps
        return 100 * float(getattr(self, name)) / max(total, 1)


def run(source: Source, sweeps: int, seed: Sequence[int]) -> tuple[Counts, Counts]:
    """Simulate sweeps in parts that fit into memory; return the counts for lenet_exp and for
    release 0.2.
    """
    rng = np.random.default_rng(seed)
    new = Counts(source.k)
    old = Counts(source.k)
    values_of_sweep = max(source.size, comb(source.k, 2) * 4)
    part = max(1, min(sweeps, CHUNK // values_of_sweep))
    for begin in range(0, sweeps, part):
        drawn = source.draw(min(part, sweeps - begin), rng)
        for table, order, means in drawn.comparable():
            new.add(shipped(table, drawn.images), order, means)
            old.add(release_0_2(table), order, means)
    return new, old
