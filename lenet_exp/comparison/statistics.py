"""Confidence intervals and significance tests for accuracies over seeds. All values are fractions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

from lenet_exp.comparison.multiplicity import LEVEL, Bools, Floats, holm_levels, shaffer_levels, step_down
from lenet_exp.comparison.pairs import NO_SPREAD, AccuracyTable, Pairs, Replicate, first_against_others, means, pairs

MOST_GROUPS = 200  # maximum number of groups for tests of all pairs; the cost grows with the square of the number


@dataclass(frozen=True)
class Difference:
    """The difference between the means of two groups.

    Attributes:
        points: difference between the means, over the common replicates if paired.
        n: number of replicates (seeds, or pairs of seed and split): the common replicates if paired; otherwise, the
            replicates of the smaller group.
        test: type of test: `paired`, `welch`, or `none` if no test is possible due to too few seeds or no spread.
        p: two-sided p-value, uncorrected; NaN if there is no test.
        spread: standard deviation of the paired differences if paired; otherwise, sqrt(s1^2 + s2^2).
        df: degrees of freedom of `spread`, not necessarily an integer.
        level: significance level for `p`, corrected for the number of comparisons.
        low, high: ends of the confidence interval, limited to -1 to 1. It contains 0 if and only if the difference is
            not significant (see `against_chosen`).
        differs: whether the difference is significant.
        error: standard error of `points`.
    """

    points: float
    n: int
    test: str = "none"
    p: float = math.nan
    spread: float = math.nan
    df: float = 0.0
    level: float = math.nan
    low: float = math.nan
    high: float = math.nan
    differs: bool = False
    error: float = math.nan

    @property
    def ahead(self) -> bool:
        """Whether the first group is significantly better.

        A group with a higher overall mean can be significantly worse over the common seeds.
        """
        return self.differs and self.points > 0


Accuracies = Mapping[Replicate, float]


def mean_interval(values: Accuracies) -> tuple[float, float]:
    """Return the 95% confidence interval of the mean (Student's t), limited to 0 to 1; NaN for a single value."""
    table = AccuracyTable.of([values])
    found = means(table.values, table)
    mean, error, df = float(found.mean[0]), math.sqrt(found.variance[0]), float(found.df[0])
    if not df >= 1:
        return math.nan, math.nan
    if error < NO_SPREAD:
        return mean, mean
    from scipy.special import stdtrit

    half = float(stdtrit(df, 0.975)) * error
    return max(mean - half, 0.0), min(mean + half, 1.0)


def against_chosen(leader: Accuracies, others: Sequence[Accuracies]) -> list[Difference]:
    """Compare the leader with every other group, if the leader was selected by these accuracies as the group with the
    best mean.

    Any two groups could have become the leader and its rival, so all k(k-1)/2 pairs count (`significant_pairs`). The
    intervals are Bonferroni-corrected for all pairs. If the leader is significantly ahead, an interval that extends
    beyond 0 is cut at 0.

    Simulations (`benchmarks/verdicts.py`) confirm the error rates. In at most 5% of comparisons, the leader is declared
    better than a group that is equally good. In at least 95% of comparisons, all intervals contain the true
    differences.

    With more than 200 groups, only the leader's pairs are tested, each at Bonferroni's level for all pairs. These tests
    find only differences that Shaffer's method would also find.
    """
    table = AccuracyTable.of([leader, *others])
    k = len(others) + 1
    if k == 1:
        return []
    if k > MOST_GROUPS:
        found = first_against_others(table)
        differs, level = significant_leads(found.p, found.points, k)
    else:
        found = pairs(table)
        differs, level = significant_pairs(found.p, found.points, np.array(0), k)
    return _differences(found.first(k - 1), differs[: k - 1], level[: k - 1], comb(k, 2))


def against_fixed(leader: Accuracies, others: Sequence[Accuracies]) -> list[Difference]:
    """Compare the leader with every other group, if the leader was selected before these accuracies were known, as in a
    confirmation.

    Only these k-1 comparisons count. Holm's method limits the error rate for all comparisons together to 5%. The
    intervals are Bonferroni-corrected for these comparisons and cut at 0 as in `against_chosen`.
    """
    if not others:
        return []
    found = first_against_others(AccuracyTable.of([leader, *others]))
    differs, level = step_down(found.p, holm_levels(len(others)))
    return _differences(found, differs, np.full(len(others), level), len(others))


def significant_pairs(p: Floats, points: Floats, leader: np.ndarray, groups: int) -> tuple[Bools, Floats]:
    """Return which pairs of groups differ significantly, and the significance level for each pair.

    Two rules apply, which control the error rate both separately and together. The first rule tests all pairs with
    Shaffer's method. The second rule tests whether the leader is ahead of all other groups. Each comparison in the
    second rule can use the full level, because a false winner has to beat the truly best group (Gutmann, Maymin 1987,
    Is the selected population the best?; Hung, Fithian 2019, Rank verification for exponential families).

    Args:
        p, points: p-values and differences, with shape (..., pairs), as returned by `pairs`.
        leader: index of the group with the best mean, with shape (...).
        groups: number of groups.
    """
    differs, level = step_down(p, shaffer_levels(groups))
    first, second = np.triu_indices(groups, 1)
    leads = leader[..., None] == first
    involved = leads | (leader[..., None] == second)
    return _or_wins(differs, level, p, np.where(leads, points, -points), involved)


def significant_leads(p: Floats, points: Floats, groups: int) -> tuple[Bools, Floats]:
    """Return which of the leader's pairs differ significantly, and the significance level for each of these pairs.

    The tests use Bonferroni's level for all pairs instead of Shaffer's levels.

    Args:
        p, points: p-values and differences of the leader and every other group, with shape (..., groups - 1).
        groups: number of groups.
    """
    level = np.full(p.shape[:-1], LEVEL / comb(groups, 2))
    return _or_wins(p <= level[..., None], level, p, points, np.ones_like(p, dtype=bool))


def _or_wins(differs: Bools, level: Floats, p: Floats, ahead: Floats, involved: Bools) -> tuple[Bools, Floats]:
    """Apply the rule for a leader that is ahead of all other groups, and combine its results with those of another
    rule.

    Args:
        ahead: the leader's lead over the other group, with shape (..., pairs); ignored for pairs without the leader.
        involved: whether a pair includes the leader, with shape (..., pairs).
    """
    beaten = (ahead > 0) & (p <= LEVEL)
    open_pairs = (involved & ~beaten).sum(axis=-1)[..., None]
    wins = involved & (open_pairs == 0)
    # If the leader beats all groups but one, the remaining comparison can use the full level.
    alone = involved & (open_pairs == 1)
    return differs | wins, np.where(wins | alone, LEVEL, level[..., None])


def intervals(found: Pairs, differs: Bools, comparisons: int) -> tuple[Floats, Floats]:
    """Return the low and high ends of simultaneous 95% confidence intervals for `points`.

    The intervals are Bonferroni-corrected, and cut at 0 if the groups differ significantly.
    """
    from scipy.special import stdtrit

    df, where = np.unique(np.maximum(found.df, 1), return_inverse=True)  # quantiles are slow, so compute each one once
    half = stdtrit(df, 1 - LEVEL / (2 * comparisons))[where].reshape(found.df.shape) * found.error
    low, high = found.points - half, found.points + half
    low = np.where(differs & (found.points > 0), np.maximum(low, 0.0), low)
    return low, np.where(differs & (found.points < 0), np.minimum(high, 0.0), high)


def _differences(found: Pairs, differs: Bools, level: Floats, comparisons: int) -> list[Difference]:
    low, high = intervals(found, differs, comparisons)
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
                spread=float(found.spread[i]),
                error=float(found.error[i]),
                df=float(found.df[i]),
                level=float(level[i]),
                low=max(float(low[i]), -1.0),
                high=min(float(high[i]), 1.0),
                differs=bool(differs[i]),
            )
        )
    return results
