"""Simulate sweeps with known true means, and compute statistics for their pairs of configurations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from math import comb

import numpy as np
from scipy.special import stdtr

from lenet_exp.comparison.multiplicity import Bools, Floats
from lenet_exp.comparison.pairs import AccuracyTable, Pairs, pairs
from lenet_exp.comparison.statistics import intervals

CHUNK = 4_000_000  # maximum number of values in memory at the same time
MANY = 50  # number of configurations above which the fast method is used
ROUNDING = 1e-15  # precision of the difference between nearly equal squares
SMALLEST = 1.9  # value of t below which p is above 5% for any number of seeds
Rule = Callable[["Judged"], Bools]


@dataclass(frozen=True)
class Scenario:
    """A type of simulated sweep.

    Attributes:
        name: name of the scenario.
        means: true means of the configurations, in units of a standard deviation over seeds.
        n: number of seeds per configuration.
        spreads: standard deviations of the configurations over seeds; by default, all are 1.
        paired: whether all configurations have the same seeds.
        missing: fraction of runs that are missing at random.
        noise: type of noise:

            - normal: a normal distribution.
            - correlated: normal, with an additional effect of each seed that differs between configurations. Therefore,
              it affects the differences between configurations.
            - skewed: an exponential tail toward lower values.
            - collapse: one run in ten ends 50 standard deviations lower, at chance level.
            - rounded: accuracies are multiples of a standard deviation, as with few images.
            - one skewed, one collapses: only the first configuration is skewed or collapses. The other runs of a
              collapsing configuration are better, so that its mean does not change.
        splits: number of splits per seed. Seed, split, and residual have effects of the same size on each
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
        """The number of configurations in a sweep."""
        return len(self.means)


@dataclass(frozen=True)
class Judged:
    """Statistics for all pairs of configurations in simulated sweeps.

    Attributes:
        found: statistics for all pairs.
        k: number of configurations per sweep.
        leader: (sweeps,) index of the leader.
        leads: (sweeps, pairs) whether the leader is the first configuration of the pair.
        involved: (sweeps, pairs) whether the pair contains the leader.
    """

    found: Pairs
    k: int
    leader: np.ndarray
    leads: Bools
    involved: Bools

    @property
    def towards(self) -> Floats:
        """The observed lead of the leader in each pair that contains it."""
        return np.where(self.leads, self.found.points, -self.found.points)

    def of_leader(self, values: np.ndarray) -> np.ndarray:
        """Select the values (sweeps, k - 1) for the leader's pairs from those for all pairs.

        Args:
            values: (sweeps, pairs) or (pairs,) values for all pairs.
        """
        where = np.nonzero(self.involved)[1].reshape(-1, self.k - 1)
        return np.take_along_axis(np.broadcast_to(values, self.involved.shape), where, axis=-1)


def equal(k: int) -> tuple[float, ...]:
    """Return k means that are all equal to 0."""
    return (0.0,) * k


def simulated(scenario: Scenario, sweeps: int, rng: np.random.Generator) -> AccuracyTable:
    """Draw the accuracies of simulated sweeps. If they are paired, each seed has an effect on all configurations."""
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
    """Determine the leader of each sweep and compute the statistics for all pairs of configurations."""
    k = draws.values.shape[-2]
    known = ~np.isnan(draws.values)
    mean = np.where(known, draws.values, 0.0).sum(axis=-1) / np.maximum(known.sum(axis=-1), 1)
    # A configuration with a single run cannot be tested, so it cannot be the leader.
    leader = np.where(known.sum(axis=-1) > 1, mean, -np.inf).argmax(axis=-1)
    first, second = np.triu_indices(k, 1)
    leads = leader[:, None] == first
    found = complete_pairs(draws.values) if k > MANY and known.all() and not draws.splits.any() else pairs(draws)
    return Judged(found, k, leader, leads, leads | (leader[:, None] == second))


def complete_pairs(values: Floats) -> Pairs:
    """Compute the same statistics as `pairs` for sweeps without missing runs, ten times as fast.

    Each p above 5% is set to 1, because only smaller values are used.
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
    """Counts of correct and false results over the simulated sweeps of a scenario.

    Attributes:
        sweeps: number of sweeps.
        false: number of sweeps with a false claim that the leader is ahead.
        held: number of sweeps in which all intervals contain the true differences.
        kept: number of sweeps in which no configuration with the best true mean is excluded.
        right: number of truly worse configurations that a truly best leader is found to be ahead of.
        lesser: number of truly worse configurations.
        wins: number of sweeps in which the leader is correctly found to be ahead of all others.
    """

    sweeps: int = 0
    false: int = 0
    held: int = 0
    kept: int = 0
    right: int = 0
    lesser: int = 0
    wins: int = 0

    def add(self, judged: Judged, rule: Rule, means: Sequence[float]) -> None:
        """Add the results of a rule for some sweeps.

        Args:
            judged: statistics for the sweeps.
            rule: function that returns which differences are significant.
            means: true means of the configurations.
        """
        first, second = np.triu_indices(judged.k, 1)
        true, best = np.array(means), np.array(means) == max(means)
        # All arrays below contain only the leader's pairs: (sweeps, k - 1).
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
        """Return a count as a percentage of the sweeps."""
        return 100 * count / self.sweeps


def run(scenario: Scenario, sweeps: int, rules: Sequence[Rule], seed: int) -> list[Counts]:
    """Simulate sweeps in parts that fit into memory, and return the counts for each rule."""
    rng, counts = np.random.default_rng(seed), [Counts() for _ in rules]
    columns = scenario.n * scenario.splits * (1 if scenario.paired else scenario.k)
    part = max(1, min(sweeps, CHUNK // (max(scenario.k * columns, comb(scenario.k, 2) * 4))))
    for begin in range(0, sweeps, part):
        judged = judge(simulated(scenario, min(part, sweeps - begin), rng))
        for count, rule in zip(counts, rules, strict=True):
            count.add(judged, rule, scenario.means)
    return counts
