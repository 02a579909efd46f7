"""Simulated sweeps whose true means are known, and the statistics of their pairs of configurations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from math import comb

import numpy as np
from scipy.special import stdtr

from lenet_exp.comparison.multiplicity import Bools, Floats
from lenet_exp.comparison.pairs import AccuracyTable, Pairs, pairs
from lenet_exp.comparison.statistics import intervals

CHUNK = 4_000_000  # numbers held at once
MANY = 50  # with this many configurations or more, the fast method pays off
ROUNDING = 1e-15  # precision of the difference of nearly equal squares
SMALLEST = 1.9  # t; below it, p is above 5 % for any number of seeds
Rule = Callable[["Judged"], Bools]


@dataclass(frozen=True)
class Scenario:
    """A kind of simulated sweep.

    Attributes:
        means: true means, in spreads of a configuration whose `spread` is 1.
        spreads: standard deviations of configurations over seeds.
        paired: whether all have the same seeds.
        missing: share of runs that are missing at random.
        noise: normal; correlated (normal, with a second effect of the seed that differs between configurations, and so
            affects differences); skewed (a downward exponential tail); collapse (one run in ten ends 50 lower, at
            chance); rounded (accuracies in steps of one spread, as on few images); one skewed, one collapses (only the
            first configuration, which is better in its other runs by as much).
        splits: number of splits per seed; seed, split, and residual have effects of the same size on each
            configuration.
    """

    name: str
    means: tuple[float, ...]
    n: int
    spreads: tuple[float, ...] = ()
    paired: bool = True
    missing: float = 0.0
    noise: str = "normal"
    splits: int = 1

    @property
    def k(self) -> int:
        """The number of configurations."""
        return len(self.means)


@dataclass(frozen=True)
class Judged:
    """Sweeps and the statistics of all their pairs.

    Attributes:
        leader: (sweeps,).
        leads: (sweeps, pairs): the pairs with the leader first; `involved`: the pairs that contain the leader.
    """

    found: Pairs
    k: int
    leader: np.ndarray
    leads: Bools
    involved: Bools

    @property
    def towards(self) -> Floats:
        """The leader's observed lead in each pair."""
        return np.where(self.leads, self.found.points, -self.found.points)

    def of_leader(self, values: np.ndarray) -> np.ndarray:
        """Return the leader's pairs: (sweeps, pairs) or (pairs,) -> (sweeps, k - 1)."""
        where = np.nonzero(self.involved)[1].reshape(-1, self.k - 1)
        return np.take_along_axis(np.broadcast_to(values, self.involved.shape), where, axis=-1)


def equal(k: int) -> tuple[float, ...]:
    """Return k equal means."""
    return (0.0,) * k


def simulated(scenario: Scenario, sweeps: int, rng: np.random.Generator) -> AccuracyTable:
    """Return accuracies of simulated sweeps; in paired ones, a seed affects all configurations."""
    k, n, splits = scenario.k, scenario.n, scenario.splits
    spreads = np.array(scenario.spreads or equal(k)) + (0.0 if scenario.spreads else 1.0)
    own = rng.normal(size=(sweeps, k, n, splits))
    if splits > 1:
        own = own + rng.normal(size=(sweeps, k, n, 1)) + rng.normal(size=(sweeps, k, 1, splits))
    if scenario.noise == "correlated":
        own = own + 2 * rng.normal(size=(sweeps, k, 1, 1)) * rng.normal(size=(sweeps, 1, n, splits))
    elif scenario.noise == "skewed":
        own = 1 - rng.exponential(size=own.shape)
    elif scenario.noise == "collapse":
        own = own - 50 * (rng.random(own.shape) < 0.1)
    elif scenario.noise == "one skewed":
        own[:, 0] = 1 - rng.exponential(size=own[:, 0].shape)
    elif scenario.noise == "one collapses":
        own[:, 0] += 5 - 50 * (rng.random(own[:, 0].shape) < 0.1)
    values = np.array(scenario.means)[:, None, None] + spreads[:, None, None] * own
    common = rng.normal(size=(sweeps, 1 if scenario.paired else k, n, splits))
    values = (values + common).reshape(sweeps, k, n * splits)
    if scenario.noise == "rounded":
        values = np.round(values)
    if scenario.missing:
        values[rng.random(values.shape) < scenario.missing] = np.nan
    seeds, split = np.divmod(np.arange(n * splits), splits)
    if not scenario.paired:
        apart = np.full((sweeps, k, k, n), np.nan)
        apart[:, np.arange(k), np.arange(k)] = values
        values, seeds = apart.reshape(sweeps, k, k * n), np.arange(k * n)
        split = np.zeros(k * n, dtype=np.int64)
    return AccuracyTable(values, seeds, split)


