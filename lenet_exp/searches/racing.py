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

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenet_exp.comparison.statistics.moderation import estimate_prior

DROP_LEVEL = 0.05  # maximum fraction of searches that drop the best configuration

# The factor by which the variance of a configuration with a single seed is multiplied: twice the
# spread.
SINGLE_SEED_FACTOR = 4.0

# The maximum number of configurations (those with the best means) with which each configuration is
# compared.
MOST_RIVALS = 50

# The minimum number of configurations with two seeds that is required to estimate spreads and drop
# configurations.
FEWEST_TO_DROP = 3

# If fewer configurations have two seeds, all configurations are assumed to have the largest spread.
FEWEST_TO_SHRINK = 10

# A smaller t is never significant at 5%, so its p-value is not computed.
SMALLEST_T = 1.6

# The fit of the effects of configurations and seeds ends when no effect changes by more than this.
FIT_TOLERANCE = 1e-12
FIT_PASSES = 50

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


def configurations_behind(
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
    numbers = [number for number, values in accuracies.items() if values]
    table = np.full((len(numbers), seeds), np.nan)
    for row, number in zip(table, numbers, strict=True):
        values = accuracies[number][:seeds]
        row[: len(values)] = values

    variances = seed_variances(table)
    if variances is None:
        return set()
    rivals = max(configurations, len(numbers), 2) - 1
    tests_per_rival = max(seeds - 1, 1)
    is_behind = _is_behind(table, variances, DROP_LEVEL / rivals / tests_per_rival)
    return set(itertools.compress(numbers, is_behind))


def seed_variances(table: Floats) -> SeedVariances | None:
    """Estimate each configuration's variance over seeds, without the effect that each seed has on
    all configurations.

    Args:
        table: accuracies, with shape (configurations, seeds); NaN from a configuration's first
            missing seed onward.

    Returns:
        The shrunken variances; None if fewer than `FEWEST_TO_DROP` configurations have two seeds.
    """
    is_present = ~np.isnan(table)
    seed_counts = is_present.sum(1)
    has_two = seed_counts >= 2
    if has_two.sum() < FEWEST_TO_DROP:
        return None

    # Only configurations with two seeds contribute to the estimate.
    is_used = is_present & has_two[:, None]
    residuals = _residuals(np.where(is_present, table, 0.0), is_used)

    # Estimating the effects of the seeds uses up degrees of freedom; all configurations lose the
    # same fraction.
    df = (seed_counts - 1.0) * has_two
    df_of_seeds = is_used.any(0).sum() - 1
    df *= max(df.sum() - df_of_seeds, 1.0) / df.sum()
    squares = (residuals**2).sum(1)
    own = np.divide(squares, df, out=np.zeros_like(df), where=df > 0)

    if has_two.sum() < FEWEST_TO_SHRINK:
        variance = np.where(has_two, 1.0, SINGLE_SEED_FACTOR) * own.max()
        return SeedVariances(variance, np.full(len(seed_counts), df.sum()))

    prior_variance = float(own.max())
    prior_df = float(df.sum())  # at most the total of all configurations
    is_positive = has_two & (own > 0)
    if is_positive.sum() >= FEWEST_TO_DROP:
        prior = estimate_prior(own[is_positive], df[is_positive])
        prior_variance = float(prior.variance)
        prior_df = min(float(prior.df), prior_df)

    shrunken = (prior_df * prior_variance + df * own) / (prior_df + df)
    variance = np.where(has_two, shrunken, SINGLE_SEED_FACTOR * shrunken)
    return SeedVariances(variance, np.minimum(prior_df + df, df.sum()))


def _residuals(values: Floats, is_used: NDArray[np.bool_]) -> Floats:
    """Return the residuals of an additive model of configuration and seed, with 0 for unused
    values.

    The model is fitted by alternately subtracting the means of configurations and seeds. For
    example, the values [[1, 2], [3, 6]] have the residuals [[0.5, -0.5], [-0.5, 0.5]].

    Args:
        values: with shape (configurations, seeds).
        is_used: which of them to use, with the same shape.
    """
    residuals = np.where(is_used, values, 0.0)
    counts = [np.maximum(is_used.sum(axis, keepdims=True), 1) for axis in (0, 1)]
    for _ in range(FIT_PASSES):
        for axis in (1, 0):
            means = residuals.sum(axis, keepdims=True) / counts[axis]
            residuals = np.where(is_used, residuals - means, 0.0)
        if np.abs(means).max() < FIT_TOLERANCE:
            break
    return residuals


def _is_behind(table: Floats, variances: SeedVariances, level: float) -> NDArray[np.bool_]:
    """Return, for each configuration, whether any of the best configurations is significantly ahead
    of it over their common seeds.

    The arrays of pairs have the shape (configurations, rivals); the rivals are the best
    configurations.
    """
    from scipy.special import stdtr

    seed_counts = (~np.isnan(table)).sum(1)
    sums = np.cumsum(np.where(np.isnan(table), 0.0, table), 1)
    rivals = np.argsort(-np.nanmean(table, 1), kind="stable")[:MOST_RIVALS]

    # A configuration's seeds are the first ones, so a pair shares the smaller number of seeds, and
    # sums[i, common - 1] is the sum of configuration i over them.
    common = np.minimum(seed_counts[:, None], seed_counts[rivals])
    rival_sums = np.take_along_axis(sums[rivals], common.T - 1, 1).T
    own_sums = np.take_along_axis(sums, common - 1, 1)
    lead = (rival_sums - own_sums) / common

    own_variance = variances.variance[:, None]
    rival_variance = variances.variance[rivals]
    error = np.sqrt((own_variance + rival_variance) / common)
    t = np.divide(lead, error, out=np.where(lead > 0, np.inf, 0.0), where=error > 0)

    # The degrees of freedom of Welch's t test; NaN, which means infinite, without any variance.
    with np.errstate(divide="ignore", invalid="ignore"):
        own_term = own_variance**2 / variances.df[:, None]
        rival_term = rival_variance**2 / variances.df[rivals]
        df = (own_variance + rival_variance) ** 2 / (own_term + rival_term)
    df = np.nan_to_num(df, nan=1e9)

    is_far = t > SMALLEST_T
    is_behind = np.zeros(t.shape, dtype=bool)
    is_behind[is_far] = stdtr(df[is_far], -t[is_far]) < level
    return np.asarray(is_behind.any(axis=1))
