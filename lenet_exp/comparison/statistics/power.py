"""Computes the number of seeds that a comparison needs, and the difference that a number of seeds
can detect.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from functools import partial

import numpy as np

from lenet_exp.comparison.statistics.leader_tests import pair_tests
from lenet_exp.comparison.statistics.moderation import Prior, estimate_prior
from lenet_exp.comparison.statistics.multiplicity import Bools, Floats, holm_levels
from lenet_exp.comparison.statistics.pairs import NO_SPREAD, AccuracyTable

POWER = 0.8

# The power for planning, so that simulated sweeps reach 80% on average (`benchmarks/planning.py`).
PLANNED = 0.82

# The minimum number of seeds for a confirmation. Two would not show whether the spread is as
# expected.
LEAST_SEEDS = 3

MOST_SEEDS = 1000  # maximum number of seeds for a confirmation
SEARCHED_SEEDS = 10**9  # number of seeds at which the search for a sufficient number ends

WILD = 25.0  # variance, as a multiple of the typical one, that is never shrunk completely

# The degrees of freedom of the typical variance above which variances differ by chance only.
MOST_DF = 1e5

DRAWS = 4000  # maximum number of random draws
MOST_NUMBERS = 50_000  # maximum number of random numbers, unless 1000 draws need more

SWEEPS = 200  # number of simulated sweeps
SMALL = 1e-3  # standard deviation over seeds in simulated sweeps, as a fraction
MOST_SIMULATED_GROUPS = 20  # maximum number of groups in simulated sweeps

# Differences are searched in these numbers of steps, of 0.01 percentage points or of 0.1 standard
# deviations.
STEPS = 10_000


class Power:
    """Computes the power to find a leader significantly ahead of all m other groups, with one test
    per group and Holm's correction.

    The spreads are estimates, so the power is averaged over the plausible true spreads. With df
    degrees of freedom, an estimate is the true spread times sqrt(chi2(df) / df). The power
    therefore holds on average over the sweeps for which confirmations are planned, to the extent
    that the spreads of their configurations agree. The power is computed from random draws with a
    fixed seed.

    Args:
        sd: estimated standard deviations of the paired differences between the leader and every
            other group, with shape (m,).
        df: degrees of freedom of `sd`, with shape (m,), at least 1.
    """

    def __init__(self, sd: Sequence[float], df: Sequence[float]) -> None:
        from scipy.special import chdtri

        estimates = np.asarray(sd)
        estimates_df = np.asarray(df)
        m = len(sd)
        draws = max(1000, min(DRAWS, MOST_NUMBERS // m))
        random = np.random.default_rng(0)

        # The plausible true spreads, in ascending order for each group. A small number makes them
        # positive.
        percentiles = np.tile((np.arange(draws)[:, None] + 0.5) / draws, (1, m))
        chi2 = chdtri(estimates_df, percentiles)
        self._sd = 1e-12 + estimates * np.sqrt(estimates_df / chi2)  # shape (draws, m)

        # All differences share the leader's noise: half of the smallest variance, if the spreads
        # are equal.
        shared = estimates.min() ** 2 / 2 / np.maximum(estimates, NO_SPREAD) ** 2  # shape (m,)
        own_noise = random.standard_normal((draws, m))
        leader_noise = random.standard_normal((draws, 1))
        self._noise = np.sqrt(shared) * leader_noise + np.sqrt(1 - shared) * own_noise
        self._spread = random.standard_normal((draws, m))
        self._levels = holm_levels(m)

    def of(self, points: float, seeds: int) -> float:
        """Return the probability of finding the leader significantly ahead of all other groups if
        its true lead over each group is `points` (a fraction)."""
        from scipy.special import stdtrit

        # The variances over seeds, divided by the true ones: chi2(df) / df, approximated by the
        # cube of a normal variable (Wilson, Hilferty 1931).
        df = seeds - 1
        variance_of_root = 2 / (9 * df)
        root = 1 - variance_of_root + self._spread * math.sqrt(variance_of_root)
        variance_ratio = np.maximum(root**3, 1e-9)

        true_t = points * math.sqrt(seeds) / self._sd
        t = (true_t + self._noise) / np.sqrt(variance_ratio)  # shape (draws, m)

        # Holm's method compares the largest t with the largest critical value, and so on.
        critical = -stdtrit(df, self._levels / 2)  # in descending order, shape (m,)
        descending = np.sort(t)[:, ::-1]
        return float((descending >= critical).all(axis=1).mean())

    def seeds(self, points: float) -> int:
        """Return the smallest number of seeds, at least 3, with a power (`of`) of 80%."""
        if self._sd.max() < NO_SPREAD:
            return LEAST_SEEDS
        candidates = range(LEAST_SEEDS, SEARCHED_SEEDS)
        return LEAST_SEEDS + bisect_left(candidates, PLANNED, key=partial(self.of, points))

    def detects(self, seeds: int) -> float:
        """Return the smallest `points` with which `of(points, seeds)` is 80%, as a fraction, in
        steps of 0.01 percentage points."""

        def power_of(step: int) -> float:
            return self.of(step / 10_000, seeds)

        return bisect_left(range(STEPS), PLANNED, key=power_of) / 10_000


def shrunk(variances: Sequence[tuple[float, float]], in_common: float) -> list[tuple[float, float]]:
    """Shrink variances toward their typical value, to the extent that they agree
    (`moderation.estimate_prior`).

    Args:
        variances: variances, each with its degrees of freedom.
        in_common: correlation between any two of the variances.

    Returns:
        The shrunken variances followed by the variance of a group without runs, each with its
        degrees of freedom.
    """
    values, df = np.array(variances, dtype=float).T
    is_tame = np.ones(len(values), dtype=bool)
    if len(values) > 1:
        smallest = 1e-3 * values.mean() + 1e-300  # the logarithm of 0 would be infinite
        prior = estimate_prior(np.maximum(values, smallest), df, cautious=False)
        differ_by_chance = bool(prior.df > MOST_DF)
        if not differ_by_chance:
            return _partly_shrunk(variances, prior)
        is_tame = values <= WILD * prior.variance

    # Except for single wild groups, the variances differ by chance only.
    typical = _pooled(values, df, is_tame=is_tame, in_common=in_common)
    shrunken = []
    for own, tame in zip(variances, is_tame, strict=True):
        shrunken.append(typical if tame else own)
    return [*shrunken, typical]


def _pooled(values: Floats, df: Floats, *, is_tame: Bools, in_common: float) -> tuple[float, float]:
    """Return the mean of the tame variances, and the degrees of freedom of all variances together.

    Args:
        values, df, is_tame: variances, their degrees of freedom, and whether they count, with shape
            (groups,).
        in_common: correlation between any two of the variances. Together, n variances count only as
            n / (1 + (n - 1) * in_common) independent ones.
    """
    variance = float(values[is_tame] @ df[is_tame] / df[is_tame].sum())
    correlation_factor = 1 + (len(values) - 1) * in_common
    return variance, float(df.sum() / correlation_factor)


def _partly_shrunk(
    variances: Sequence[tuple[float, float]], prior: Prior
) -> list[tuple[float, float]]:
    """Return the mean of each variance and the typical one, weighted by degrees of freedom, and
    the variance of a group without runs; see `shrunk`.
    """
    from scipy.special import digamma

    shrunken = []
    for own, own_df in variances:
        df = prior.df + own_df
        variance = (prior.df * prior.variance + own_df * own) / df
        shrunken.append((float(variance), float(df)))

    # `Power` requires at least one degree of freedom. It expects an estimate, so the bias of a log
    # variance with so many degrees of freedom, which the median does not have, is put back.
    half_df = np.maximum(prior.df, 1.0) / 2
    without_runs = prior.median * np.exp(digamma(half_df) - np.log(half_df))
    return [*shrunken, (float(without_runs), float(2 * half_df))]


def detectable(groups: int, seeds: int) -> float:
    """Return the difference from the best group, in standard deviations over seeds, with which a
    group is excluded with a probability of 80%, simulated for groups with equal standard deviations
    and common seeds.

    More than 20 groups count as 20, because a larger number hardly changes the result.
    """
    simulated_groups = min(groups, MOST_SIMULATED_GROUPS)
    noise = np.random.default_rng(0).normal(size=(SWEEPS, simulated_groups, seeds))
    is_worse = (np.arange(simulated_groups) > 0)[:, None]  # all groups except the first
    splits = np.zeros(seeds, dtype=np.int64)

    def excluded(tenths: int) -> float:
        """Return the fraction of worse groups that are excluded."""
        values = (noise - tenths / 10 * is_worse) * SMALL
        tests = pair_tests(AccuracyTable(values, np.arange(seeds), splits))
        return float(tests.excluded.mean())

    return bisect_left(range(STEPS), POWER, key=excluded) / 10
