"""Intervals and tests of accuracies over seeds; all in fractions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

LEVEL = 0.05  # of all comparisons together
POWER = 0.8
MOST_SEEDS = 1000  # a difference that needs more is none that anybody would look for


@dataclass(frozen=True)
class Difference:
    """How far one group's mean is above another's.

    Attributes:
        points: the difference of the means, over the common seeds where it is paired.
        n: seeds that it rests on: common ones, or those of the smaller group.
        test: paired, welch, or none where there are too few seeds or no spread to judge by.
        p: two-sided, uncorrected; NaN without a test.
        spread: standard deviation of the paired differences, or sqrt(s1^2 + s2^2).
        level: what p is held against, after Holm's correction.
        low, high: interval at that level; it leaves 0 out just where the groups differ.
        differs: whether they can be told apart.
    """

    points: float
    n: int
    test: str
    p: float = math.nan
    spread: float = math.nan
    level: float = math.nan
    low: float = math.nan
    high: float = math.nan
    differs: bool = False

    @property
    def ahead(self) -> bool:
        """Whether the leader is better; over common seeds alone it may be worse than its mean says."""
        return self.differs and self.points > 0


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % confidence interval of the mean (Student's t); NaN for fewer than two values."""
    if len(values) < 2:
        return math.nan, math.nan
    if len(set(values)) == 1:
        return values[0], values[0]
    from scipy import stats  # half a second, which a sweep of single seeds need not pay

    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    return float(low), float(high)


def differences(leader: Mapping[int, float], others: Sequence[Mapping[int, float]]) -> list[Difference]:
    """The leader against each other group, by Holm's method at 5 % for all together.

    Args:
        leader, others: accuracy by seed. Paired over common seeds where there are two or more, else Welch's test.
    """
    pairs = [_samples(leader, other) for other in others]
    return _holm([_difference(*pair) for pair in pairs], pairs)


def seeds_needed(difference: Difference) -> int | None:
    """About how many seeds would tell the groups apart with a power of 80 %, if the difference is what it seems.

    Guenther 1981, Sample size formulas for normal theory t-tests. None for more than 1,000, or where nothing is known.
    """
    if difference.test == "none" or difference.points == 0:
        return None
    from scipy import stats

    z_level, z_power = stats.norm.isf(difference.level / 2), stats.norm.isf(1 - POWER)
    standardised = abs(difference.points) / difference.spread
    correction = z_level**2 / (2 if difference.test == "paired" else 4)
    n = math.ceil(((z_level + z_power) / standardised) ** 2 + correction)
    return n if n <= MOST_SEEDS else None


Samples = tuple[list[float], list[float], bool]


def _samples(a: Mapping[int, float], b: Mapping[int, float]) -> Samples:
    """Both groups' values and whether they are paired."""
    common = sorted(a.keys() & b.keys())
    if len(common) >= 2:
        return [a[s] for s in common], [b[s] for s in common], True
    return list(a.values()), list(b.values()), False


def _difference(a: list[float], b: list[float], paired: bool) -> Difference:
    points, n = float(np.mean(a) - np.mean(b)), min(len(a), len(b))
    if paired:
        spread = float(np.std(np.subtract(a, b), ddof=1))
    else:
        spread = math.sqrt(np.var(a, ddof=1) + np.var(b, ddof=1)) if n >= 2 else math.nan
    # Rounding leaves a trace of a spread where all differences are equal.
    if math.isnan(spread) or spread < 1e-9:
        return Difference(points, n, "none")
    p = float(_test(a, b, paired).pvalue)
    return Difference(points, n, "paired" if paired else "welch", p, spread)


def _test(a: list[float], b: list[float], paired: bool):  # type: ignore[no-untyped-def]
    from scipy import stats

    return stats.ttest_rel(a, b) if paired else stats.ttest_ind(a, b, equal_var=False)


def _holm(found: Sequence[Difference], samples: Sequence[Samples]) -> list[Difference]:
    """Holm 1979, A simple sequentially rejective multiple test procedure: the smallest p has to be the smallest by far.

    After the first that is not rejected none is; the others keep its level, so that intervals and verdicts agree.
    """
    corrected = list(found)
    tested = sorted((i for i, d in enumerate(found) if d.test != "none"), key=lambda i: found[i].p)
    rejecting, level = True, LEVEL
    for rank, i in enumerate(tested):
        if rejecting:
            level = LEVEL / (len(tested) - rank)
            rejecting = found[i].p <= level
        interval = _test(*samples[i]).confidence_interval(1 - level)
        corrected[i] = replace(
            found[i], level=level, low=float(interval.low), high=float(interval.high), differs=rejecting
        )
    return corrected