def judge(draws: AccuracyTable) -> Judged:
    """Compute the statistics of sweeps."""
    k = draws.values.shape[-2]
    known = ~np.isnan(draws.values)
    mean = np.where(known, draws.values, 0.0).sum(axis=-1) / np.maximum(known.sum(axis=-1), 1)
    # A configuration with a single run is not judged, so it can't be the leader.
    leader = np.where(known.sum(axis=-1) > 1, mean, -np.inf).argmax(axis=-1)
    first, second = np.triu_indices(k, 1)
    leads = leader[:, None] == first
    found = complete_pairs(draws.values) if k > MANY and known.all() and not draws.splits.any() else pairs(draws)
    return Judged(found, k, leader, leads, leads | (leader[:, None] == second))


def complete_pairs(values: Floats) -> Pairs:
    """Compute `pairs` for sweeps without missing runs, ten times as fast. Each p above 5 % is set to 1, because only
    smaller ones are used.
    """
    k, n = values.shape[-2:]
    first, second = np.triu_indices(k, 1)
    mean = values.mean(axis=-1)
    off = values - mean[..., None]
    products = off @ off.swapaxes(-1, -2)
    own = np.diagonal(products, axis1=-2, axis2=-1)
    square = (own[..., first] + own[..., second] - 2 * products[..., first, second]) / (n - 1)
    spread = np.sqrt(np.maximum(square, ROUNDING))
    points, error = mean[..., first] - mean[..., second], spread / np.sqrt(n)
    t = np.abs(points) / error
    p, small = np.ones_like(t), t > SMALLEST
    p[small] = 2 * stdtr(n - 1, -t[small])
    same = np.ones_like(t)
    return Pairs(points, spread, error, same * n, same * (n - 1), same == 1, p)


@dataclass
class Counts:
    """Counts over the sweeps of a scenario."""

    sweeps: int = 0
    false: int = 0
    held: int = 0
    kept: int = 0
    right: int = 0
    lesser: int = 0
    wins: int = 0

    def add(self, judged: Judged, rule: Rule, means: Sequence[float]) -> None:
        """Add the results of a rule on some sweeps."""
        first, second = np.triu_indices(judged.k, 1)
        true, best = np.array(means), np.array(means) == max(means)
        # From here on, only the leader's pairs: (sweeps, k - 1).
        leads, differs = judged.of_leader(judged.leads), judged.of_leader(rule(judged))
        truth = judged.of_leader(true[first] - true[second])
        found = Pairs(*(judged.of_leader(getattr(judged.found, f.name)) for f in fields(Pairs)))
        other_best = np.where(leads, judged.of_leader(best[second]), judged.of_leader(best[first]))
        ahead = differs & (np.where(leads, found.points, -found.points) > 0)
        better = np.where(leads, truth, -truth) > 0
        low, high = intervals(found, differs, comb(judged.k, 2))
        outside = ~np.isnan(found.p) & ((truth < low) | (truth > high))
        self.sweeps += len(differs)
        self.false += int((ahead & ~better).any(axis=-1).sum())
        self.held += int((~outside.any(axis=-1)).sum())
        self.kept += int((~(ahead & other_best).any(axis=-1)).sum())
        self.right += int((ahead & better & best[judged.leader][:, None]).sum())
        self.lesser += int(better.sum())
        self.wins += int((ahead & better).all(axis=-1).sum())

    def percent(self, count: int) -> float:
        """Return a count as a percentage."""
        return 100 * count / self.sweeps


def run(scenario: Scenario, sweeps: int, rules: Sequence[Rule], seed: int) -> list[Counts]:
    """Simulate sweeps in parts that fit in memory and return the counts of each rule."""
    rng, counts = np.random.default_rng(seed), [Counts() for _ in rules]
    columns = scenario.n * scenario.splits * (1 if scenario.paired else scenario.k)
    part = max(1, min(sweeps, CHUNK // (max(scenario.k * columns, comb(scenario.k, 2) * 4))))
    for begin in range(0, sweeps, part):
        judged = judge(simulated(scenario, min(part, sweeps - begin), rng))
        for count, rule in zip(counts, rules, strict=True):
            count.add(judged, rule, scenario.means)
    return counts
