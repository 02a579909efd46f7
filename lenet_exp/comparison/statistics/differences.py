"""The differences between a leader and the other groups, with tests and intervals. All values are
fractions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import comb

from lenet_exp.comparison.statistics.images import Right, image_variances, with_new_images
from lenet_exp.comparison.statistics.intervals import Accuracies, simultaneous_intervals
from lenet_exp.comparison.statistics.leader_tests import MOST_GROUPS, pair_tests
from lenet_exp.comparison.statistics.multiplicity import Bools, holm_levels, step_down
from lenet_exp.comparison.statistics.pairs import AccuracyTable, Pairs, compare_first_with_others

WIDEST = 0.5  # width of an interval, as a fraction, above which it says nothing


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
        bound: upper bound of how much better the group is than the leader, if it is the best group;
            infinite if it is unknown, which includes equal differences on all seeds.
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
    bound: float = math.inf
    typical: float = math.nan

    @property
    def has_narrow_interval(self) -> bool:
        """Whether the interval is narrow enough to be shown."""
        return self.high - self.low <= WIDEST

    @property
    def ahead(self) -> bool:
        """Whether the first group is significantly better.

        A group with a higher overall mean can be significantly worse over the common seeds.
        """
        return self.differs and self.points > 0


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
    tests = pair_tests(AccuracyTable.of([leader, *others]), images)
    groups = len(others) + 1
    differences = _differences(tests.pairs, tests.differs, comparisons=comb(groups, 2))

    judged = []
    for position, difference in enumerate(differences):
        is_tested = difference.test != "none"
        judged.append(
            replace(
                difference,
                excluded=bool(tests.excluded[position]),
                unstable=bool(tests.unstable[position]),
                bound=float(tests.bounds[position]) if is_tested else math.inf,
                typical=float(tests.typical),
            )
        )
    return judged


def against_fixed(leader: Accuracies, others: Sequence[Accuracies]) -> list[Difference]:
    """Compare the leader with every other group, if the leader was selected before these accuracies
    were known, as in a confirmation.

    Only these k-1 comparisons count. Holm's method limits the error rate for all comparisons
    together to 5%. The intervals are Bonferroni-corrected for these comparisons. Variances are not
    moderated.

    Args:
        others: accuracies of the other groups, at least one.
    """
    pairs = compare_first_with_others(AccuracyTable.of([leader, *others]))
    differs = step_down(pairs.p, holm_levels(len(others)))
    differences = _differences(pairs, differs, comparisons=len(others))
    return [replace(difference, excluded=difference.ahead) for difference in differences]


def behind_on_new_images(groups: Sequence[Right], *, fixed: bool) -> Bools:
    """Return whether each group except the first, the leader, is behind the leader on new seeds and
    new images, with shape (groups - 1,).

    Args:
        groups: which images the runs of each group, at least two, classify correctly.
        fixed: whether the leader was selected before these runs.
    """
    images = len(next(iter(groups[0].values())))
    table = AccuracyTable.of([_accuracies(runs) for runs in groups])
    only_leader = fixed or len(groups) > MOST_GROUPS
    variance = image_variances(groups, leading=only_leader)
    if not fixed:
        return pair_tests(table, images, variance).behind

    pairs = with_new_images(compare_first_with_others(table), variance, images)
    differs = step_down(pairs.p, holm_levels(len(groups) - 1))
    return differs & (pairs.points > 0)


def _accuracies(runs: Right) -> Accuracies:
    return {replicate: float(right.mean()) for replicate, right in runs.items()}


def _differences(pairs: Pairs, differs: Bools, *, comparisons: int) -> list[Difference]:
    """Return each pair of a single sweep as a difference with a simultaneous interval.

    Args:
        pairs: comparisons of the leader with every other group; the arrays have the shape
            (groups - 1,).
        differs: whether each difference is significant, with shape (groups - 1,).
        comparisons: number of comparisons for which the intervals are corrected.
    """
    low, high = simultaneous_intervals(pairs, comparisons)
    differences = []
    for position, p in enumerate(pairs.p):
        points = float(pairs.points[position])
        n = int(pairs.n[position])
        if math.isnan(p):
            differences.append(Difference(points, n))
            continue

        test = "paired" if pairs.paired[position] else "welch"
        difference = Difference(
            points=points,
            n=n,
            test=test,
            p=float(p),
            low=float(low[position]),
            high=float(high[position]),
            differs=bool(differs[position]),
        )
        differences.append(difference)
    return differences
