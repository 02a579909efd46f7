"""Tests whether a leader, which was selected as the group with the best mean, is better than the
other groups, and which groups could be the best.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from lenet_exp.comparison.statistics.bounds import bounds_of_pairs
from lenet_exp.comparison.statistics.images import with_new_images
from lenet_exp.comparison.statistics.moderation import (
    MODERATED_FROM,
    ModeratedVariances,
    moderate_pairs,
    moderate_variances,
)
from lenet_exp.comparison.statistics.multiplicity import (
    LEVEL,
    Bools,
    Floats,
    shaffer_levels,
    step_down,
)
from lenet_exp.comparison.statistics.pairs import (
    AccuracyTable,
    Pairs,
    compare_all_pairs,
    compare_first_with_others,
)

# The maximum number of groups for tests of all pairs; the cost grows with the square of the number.
MOST_GROUPS = 200

# The level for excluding a group. In simulations, the error rate is about 5% with this level, also
# with unequal noise.
EXCLUDED_LEVEL = 0.04

# The largest level of Shaffer's method with moderated variances, because the winner's test can err,
# too.
LARGEST_LEVEL = LEVEL / 2

# The standard deviation, as a multiple of the typical one, above which a group is called unstable.
UNSTABLE_RATIO = 5.0


@dataclass(frozen=True)
class LeaderTests:
    """How the first group, the leader, compares with every other group. Unless noted otherwise,
    the arrays have the shape (..., groups - 1).

    Attributes:
        pairs: differences between the leader and the other groups.
        differs: whether each difference is significant.
        excluded: whether each group is significantly behind the leader, or beaten by a better
            group.
        unstable: whether each group is not excluded but has an unusually large standard deviation.
        bounds: upper bound of how much better each group is than the leader. It is a claim about
            the truly best group only, with an error rate of 5%, for k - 1 comparisons.
        typical: typical standard deviation over seeds, with shape (...); NaN if variances were not
            moderated.
    """

    pairs: Pairs
    differs: Bools
    excluded: Bools
    unstable: Bools
    bounds: Floats
    typical: Floats

    @property
    def behind(self) -> Bools:
        """Whether each group is significantly behind the leader, with shape (..., groups - 1)."""
        return self.differs & (self.pairs.points > 0)


def pair_tests(
    table: AccuracyTable, images: int | None = None, image_variance: Floats | None = None
) -> LeaderTests:
    """Compare the leader with every other group, if the leader was selected by these accuracies as
    the group with the best mean.

    Any two groups could have become the leader and its rival, so all k(k-1)/2 pairs count:
    Shaffer's method tests them, from four groups on with moderated variances and levels of at most
    `LARGEST_LEVEL`. In addition, a leader can win by separate tests; see `_wins`. Which groups
    could be the best is another question; see `_excluded`.

    For example, groups A to D have these accuracies in percent, with seeds 0 to 2:

        A  94.7  95.1  95.1  mean 94.97
        B  94.9  94.8  94.9  mean 94.87
        C  94.4  94.4  94.3  mean 94.37
        D  94.0  93.6  93.9  mean 93.83

    From the smallest to the largest, the p-values of the pairs with moderated variances are

        AD 0.0028  BC 0.0037  BD 0.0038  CD 0.0199  AC 0.0363  AB 0.5693

    and Shaffer's levels are

           0.0083     0.0167     0.0167     0.0167     0.0250     0.0250

    The first three p-values are below their levels, so these pairs differ. CD is the first that
    fails, so neither CD nor a later pair counts. D is therefore behind the leader A, while B and C
    are not. C is excluded nevertheless, because B beats it; see `_excluded`.

    Simulations (`benchmarks/verdicts.py`) confirm the error rates. In at most 5.5% of sweeps, the
    leader is declared better than a group that is equally good; in at most 5.5%, the truly best
    group is excluded.

    With more than 200 groups, only the leader's pairs are tested, each at Bonferroni's level for
    all pairs.

    Args:
        table: accuracies with at least two replicates per group; the first group is the leader.
        images: number of images from which each accuracy was computed; None if unknown.
        image_variance: variance of each difference due to the images, for claims about new images
            (`images.image_variances`); None for claims about these images.
    """
    others = table.values.shape[-2] - 1
    moderated = moderate_variances(table, images) if _can_moderate(table) else None
    unmoderated_pairs = _compare_pairs(table)
    pairs = unmoderated_pairs
    if moderated is not None:
        pairs = _with_moderated_variances(unmoderated_pairs, moderated, table)
    if image_variance is not None and images is not None:
        unmoderated_pairs = with_new_images(unmoderated_pairs, image_variance, images)
        pairs = with_new_images(pairs, image_variance, images)

    # The pairs of the leader are the first ones.
    significant = _significant_pairs(pairs, others + 1, is_moderated=moderated is not None)
    differs = significant[..., :others] | _wins(unmoderated_pairs.first(others))
    behind = differs & (pairs.points[..., :others] > 0)
    bounds = bounds_of_pairs(pairs.first(others), images, level=LEVEL / others)
    if moderated is None:
        return LeaderTests(
            pairs=pairs.first(others),
            differs=differs,
            excluded=behind,
            unstable=np.zeros_like(behind),
            bounds=bounds,
            typical=np.full(behind.shape[:-1], np.nan),
        )

    excluded = _excluded(pairs, behind, moderated, table)
    typical = np.where(moderated.flat, np.nan, moderated.typical)
    is_noisy = moderated.spread[..., 1:] > UNSTABLE_RATIO * typical[..., None]
    return LeaderTests(
        pairs=pairs.first(others),
        differs=differs,
        excluded=excluded,
        unstable=~excluded & is_noisy,
        bounds=bounds,
        typical=typical,
    )


def _can_moderate(table: AccuracyTable) -> bool:
    """Return whether variances can be moderated: for four or more groups on a single split, any of
    them with three or more seeds.

    For two or three groups, moderation finds hardly more, and would raise the error rate.
    """
    if table.values.shape[-2] < MODERATED_FROM:
        return False
    counts = (~np.isnan(table.values)).sum(axis=-1)  # shape (..., groups)
    if counts.min() < 2 or counts.max() < 3:
        return False
    return not table.splits.any()


def _compare_pairs(table: AccuracyTable) -> Pairs:
    """Compare all pairs of groups or, if there are too many groups, the pairs of the first one."""
    if table.values.shape[-2] > MOST_GROUPS:
        return compare_first_with_others(table)
    return compare_all_pairs(table)


def _members_of_pairs(groups: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the indices of the first and the second group of each pair that `_compare_pairs`
    compares, each with shape (pairs,).
    """
    if groups > MOST_GROUPS:
        return np.zeros(groups - 1, dtype=np.intp), np.arange(1, groups)
    first, second = np.triu_indices(groups, 1)
    return first, second


