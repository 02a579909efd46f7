"""Confidence intervals of means and of differences between means, by Student's t."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from lenet_exp.comparison.statistics.multiplicity import LEVEL, Floats
from lenet_exp.comparison.statistics.pairs import AccuracyTable, Pairs, Replicate, group_means

Accuracies = Mapping[Replicate, float]


def mean_interval(values: Accuracies, *, limited: bool = True) -> tuple[float, float]:
    """Return the 95% confidence interval of the mean (Student's t); NaN for a single value.

    Args:
        limited: whether the values are accuracies, so that the interval is limited to 0 to 1.
    """
    table = AccuracyTable.of([values])
    means = group_means(table.values, table)
    df = float(means.df[0])
    if not df >= 1:  # also if it is NaN
        return math.nan, math.nan

    # This import takes 0.2 s and is needed only with repeated seeds.
    from scipy.special import stdtrit

    mean = float(means.mean[0])
    error = math.sqrt(means.variance[0])
    half_width = float(stdtrit(df, 0.975)) * error
    low, high = mean - half_width, mean + half_width
    if limited:
        return max(low, 0.0), min(high, 1.0)
    return low, high


def simultaneous_intervals(pairs: Pairs, comparisons: int) -> tuple[Floats, Floats]:
    """Return the low and high ends of simultaneous 95% confidence intervals for `points`
    (Bonferroni), each with shape (..., pairs).

    Args:
        comparisons: number of comparisons for which the intervals are corrected.
    """
    from scipy.special import stdtrit

    # Quantiles are slow, so each one is computed once.
    df, position = np.unique(np.maximum(pairs.df, 1), return_inverse=True)
    quantile = stdtrit(df, 1 - LEVEL / (2 * comparisons))  # shape (different df,)
    half_width = quantile[position].reshape(pairs.df.shape) * pairs.error
    return pairs.points - half_width, pairs.points + half_width
