"""Decides which configurations a search drops, based on a race (Maron and Moore 1993) with paired
seeds.

A configuration is dropped if another configuration is significantly ahead of it, according to a
one-sided t test of their mean difference over common seeds. A spread cannot be estimated well from
a few seeds. Each configuration's variance is therefore shrunk toward a common value (Smyth 2004,
Linear models and empirical Bayes methods, section 4). A configuration with a single seed is assumed
to have twice the spread of the others.

The significance level is divided by the number of possible tests: each configuration is tested
against `configurations` - 1 others, up to `seeds` - 1 times. If all configurations have similar
spreads, at most a fraction `DROP_LEVEL` of searches drop the best configuration. A configuration
with a larger spread is dropped more often. `python -m benchmarks.racing` simulates both cases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenet_exp.comparison.moderation import prior_of

DROP_LEVEL = 0.05  # maximum fraction of searches that drop the best configuration
ALONE = 4.0  # factor by which the variance of a configuration with a single seed is multiplied
# maximum number of configurations (those with the best means) with which each configuration is
# compared
MOST = 50
# minimum number of configurations with two seeds that is required to estimate spreads and drop
# configurations
FEW = 3
# if fewer configurations have two seeds, all configurations are assumed to have the largest spread
LEAST = 10

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SeedVariances:
    """Estimated seed-to-seed variances of the configurations.

    Attributes:
        variance: shrunken variances, with shape (configurations,).
        df: degrees of freedom of each variance, with shape (configurations,).
    """

    variance: Floats
    df: Floats


def dropped(
    accuracies: Mapping[int, Sequence[float]], *, seeds: int, configurations: int
) -> set[int]:
    """Return the configurations that are significantly behind another configuration.

    Args:
        accuracies: accuracies of each configuration, one per seed. All configurations use the same
            seeds in the same order. For a diverged run, the accuracy is the value that the run
            reached.
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
    behind = _behind(
        table, spreads, DROP_LEVEL / (max(configurations, len(numbers), 2) - 1) / max(seeds - 1, 1)
    )
    return {number for number, is_behind in zip(numbers, behind, strict=True) if is_behind}


def moderated(table: Floats) -> SeedVariances | None:
    """Estimate each configuration's variance over seeds, without the effect that each seed has on
    all configurations.

    Args:
        table: accuracies, with shape (configurations, seeds); NaN from a configuration's first
            missing seed onward.

    Returns:
        The shrunken variances; None if fewer than `FEW` configurations have two seeds.
    """
    there = ~np.isnan(table)
    n = there.sum(1)
    several = n >= 2
    if several.sum() < FEW:
        return None
    rest = _residuals(np.where(there, table, 0.0), there & several[:, None])
    # Estimating the effects of the seeds uses up degrees of freedom; all configurations lose the
    # same fraction.
    used = (there & several[:, None]).any(0).sum() - 1
    df = (n - 1.0) * several
    df *= max(df.sum() - used, 1.0) / df.sum()
    own = np.divide((rest**2).sum(1), df, out=np.zeros_like(df), where=df > 0)
    if several.sum() < LEAST:
        most = np.where(several, 1.0, ALONE) * own.max()
        return SeedVariances(most, np.full(len(n), df.sum()))
    prior, prior_df = float(own.max()), float(df.sum())  # at most the total of all configurations
    if (known := several & (own > 0)).sum() >= FEW:
        estimate = prior_of(own[known], df[known])
        prior, prior_df = float(estimate.variance), min(float(estimate.df), prior_df)
    variance = (prior_df * prior + df * own) / (prior_df + df)
    return SeedVariances(
        np.where(several, variance, ALONE * variance), np.minimum(prior_df + df, df.sum())
    )


def _residuals(values: Floats, there: NDArray[np.bool_]) -> Floats:
    """Return the residuals of an additive model of configuration and seed, with 0 for missing
    values.

    The model is fitted by alternately subtracting the means of configurations and seeds.
    """
    rest = np.where(there, values, 0.0)
    counts = [np.maximum(there.sum(axis, keepdims=True), 1) for axis in (0, 1)]
    for _ in range(50):
        for axis in (1, 0):
            shift = rest.sum(axis, keepdims=True) / counts[axis]
            rest = np.where(there, rest - shift, 0.0)
        if np.abs(shift).max() < 1e-12:
            break
    return rest


def _behind(table: Floats, spreads: SeedVariances, level: float) -> NDArray[np.bool_]:
    """Return, for each configuration, whether any of the best configurations is significantly ahead
    of it over their common seeds."""
    from scipy.special import stdtr

    n = (~np.isnan(table)).sum(1)
    sums = np.cumsum(np.where(np.isnan(table), 0.0, table), 1)
    best = np.argsort(-np.nanmean(table, 1), kind="stable")[:MOST]
    # number of common seeds of configuration i and best configuration j
    common = np.minimum(n[:, None], n[best])
    ahead = (
        np.take_along_axis(sums[best], common.T - 1, 1).T - np.take_along_axis(sums, common - 1, 1)
    ) / common
    one, other = spreads.variance[:, None], spreads.variance[best]
    error = np.sqrt((one + other) / common)
    t = np.divide(ahead, error, out=np.where(ahead > 0, np.inf, 0.0), where=error > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        df = (one + other) ** 2 / (one**2 / spreads.df[:, None] + other**2 / spreads.df[best])
    far = t > 1.6  # smaller values are never significant at 5%
    behind = np.zeros(t.shape, dtype=bool)
    behind[far] = stdtr(np.nan_to_num(df[far], nan=1e9), -t[far]) < level
    return np.asarray(behind.any(axis=1))