def _with_moderated_variances(
    pairs: Pairs, moderated: ModeratedVariances, table: AccuracyTable
) -> Pairs:
    """Return comparisons with moderated variances, except in sweeps that cannot be moderated."""
    first, second = _members_of_pairs(table.values.shape[-2])
    counts = (~np.isnan(table.values)).sum(axis=-1).astype(float)  # shape (..., groups)
    moderated_pairs = moderate_pairs(pairs, moderated, counts=counts, first=first, second=second)
    return pairs.where(moderated.flat[..., None], moderated_pairs)


def _significant_pairs(pairs: Pairs, k: int, *, is_moderated: bool) -> Bools:
    """Return whether each pair of k groups differs significantly, with shape (..., pairs)."""
    if k > MOST_GROUPS:
        is_small: Bools = pairs.p <= LEVEL / comb(k, 2)
        return is_small
    levels = shaffer_levels(k)
    if is_moderated:
        levels = np.minimum(levels, LARGEST_LEVEL)
    return step_down(pairs.p, levels)


def _wins(leader_pairs: Pairs) -> Bools:
    """Return whether the leader wins by separate tests, with shape (..., 1).

    A leader wins if it is ahead of every other group by an unmoderated test without correction,
    because a false winner has to beat the truly best group (Gutmann, Maymin 1987, Is the selected
    population the best?; Hung, Fithian 2019, Rank verification for exponential families).

    Args:
        leader_pairs: comparisons of the leader with every other group, without moderation.
    """
    beats = (leader_pairs.points > 0) & (leader_pairs.p <= LEVEL)
    return np.asarray(beats.all(axis=-1, keepdims=True))


