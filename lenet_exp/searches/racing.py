"""Which configurations of a search are still worth another seed: a race (Maron and Moore 1993) on paired seeds.

A configuration is dropped when another one is ahead of it, by a one-sided t test of their mean difference over the
seeds that both have. Of few seeds a spread is hardly known, so each configuration's is moderated by those of all
(Smyth 2004, Linear models and empirical Bayes methods, section 4). The level is shared by all tests that there can be
(`configurations` - 1 others, `seeds` - 1 looks), so that the best configuration is dropped, by whichever other one and
at whichever look, in at most `LEVEL` of searches whose configurations have much the same spread. One with a single
seed is taken to spread twice as much as the others, since it may; one that spreads more is dropped more often:
`python -m benchmarks.racing` simulates both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.05
ALONE = 4.0  # times the variance of the others, for one with a single seed
MOST = 50  # that others are held against: the best by their means
FEW = 3  # configurations with two seeds: before, nothing is known of the spread, and nobody is dropped
LEAST = 10  # before, all are taken to spread as much as the one that spreads most

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SeedVariances:
    """What is known of the configurations' variances over seeds.

    Attributes:
        variance: (configurations,): moderated.
        df: (configurations,): degrees of freedom of each.
    """

    variance: Floats
    df: Floats


def dropped(accuracies: Mapping[int, Sequence[float]], *, seeds: int, configurations: int) -> set[int]:
    """Those that another one is ahead of.

    Args:
        accuracies: of each configuration those of its first seeds, in the order of the seeds, which is the same for
            all. A run that diverged counts with what it came to.
        seeds: that a configuration gets at most.
        configurations: how many the search has at most.
    """
    numbers = [n for n, values in accuracies.items() if values]
    table = np.full((len(numbers), seeds), np.nan)
    for row, number in zip(table, numbers, strict=True):
        values = accuracies[number][:seeds]
        row[: len(values)] = values
    spreads = moderated(table)
    if spreads is None:
        return set()
    behind = _behind(table, spreads, LEVEL / (max(configurations, len(numbers), 2) - 1) / max(seeds - 1, 1))
    return {number for number, is_behind in zip(numbers, behind, strict=True) if is_behind}


def moderated(table: Floats) -> SeedVariances | None:
    """The variance of each configuration over seeds, what all share of a seed taken out.

    Args:
        table: (configurations, seeds); NaN from the first seed on that a configuration has not had.

    Returns:
        None where fewer than `FEW` have two seeds.
    """
    there = ~np.isnan(table)
    n = there.sum(1)
    several = n >= 2
    if several.sum() < FEW:
        return None
    rest = _residuals(np.where(there, table, 0.0), there & several[:, None])
    # The seeds' effects were estimated from the same numbers: each configuration pays its share of their freedom.
    used = (there & several[:, None]).any(0).sum() - 1
    df = (n - 1.0) * several
    df *= max(df.sum() - used, 1.0) / df.sum()
    own = np.divide((rest**2).sum(1), df, out=np.zeros_like(df), where=df > 0)
    if several.sum() < LEAST:
        most = np.where(several, 1.0, ALONE) * own.max()
        return SeedVariances(most, np.full(len(n), df.sum()))
    prior, prior_df = _prior(own[several], df[several])
    prior_df = min(prior_df, float(df.sum()))  # it is known no better than from all of them together
    variance = (prior_df * prior + df * own) / (prior_df + df)
    return SeedVariances(np.where(several, variance, ALONE * variance), np.minimum(prior_df + df, df.sum()))


def _residuals(values: Floats, there: NDArray[np.bool_]) -> Floats:
    """Of the additive model of configuration and seed, by alternating means; 0 where there is nothing."""
    rest = np.where(there, values, 0.0)
    counts = [np.maximum(there.sum(axis, keepdims=True), 1) for axis in (0, 1)]
    for _ in range(50):
        for axis in (1, 0):
            shift = rest.sum(axis, keepdims=True) / counts[axis]
            rest = np.where(there, rest - shift, 0.0)
        if np.abs(shift).max() < 1e-12:
            break
    return rest


def _prior(variances: Floats, df: Floats) -> tuple[float, float]:
    """Smyth's moments of log variances: what they vary around, and how many degrees of freedom that is worth.

    What they vary beyond the luck of few seeds is taken a standard error larger than it seems: too little would drop
    configurations whose spread is larger than that of most.
    """
    from scipy.special import digamma, polygamma

    known = variances > 0
    if known.sum() < 3:
        return float(variances.max(initial=0.0)), math.inf
    half = df[known] / 2
    logs = np.log(variances[known]) - digamma(half) + np.log(half)
    mean, n = float(logs.mean()), int(known.sum())
    each = (logs - mean) ** 2 * n / (n - 1) - polygamma(1, half)
    beyond = float(each.mean() + each.std(ddof=1) / math.sqrt(n))
    if beyond <= 0:
        return math.exp(mean), math.inf
    prior_half = _inverse_trigamma(beyond)
    return math.exp(mean + float(digamma(prior_half)) - math.log(prior_half)), 2 * prior_half


def _inverse_trigamma(value: float) -> float:
    """By Newton's method on 1 / trigamma, which is nearly a line (Smyth 2004, appendix)."""
    from scipy.special import polygamma

    x = 0.5 + 1 / value
    for _ in range(50):
        at = float(polygamma(1, x))
        step = at * (1 - at / value) / float(polygamma(2, x))
        x += step
        if -step / x < 1e-10:
            break
    return x


def _behind(table: Floats, spreads: SeedVariances, level: float) -> NDArray[np.bool_]:
    """(configurations,): whether any of the best ones is ahead, over the seeds that both have."""
    from scipy.special import stdtr

    n = (~np.isnan(table)).sum(1)
    sums = np.cumsum(np.where(np.isnan(table), 0.0, table), 1)
    best = np.argsort(-np.nanmean(table, 1), kind="stable")[:MOST]
    common = np.minimum(n[:, None], n[best])  # of i and each of the best, j
    ahead = (np.take_along_axis(sums[best], common.T - 1, 1).T - np.take_along_axis(sums, common - 1, 1)) / common
    one, other = spreads.variance[:, None], spreads.variance[best]
    error = np.sqrt((one + other) / common)
    t = np.divide(ahead, error, out=np.where(ahead > 0, np.inf, 0.0), where=error > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        df = (one + other) ** 2 / (one**2 / spreads.df[:, None] + other**2 / spreads.df[best])
    far = t > 1.6  # none below that is told apart at 5 %
    behind = np.zeros(t.shape, dtype=bool)
    behind[far] = stdtr(np.nan_to_num(df[far], nan=1e9), -t[far]) < level
    return np.asarray(behind.any(axis=1))
