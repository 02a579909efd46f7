"""Computes the number of seeds that a comparison needs, and the difference that a number of seeds
can detect.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from lenet_exp.comparison.statistics.leader_tests import pair_tests
from lenet_exp.comparison.statistics.moderation import estimate_prior
from lenet_exp.comparison.statistics.multiplicity import holm_levels
from lenet_exp.comparison.statistics.pairs import NO_SPREAD, AccuracyTable

POWER = 0.8
# power for planning, so that simulated sweeps reach 80% on average (`benchmarks/planning.py`)
PLANNED = 0.82
MOST_SEEDS = 1000  # maximum number of seeds for a confirmation
# minimum number of seeds for a confirmation; two would not show whether the spread is as expected
LEAST_SEEDS = 3
WILD = 25.0  # variance, as a multiple of the typical one, that is never shrunk completely
MOST_DF = (
    1e5  # degrees of freedom of the typical variance above which variances differ by chance only
)
SWEEPS, SMALL = (
    200,
    1e-3,
)  # number of simulated sweeps, and their standard deviation over seeds, as a fraction
DRAWS = 4000  # maximum number of random draws


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

        m = len(sd)
        random, draws = np.random.default_rng(0), max(1000, min(DRAWS, 50_000 // m))
        unknown = np.tile((np.arange(draws)[:, None] + 0.5) / draws, (1, m))
        self._sd = 1e-12 + np.asarray(sd) * np.sqrt(
            np.asarray(df) / chdtri(np.asarray(df), unknown)
        )
        # All differences share the leader's noise: half of the smallest variance, if the spreads
        # are equal.
        common = np.asarray(sd).min() ** 2 / 2 / np.maximum(np.asarray(sd), NO_SPREAD) ** 2
        own = random.standard_normal((draws, m))
        self._noise = (
            np.sqrt(common) * random.standard_normal((draws, 1)) + np.sqrt(1 - common) * own
        )
        self._spread = random.standard_normal((draws, m))
        self._levels = holm_levels(m)

    def of(self, points: float, seeds: int) -> float:
        """Return the probability of finding the leader significantly ahead of all other groups if
        its true lead over each group is `points` (a fraction)."""
        from scipy.special import stdtrit

        df = seeds - 1
        chi2 = (
            1 - 2 / (9 * df) + self._spread * math.sqrt(2 / (9 * df))
        ) ** 3  # divided by df; Wilson, Hilferty 1931
        t = (points * math.sqrt(seeds) / self._sd + self._noise) / np.sqrt(np.maximum(chi2, 1e-9))
        return float((np.sort(t)[:, ::-1] >= -stdtrit(df, self._levels / 2)).all(axis=1).mean())

    def seeds(self, points: float) -> int:
        """Return the smallest number of seeds (at least 3) with which `of(points, seeds)` is 80%."""
        if self._sd.max() < NO_SPREAD:
            return LEAST_SEEDS
        return LEAST_SEEDS + bisect_left(
            range(LEAST_SEEDS, 10**9), PLANNED, key=lambda n: self.of(points, n)
        )

    def detects(self, seeds: int) -> float:
        """Return the smallest `points` with which `of(points, seeds)` is 80%, as a fraction, in
        steps of 0.01 percentage points."""
        return (
            bisect_left(range(10_000), PLANNED, key=lambda points: self.of(points / 10_000, seeds))
            / 10_000
        )


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
    from scipy.special import digamma

    v, df = np.array(variances, dtype=float).T
    tame, prior = np.ones(len(v), dtype=bool), None
    if len(v) > 1:
        prior = estimate_prior(np.maximum(v, 1e-3 * v.mean() + 1e-300), df, cautious=False)
        tame = v <= WILD * prior.variance
    if (
        prior is None or prior.df > MOST_DF
    ):  # except for single wild groups, the variances differ by chance only
        typical = (
            float(v[tame] @ df[tame] / df[tame].sum()),
            float(df.sum() / (1 + (len(v) - 1) * in_common)),
        )
        return [
            *(typical if is_tame else own for is_tame, own in zip(tame, variances, strict=True)),
            typical,
        ]
    own = [
        ((prior.df * prior.variance + d * s) / (prior.df + d), prior.df + d) for s, d in variances
    ]
    least = np.maximum(prior.df, 1.0) / 2  # `Power` requires at least one degree of freedom
    other = prior.median * np.exp(digamma(least) - np.log(least))
    return [(float(s), float(d)) for s, d in [*own, (other, 2 * least)]]


def detectable(groups: int, seeds: int) -> float:
    """Return the difference from the best group, in standard deviations over seeds, with which a
    group is excluded with a probability of 80%, simulated for groups with equal standard deviations
    and common seeds.

    More than 20 groups count as 20, because a larger number hardly changes the result.
    """
    k = min(groups, 20)
    noise = np.random.default_rng(0).normal(size=(SWEEPS, k, seeds))
    worse = (np.arange(k) > 0)[:, None]

    def excluded(tenths: int) -> float:
        values = (noise - tenths / 10 * worse) * SMALL
        return float(
            pair_tests(
                AccuracyTable(values, np.arange(seeds), np.zeros(seeds, dtype=np.int64))
            ).excluded.mean()
        )

    return bisect_left(range(10_000), POWER, key=excluded) / 10
