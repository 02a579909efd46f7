"""Confidence intervals and significance tests for accuracies over seeds. All values are fractions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb

import numpy as np

from lenet_exp.comparison.statistics.images import Right, image_variances, with_new_images
from lenet_exp.comparison.statistics.moderation import (
    MODERATED_FROM,
    moderate_pairs,
    moderate_variances,
)
from lenet_exp.comparison.statistics.multiplicity import (
    LEVEL,
    Bools,
    Floats,
    holm_levels,
    shaffer_levels,
    step_down,
)
from lenet_exp.comparison.statistics.pairs import (
    AccuracyTable,
    Pairs,
    Replicate,
    compare_all_pairs,
    compare_first_with_others,
    group_means,
)

# maximum number of groups for tests of all pairs; the cost grows with the square of the number
MOST_GROUPS = 200
WIDE = 0.5  # width of an interval, as a fraction, above which it says nothing
# level for excluding a group; simulated, so that also with unequal noise the error rate is about 5%
EXCLUDED_LEVEL = 0.04
LAST = (
    LEVEL / 2
    # largest level of Shaffer's method with moderated variances, because the winner's test can err, too
)
# standard deviation, as a multiple of the typical one, above which a group is called unstable
UNSTABLE = 5.0


@dataclass(frozen=True)
class Difference:
    """The difference between the means of the leader and another group.

    Attributes:
        points: difference between the means, over the common replicates if paired.
        n: number of replicates (seeds, or pairs of seed and split): the common replicates if
            paired; otherwise, the replicates of the smaller group.
        test: type of test: `paired`, `welch`, or `none` if no test is possible due to too few seeds
            or no spread.
        p: two-sided p-value, uncorrected; NaN if there is no test.
        low, high: ends of the simultaneous confidence interval. It can contain 0 although the
            difference is significant, because the test is sequential.
        differs: whether the difference is significant.
        excluded: whether the group is not the best, although it may not be significantly behind the
            leader.
        unstable: whether the group is not excluded, but has an unusually large standard deviation.
        typical: typical standard deviation over seeds of all groups; NaN if variances were not
            moderated.
    """

    points: float
    n: int
    test: str = "none"
    p: float = math.nan
    low: float = math.nan
    high: float = math.nan
    differs: bool = False
    excluded: bool = False
    unstable: bool = False
    typical: float = math.nan

    @property
    def shown(self) -> bool:
        """Whether the interval is narrow enough to be shown."""
        return self.high - self.low <= WIDE

    @property
    def ahead(self) -> bool:
        """Whether the first group is significantly better.

        A group with a higher overall mean can be significantly worse over the common seeds.
        """
        return self.differs and self.points > 0


Accuracies = Mapping[Replicate, float]


def mean_interval(values: Accuracies, *, limited: bool = True) -> tuple[float, float]:
    """Return the 95% confidence interval of the mean (Student's t); NaN for a single value.

    Args:
        limited: whether the values are accuracies, so that the interval is limited to 0 to 1.
    """
    table = AccuracyTable.of([values])
    found = group_means(table.values, table)
    mean, error, df = float(found.mean[0]), math.sqrt(found.variance[0]), float(found.df[0])
    if not df >= 1:
        return math.nan, math.nan
    from scipy.special import stdtrit

    half = float(stdtrit(df, 0.975)) * error
    return (max(mean - half, 0.0), min(mean + half, 1.0)) if limited else (mean - half, mean + half)


@dataclass(frozen=True)
class Judged:
    """How the first group, the leader, compares with every other group; the arrays have the shape
    (..., groups - 1).

    Attributes:
        found: differences between the leader and the other groups.
        differs: whether each difference is significant.
        excluded: whether each group is significantly behind the leader, or beaten by a better
            group.
        unstable: whether each group is not excluded but has an unusually large standard deviation.
        typical: typical standard deviation over seeds, with shape (...); NaN if variances were not
            moderated.
    """

    found: Pairs
    differs: Bools
    excluded: Bools
    unstable: Bools
    typical: Floats


def pair_tests(
    table: AccuracyTable, images: int | None = None, image_variance: Floats | None = None
) -> Judged:
    """Compare the leader with every other group, if the leader was selected by these accuracies as
    the group with the best mean.

    Any two groups could have become the leader and its rival, so all k(k-1)/2 pairs count:
    Shaffer's method tests them, from four groups on with moderated variances and levels of at most
    `LAST`. In addition, a leader wins if it is ahead of every other group by an unmoderated test
    without correction, because a false winner has to beat the truly best group (Gutmann, Maymin
    1987, Is the selected population the best?; Hung, Fithian 2019, Rank verification for
    exponential families).

    Which groups could be the best is a question with k - 1 comparisons (Hsu 1981, Simultaneous
    confidence intervals for all distances from the best): a group is excluded if a group with a
    higher mean beats it at `EXCLUDED_LEVEL` / (k - 1). Hsu's test is one-sided at 5%; the stricter level
    makes up for groups that are noisier than the others.

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
    k = table.values.shape[-2]
    leading, everything = k - 1, k <= MOST_GROUPS
    plain = compare_all_pairs(table) if everything else compare_first_with_others(table)
    by = moderate_variances(table, images) if _can_moderate(table) else None
    found = plain
    first, second = np.triu_indices(k, 1)
    if by is not None:
        counts = (~np.isnan(table.values)).sum(axis=-1).astype(float)
        which = (first, second) if everything else (np.zeros(leading, dtype=int), np.arange(1, k))
        found = plain.where(
            by.flat[..., None],
            moderate_pairs(plain, by, counts=counts, first=which[0], second=which[1]),
        )
    if image_variance is not None and images is not None:
        plain, found = (with_new_images(its, image_variance, images) for its in (plain, found))
    significant: Bools = found.p <= LEVEL / comb(k, 2)
    if everything:
        levels = shaffer_levels(k) if by is None else np.minimum(shaffer_levels(k), LAST)
        significant = step_down(found.p, levels)
    beats = (plain.points[..., :leading] > 0) & (plain.p[..., :leading] <= LEVEL)
    differs = significant[..., :leading] | beats.all(axis=-1, keepdims=True)
    behind = differs & (found.points[..., :leading] > 0)
    excluded, unstable = behind, np.zeros_like(behind)
    typical = np.full(behind.shape[:-1], np.nan)
    if by is not None:
        small = found.p <= EXCLUDED_LEVEL / leading
        beaten = (
            _beaten(found, small, table, first, second=second)
            if everything
            else small & (found.points > 0)
        )
        beaten = behind | (beaten & ~by.flat[..., None])
        # Without a win, the set of groups that could be the best has at least two members.
        nearest = np.where(behind, -1.0, np.nan_to_num(found.p[..., :leading], nan=2.0)).argmax(
            axis=-1
        )[..., None]
        excluded = np.where(np.arange(leading) == nearest, behind, beaten)
        typical = np.where(by.flat, np.nan, by.typical)
        unstable = ~excluded & (by.spread[..., 1:] > UNSTABLE * typical[..., None])
    return Judged(found.first(leading), differs, excluded, unstable, typical=typical)


def against_chosen(
    leader: Accuracies, others: Sequence[Accuracies], images: int | None = None
) -> list[Difference]:
    """Compare the leader with every other group, if the leader was selected by these accuracies;
    see `pair_tests`.

    The intervals are Bonferroni-corrected for all pairs. In about 95% of sweeps, all of them
    contain the true differences.

    Args:
        others: accuracies of the other groups, at least one.
        images: number of images from which each accuracy was computed; None if unknown.
    """
    its = pair_tests(AccuracyTable.of([leader, *others]), images)
    found = _differences(its.found, its.differs, comb(len(others) + 1, 2))
    marks, typical = (
        zip(found, its.excluded.tolist(), its.unstable.tolist(), strict=True),
        float(its.typical),
    )
    return [
        replace(one, excluded=out, unstable=unstable, typical=typical)
        for one, out, unstable in marks
    ]


def against_fixed(leader: Accuracies, others: Sequence[Accuracies]) -> list[Difference]:
    """Compare the leader with every other group, if the leader was selected before these accuracies
    were known, as in a confirmation.

    Only these k-1 comparisons count. Holm's method limits the error rate for all comparisons
    together to 5%. The intervals are Bonferroni-corrected for these comparisons. Variances are not
    moderated.

    Args:
        others: accuracies of the other groups, at least one.
    """
    found = compare_first_with_others(AccuracyTable.of([leader, *others]))
    differs = step_down(found.p, holm_levels(len(others)))
    behind = _differences(found, differs, len(others))
    return [replace(one, excluded=one.ahead) for one in behind]


def behind_on_new_images(groups: Sequence[Right], *, fixed: bool) -> Bools:
    """Return whether each group except the first, the leader, is behind the leader on new seeds and
    new images.

    Args:
        groups: which images the runs of each group, at least two, classify correctly.
        fixed: whether the leader was selected before these runs.
    """
    k, images = len(groups), len(next(iter(groups[0].values())))
    table = AccuracyTable.of(
        [{key: float(right.mean()) for key, right in runs.items()} for runs in groups]
    )
    variance = image_variances(groups, leading=fixed or k > MOST_GROUPS)
    if fixed:
        found = with_new_images(compare_first_with_others(table), variance, images)
        differs = step_down(found.p, holm_levels(k - 1))
    else:
        its = pair_tests(table, images, variance)
        found, differs = its.found, its.differs
    return differs & (found.points > 0)


def _can_moderate(table: AccuracyTable) -> bool:
    """Return whether variances can be moderated: for four or more groups on a single split, any of
    them with three or more seeds. For two or three groups, moderation finds hardly more, and would
    raise the error rate."""
    counts = (~np.isnan(table.values)).sum(axis=-1)
    enough = table.values.shape[-2] >= MODERATED_FROM and counts.min() > 1 and counts.max() > 2
    return bool(enough and not table.splits.any())


def _beaten(
    found: Pairs, small: Bools, table: AccuracyTable, first: np.ndarray, second: np.ndarray
) -> Bools:
    """Return whether each group except the first is beaten by a group with a higher overall mean.

    Args:
        found: comparisons of all pairs of groups.
        small: whether the p-value of each pair is small enough.
        first, second: indices of the groups in each pair.
    """
    mean = np.nanmean(table.values, axis=-1)
    lead = mean[..., first] - mean[..., second]
    one, other = small & (found.points < 0) & (lead < 0), small & (found.points > 0) & (lead > 0)
    others = range(1, mean.shape[-1])
    return np.stack(
        [one[..., first == g].any(-1) | other[..., second == g].any(-1) for g in others], axis=-1
    )


def intervals(found: Pairs, comparisons: int) -> tuple[Floats, Floats]:
    """Return the low and high ends of simultaneous 95% confidence intervals for `points`
    (Bonferroni).
    """
    from scipy.special import stdtrit

    df, where = np.unique(
        np.maximum(found.df, 1), return_inverse=True
    )  # quantiles are slow, so compute each one once
    half = stdtrit(df, 1 - LEVEL / (2 * comparisons))[where].reshape(found.df.shape) * found.error
    return found.points - half, found.points + half


def _differences(found: Pairs, differs: Bools, comparisons: int) -> list[Difference]:
    low, high = intervals(found, comparisons)
    results = []
    for i, p in enumerate(found.p):
        points, n = float(found.points[i]), int(found.n[i])
        if math.isnan(p):
            results.append(Difference(points, n))
            continue
        results.append(
            Difference(
                points=points,
                n=n,
                test="paired" if found.paired[i] else "welch",
                p=float(p),
                low=float(low[i]),
                high=float(high[i]),
                differs=bool(differs[i]),
            )
        )
    return results
