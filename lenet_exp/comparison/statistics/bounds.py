"""Upper bounds of how much better each group could be than a leader, which was selected by the same
results (ranking and selection with an indifference zone: Kim and Nelson 2001, A fully sequential
procedure for indifference-zone selection in simulation).
"""

from __future__ import annotations

import numpy as np

from lenet_exp.comparison.statistics.moderation import (
    MODERATED_FROM,
    moderate_pairs,
    moderate_variances,
)
from lenet_exp.comparison.statistics.pairs import (
    AccuracyTable,
    Floats,
    Pairs,
    compare_first_with_others,
)

# A standard error below this is a rounding error of equal differences.
NO_ERROR = 1e-12

LEAST_FOR_WIN = 3  # minimum number of groups of which one can win; two are compared by one bound


def upper_bounds(
    table: AccuracyTable, images: int | None = None, *, level: float, win_level: float
) -> Floats:
    """Return an upper bound of how much better each group except the first, the leader, is than the
    leader, with shape (groups - 1,).

    A bound is the difference of the means over the common seeds plus a multiple of its standard
    error, whose variance is moderated from four groups on. A negative bound shows that the group is
    worse than the leader. If the leader beats each other group in an unmoderated test of its own,
    no bound is above 0; see `leader_tests.pair_tests`.

    Only the truly best group can be judged wrongly, so groups - 1 comparisons count.

    For example, A and B have the accuracies 99.0, 99.2, 99.4 and 98.9, 99.0, 99.1 percent with the
    same three seeds. The differences A - B are 0.1, 0.2, 0.3 points, with mean 0.2 and standard
    error 0.058. At the level 0.05, t is 2.92, so B is at most -0.2 + 2.92 * 0.058 = -0.03 points
    better: A is the best.

    Args:
        table: accuracies with at least two replicates per group; the first group is the leader.
        images: number of images from which each accuracy was computed, which limits how small a
            variance can be; None if unknown. If it is unknown, a group whose difference from the
            leader is equal on all seeds has no bound (infinity).
        level: one-sided level of each comparison.
        win_level: one-sided level of each test of a leader that wins.
    """
    groups = table.values.shape[0]
    unmoderated_pairs = compare_first_with_others(table)
    pairs = unmoderated_pairs
    if groups >= MODERATED_FROM:
        pairs = _with_moderated_variances(unmoderated_pairs, table, images)

    bounds = bounds_of_pairs(pairs, images, level=level)
    if groups >= LEAST_FOR_WIN and _wins(unmoderated_pairs, win_level):
        bounds = np.minimum(bounds, 0.0)
    return np.asarray(bounds)


def bounds_of_pairs(pairs: Pairs, images: int | None, *, level: float) -> Floats:
    """Return an upper bound of how much better the second group of each pair is than the first,
    with shape (..., pairs).

    Args:
        pairs: comparisons of a leader with other groups.
        images, level: see `upper_bounds`.
    """
    from scipy.special import stdtrit

    error = np.maximum(np.nan_to_num(pairs.error), _least_error(pairs, images))
    quantile = stdtrit(np.maximum(pairs.df, 1), 1 - level)
    return np.asarray(-pairs.points + quantile * error)


def _with_moderated_variances(pairs: Pairs, table: AccuracyTable, images: int | None) -> Pairs:
    """Return the comparisons of the leader with every other group with moderated variances."""
    others = np.arange(1, table.values.shape[0])
    counts = (~np.isnan(table.values)).sum(axis=-1).astype(float)
    return moderate_pairs(
        pairs,
        moderate_variances(table, images),
        counts=counts,
        first=np.zeros_like(others),
        second=others,
    )


def _least_error(pairs: Pairs, images: int | None) -> Floats:
    """Return the smallest standard error of each difference.

    It is that of the rounding of both accuracies to multiples of 1 / images. Without it, two groups
    with equal differences on a few seeds would be told apart with certainty.
    """
    if images is not None:
        return np.asarray(np.sqrt(images**-2 / 6 / pairs.n))
    has_error = np.nan_to_num(pairs.error) > NO_ERROR
    return np.where(has_error, 0.0, np.inf)


def _wins(pairs: Pairs, level: float) -> bool:
    """Return whether the leader beats each other group in an unmoderated test.

    Args:
        level: one-sided level of each test.
    """
    beats = (pairs.points > 0) & (pairs.p <= 2 * level)
    return bool(beats.all())
