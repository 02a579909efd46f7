"""Computes the number of seeds that a comparison needs, and the difference that a number of seeds can detect."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from math import comb

import numpy as np

from lenet_exp.comparison.multiplicity import LEVEL, holm_levels
from lenet_exp.comparison.pairs import NO_SPREAD

POWER = 0.8
PLANNED = 0.82  # power for planning, so that simulated sweeps reach 80% on average (`benchmarks/planning.py`)
MOST_SEEDS = 1000  # maximum number of seeds for a confirmation
LEAST_SEEDS = 3  # minimum number of seeds for a confirmation; two would not show whether the spread is as expected
LARGE = 3.0  # difference, as a multiple of the spread, that any useful number of seeds can detect
HOPELESS = 0.1  # power at which a difference is missed nine times in ten
DRAWS = 4000  # maximum number of random draws


class Power:
    """Computes the power to find a leader significantly ahead of all m other groups, or equivalent to all of them, with
    one test per group and Holm's correction.

    The spreads are estimates, so the power is averaged over the plausible true spreads. With df degrees of freedom, an
    estimate is the true spread times sqrt(chi2(df) / df). The power therefore holds on average over the sweeps for
    which confirmations are planned, to the extent that the spreads of their configurations agree. The power is computed
    from random draws with a fixed seed.

    Args:
        sd: estimated standard deviations of the paired differences between the leader and every other group, with shape
            (m,).
        df: degrees of freedom of `sd`, with shape (m,), at least 1.
        levels: significance levels of the tests, with shape (m,), in ascending order; Holm's levels by default.
        equivalence: whether to compute the power to show equivalence (two one-sided tests) if all means are equal.
    """

    def __init__(
        self,
        sd: Sequence[float],
        df: Sequence[float],
        levels: Sequence[float] | None = None,
        *,
        equivalence: bool = False,
    ) -> None:
        from scipy.special import chdtri

        m = len(sd)
        random, draws = np.random.default_rng(0), max(1000, min(DRAWS, 50_000 // m))
        unknown = np.tile((np.arange(draws)[:, None] + 0.5) / draws, (1, m))
        self._sd = 1e-12 + np.asarray(sd) * np.sqrt(np.asarray(df) / chdtri(np.asarray(df), unknown))
        # All differences share the leader's noise: half of the smallest variance, if the spreads are equal.
        common = np.asarray(sd).min() ** 2 / 2 / np.maximum(np.asarray(sd), NO_SPREAD) ** 2
        own = random.standard_normal((draws, m))
        self._noise = np.sqrt(common) * random.standard_normal((draws, 1)) + np.sqrt(1 - common) * own
        self._spread = random.standard_normal((draws, m))
        self._levels = holm_levels(m) if levels is None else np.asarray(levels)
        if equivalence:
            self._noise = -np.abs(self._noise)  # in either direction, noise brings a difference closer to the margin
            self._levels = 2 * self._levels  # the tests are one-sided

    def of(self, points: float, seeds: int) -> float:
        """Return the probability of finding the leader significantly ahead of all other groups if its true lead over
        each group is `points` (a fraction), or equivalent to all of them within a margin of `points`."""
        from scipy.special import stdtrit

        df = seeds - 1
        chi2 = (1 - 2 / (9 * df) + self._spread * math.sqrt(2 / (9 * df))) ** 3  # divided by df; Wilson, Hilferty 1931
        t = (points * math.sqrt(seeds) / self._sd + self._noise) / np.sqrt(np.maximum(chi2, 1e-9))
        return float((np.sort(t)[:, ::-1] >= -stdtrit(df, self._levels / 2)).all(axis=1).mean())

    def seeds(self, points: float) -> int:
        """Return the smallest number of seeds (at least 3) with which `of(points, seeds)` is 80%."""
        if self._sd.max() < NO_SPREAD:
            return LEAST_SEEDS
        return LEAST_SEEDS + bisect_left(range(LEAST_SEEDS, 10**9), PLANNED, key=lambda n: self.of(points, n))

    def detects(self, seeds: int) -> float:
        """Return the smallest `points` with which `of(points, seeds)` is 80%, as a fraction, in steps of 0.01
        percentage points."""
        return bisect_left(range(10_000), PLANNED, key=lambda points: self.of(points / 10_000, seeds)) / 10_000


def shrunk(variances: Sequence[tuple[float, float]], in_common: float) -> list[tuple[float, float]]:
    """Shrink variances toward a common value, to the extent that they agree (Smyth 2004, Linear models and empirical
    Bayes methods for assessing differential expression, section 6.2).

    Args:
        variances: variances, each with its degrees of freedom.
        in_common: correlation between any two of the variances.

    Returns:
        The shrunken variances followed by the pooled variance, each with its degrees of freedom.
    """
    from scipy.optimize import brentq
    from scipy.special import digamma, polygamma

    v, df = np.array(variances, dtype=float).T
    pooled = float(v @ df / df.sum()), float(df.sum() / (1 + (len(v) - 1) * in_common))
    logs = np.log(np.maximum(v, 1e-3 * pooled[0] + 1e-300)) - digamma(df / 2) + np.log(df / 2)
    excess = logs.var(ddof=1) - polygamma(1, df / 2).mean() if len(v) > 1 else 0.0
    if excess <= 1e-6:
        return [pooled] * (len(v) + 1)
    half = brentq(lambda x: polygamma(1, x) - excess, 1e-4, 1e7)
    middle = math.exp(logs.mean() + digamma(half) - math.log(half))
    own = [((2 * half * middle + d * s) / (2 * half + d), 2 * half + d) for s, d in variances]
    return [*own, pooled]


def seeds_to_detect_large(groups: int) -> int:
    """Return the number of seeds needed to detect a difference of 3 spreads between two groups with a power of 80%, if
    `groups` groups are compared."""
    level = LEVEL / comb(groups, 2)
    return bisect_left(range(MOST_SEEDS), POWER, key=lambda n: power(n, LARGE, level))


def too_few(seeds: int, groups: int) -> bool:
    """Return whether this number of seeds would miss even a difference of 3 spreads at least nine times in ten."""
    return power(seeds, LARGE, LEVEL / comb(groups, 2)) < HOPELESS


def power(n: int, ratio: float, level: float) -> float:
    """Return the power of a two-sided paired t test to detect a difference in the correct direction.

    Args:
        n: number of seeds.
        ratio: true difference divided by the spread (see `Difference`).
        level: significance level of the test.
    """
    if n < 2:
        return 0.0
    from scipy import stats

    limit, away = stats.t.isf(level / 2, n - 1), ratio * math.sqrt(n)
    return float(stats.nct.sf(limit, n - 1, away))