def _excluded(
    pairs: Pairs, behind: Bools, moderated: ModeratedVariances, table: AccuracyTable
) -> Bools:
    """Return whether each group except the leader is excluded from those that could be the best,
    with shape (..., groups - 1).

    This is a question with k - 1 comparisons (Hsu 1981, Simultaneous confidence intervals for all
    distances from the best): a group is excluded if a group with a higher mean beats it at
    `EXCLUDED_LEVEL` / (k - 1). Hsu's test is one-sided at 5%; the stricter level makes up for
    groups that are noisier than the others.

    For four groups, the level is 0.04 / 3 = 0.0133. In the example of `pair_tests`, D is excluded
    because it is behind the leader A. The p-value of A and C, 0.0363, does not exclude C, but that
    of B and C does, with 0.0037. B stays, as the group that is closest to the leader.

    Args:
        pairs: comparisons with moderated variances.
        behind: whether each group except the leader is significantly behind the leader, with shape
            (..., groups - 1).
        moderated: moderated variances of the groups.
        table: accuracies of the groups.
    """
    others = behind.shape[-1]
    is_small = pairs.p <= EXCLUDED_LEVEL / others
    if others + 1 > MOST_GROUPS:
        beaten = is_small & (pairs.points > 0)
    else:
        beaten = _beaten_by_any(pairs, is_small, table)
    # Without moderation, only the tests of the leader count.
    beaten = behind | (beaten & ~moderated.flat[..., None])

    # Without a win, the set of groups that could be the best has at least two members: the leader
    # and, of the groups that are not behind, the one with the largest p-value.
    p_of_open = pairs.p[..., :others].copy()
    p_of_open[np.isnan(p_of_open)] = 2.0  # an untested group counts as nearest
    p_of_open[behind] = -1.0  # never the nearest, unless all groups are behind
    nearest = p_of_open.argmax(axis=-1)[..., None]  # shape (..., 1)
    is_nearest = np.arange(others) == nearest
    return np.where(is_nearest, behind, beaten)


def _beaten_by_any(pairs: Pairs, is_small: Bools, table: AccuracyTable) -> Bools:
    """Return whether each group except the first is beaten by a group with a higher overall mean,
    with shape (..., groups - 1).

    Args:
        pairs: comparisons of all pairs of groups.
        is_small: whether the p-value of each pair is small enough, with shape (..., pairs).
        table: accuracies of the groups.
    """
    groups = table.values.shape[-2]
    first, second = _members_of_pairs(groups)
    mean = np.nanmean(table.values, axis=-1)  # shape (..., groups)

    # The means over common seeds (`points`) and the overall means must agree.
    overall_lead = mean[..., first] - mean[..., second]  # shape (..., pairs)
    first_is_beaten = is_small & (pairs.points < 0) & (overall_lead < 0)
    second_is_beaten = is_small & (pairs.points > 0) & (overall_lead > 0)

    beaten = []
    for group in range(1, groups):
        as_first = first_is_beaten[..., first == group].any(axis=-1)  # shape (...)
        as_second = second_is_beaten[..., second == group].any(axis=-1)
        beaten.append(as_first | as_second)
    return np.stack(beaten, axis=-1)
