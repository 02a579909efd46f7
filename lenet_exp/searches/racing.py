"""Decides which configurations of a search deserve another seed: a race (Maron and Moore 1993) on paired seeds.

A configuration is dropped if another one is ahead of it, by a one-sided t test of their mean difference over the seeds
that both have. A spread cannot be estimated well from a few seeds. Each configuration's variance is therefore shrunk
toward a common value (Smyth 2004, Linear models and empirical Bayes methods, section 4). All possible tests share the
level (`configurations` - 1 others, `seeds` - 1 looks). Therefore, the best configuration is dropped, at any look, in at
most a fraction `LEVEL` of the searches whose configurations have similar spreads. A configuration with a single seed is
assumed to have twice the spread of the others. A configuration with a larger spread is dropped more often.
`python -m benchmarks.racing` simulates both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.05
ALONE = 4.0  # factor on the variance of a configuration with a single seed
MOST = 50  # compare each configuration with this many of the best means
FEW = 3  # number of configurations with two seeds needed to estimate the spread and drop a configuration
LEAST = 10  # below this number, all are assumed to have the largest spread

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SeedVariances:
    """Estimated seed-to-seed variances of the configurations.

    Attributes:
        variance: (configurations,): shrunken variances.
        df: (configurations,): degrees of freedom of each variance.
    """

    variance: Floats
    df: Floats


def dropped(accuracies: Mapping[int, Sequence[float]], *, seeds: int, configurations: int) -> set[int]:
    """Return the configurations that are significantly behind another one.

    Args:
        accuracies: accuracies of each configuration's first seeds. All use the same seeds in the same order. A diverged
            run counts with the value it reached.
        seeds: the maximum number of seeds per configuration.
        configurations: the maximum number of configurations in the search.
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
    """Return each configuration's variance over seeds, after removing the effect that a seed has on all of them.

    Args:
        table: (configurations, seeds); NaN starting at the first seed that a configuration lacks.

    Returns:
        None if fewer than `FEW` configurations have two seeds.
    """
    there = ~np.isnan(table)
    n = there.sum(1)
    several = n >= 2
    if several.sum() < FEW:
        return None
    rest = _residuals(np.where(there, table, 0.0), there & several[:, None])
    # The same numbers estimate the seeds' effects, so each configuration loses its share of degrees of freedom.
    used = (there & several[:, None]).any(0).sum() - 1
    df = (n - 1.0) * several
    df *= max(df.sum() - used, 1.0) / df.sum()
    own = np.divide((rest**2).sum(1), df, out=np.zeros_like(df), where=df > 0)
    if several.sum() < LEAST:
        most = np.where(several, 1.0, ALONE) * own.max()
        return SeedVariances(most, np.full(len(n), df.sum()))
    prior, prior_df = _prior(own[several], df[several])
    prior_df = min(prior_df, float(df.sum()))  # at most as many as all configurations have together
    variance = (prior_df * prior + df * own) / (prior_df + df)
    return SeedVariances(np.where(several, variance, ALONE * variance), np.minimum(prior_df + df, df.sum()))


def _residuals(values: Floats, there: NDArray[np.bool_]) -> Floats:
    """Return the residuals of the additive model of configuration and seed, by alternating means; 0 for missing
    values."""
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
    """Return Smyth's moments of log variances: the value they vary around, and its degrees of freedom.

    Their variation beyond chance is overestimated by one standard error, since an underestimate would drop
    configurations with a larger spread than most.
    """
    from scipy.optimize import brentq
    from scipy.special import digamma, polygamma

    known = variances > 0
    if known.sum() < 3:
        return float(variances.max(initial=0.0)), math.inf
    half = df[known] / 2
    logs = np.log(variances[known]) - digamma(half) + np.log(half)
    mean, n = float(logs.mean()), int(known.sum())
    each = (logs - mean) ** 2 * n / (n - 1) - polygamma(1, half)
    beyond = float(each.mean() + each.std(ddof=1) / math.sqrt(n))
    if beyond <= 1e-6:
        return math.exp(mean), math.inf
    prior_half = brentq(lambda x: polygamma(1, x) - beyond, 1e-4, 1e7)
    return math.exp(mean + float(digamma(prior_half)) - math.log(prior_half)), 2 * prior_half


def _behind(table: Floats, spreads: SeedVariances, level: float) -> NDArray[np.bool_]:
    """Return whether any of the best configurations is ahead of each configuration (configurations,), over the seeds
    that both have."""
    from scipy.special import stdtr

    n = (~np.isnan(table)).sum(1)
    sums = np.cumsum(np.where(np.isnan(table), 0.0, table), 1)
    best = np.argsort(-np.nanmean(table, 1), kind="stable")[:MOST]
    common = np.minimum(n[:, None], n[best])  # number of common seeds of i and each of the best, j
    ahead = (np.take_along_axis(sums[best], common.T - 1, 1).T - np.take_along_axis(sums, common - 1, 1)) / common
    one, other = spreads.variance[:, None], spreads.variance[best]
    error = np.sqrt((one + other) / common)
    t = np.divide(ahead, error, out=np.where(ahead > 0, np.inf, 0.0), where=error > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        df = (one + other) ** 2 / (one**2 / spreads.df[:, None] + other**2 / spreads.df[best])
    far = t > 1.6  # smaller values are never significant at 5 %
    behind = np.zeros(t.shape, dtype=bool)
    behind[far] = stdtr(np.nan_to_num(df[far], nan=1e9), -t[far]) < level
    return np.asarray(behind.any(axis=1))
