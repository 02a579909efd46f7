"""Computes the differences between the means of groups, for all pairs at once, with standard errors
and p-values.

All arrays can have additional leading axes for several sweeps, which `benchmarks/verdicts.py` needs
for simulations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Replicate = tuple[int, int]  # seed and split_seed, which distinguish the runs of a configuration
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

APPROXIMATE_FROM = 5  # minimum number of replicates for Satterthwaite's approximation
NO_SPREAD = 1e-9  # maximum spread of accuracies, as fractions, that is treated as a rounding error


@dataclass(frozen=True)
class AccuracyTable:
    """A table of accuracies, with a row for each group and a column for each replicate.

    Attributes:
        values: accuracies, with shape (..., groups, replicates); NaN if a group has no run for a
            replicate.
        seeds, splits: seed and split of each replicate, numbered from 0, with shape (replicates,).
    """

    values: Floats
    seeds: NDArray[np.int64]
    splits: NDArray[np.int64]

    @classmethod
    def of(cls, groups: Sequence[Mapping[Replicate, float]]) -> AccuracyTable:
        """Build a table from the accuracies of each group, keyed by replicate.

        For example, the groups `{(3, 0): 0.91, (7, 0): 0.93}` and `{(7, 0): 0.92}` yield the values
        `[[0.91, 0.93], [nan, 0.92]]`, the seeds `[0, 1]`, and the splits `[0, 0]`.
        """
        replicates = sorted({replicate for group in groups for replicate in group})
        column_of = {replicate: column for column, replicate in enumerate(replicates)}
        values = np.full((len(groups), len(replicates)), np.nan)
        for row, group in enumerate(groups):
            for replicate, accuracy in group.items():
                values[row, column_of[replicate]] = accuracy

        _, seeds = np.unique([seed for seed, _ in replicates], return_inverse=True)
        _, splits = np.unique([split for _, split in replicates], return_inverse=True)
        return cls(values, seeds, splits)


@dataclass(frozen=True)
class GroupMeans:
    """Means of groups over replicates. Each array has the shape (..., groups).

    Attributes:
        mean: mean of the group.
        variance: variance of the mean; NaN if unknown.
        n: number of replicates.
        df: degrees of freedom of the variance.
    """

    mean: Floats
    variance: Floats
    n: Floats
    df: Floats

    @property
    def spread(self) -> Floats:
        """The standard deviation of df + 1 independent values whose mean would have the same
        variance.
        """
        return np.sqrt(self.variance * (self.df + 1))

    def of_groups(self, groups: slice) -> GroupMeans:
        """Return the means of some of the groups."""
        return GroupMeans(
            mean=self.mean[..., groups],
            variance=self.variance[..., groups],
            n=self.n[..., groups],
            df=self.df[..., groups],
        )


@dataclass(frozen=True)
class Pairs:
    """Comparisons of pairs of groups. Each array has the shape (..., pairs).

    Attributes:
        points: difference between the means (first group minus second group), over the common
            replicates if paired.
        spread: standard deviation of the paired differences if paired; otherwise, sqrt(s1^2 +
            s2^2).
        error: standard error of `points`.
        n: number of common replicates if paired; otherwise, number of replicates of the smaller
            group.
        df: degrees of freedom of the test.
        paired: whether the test is a paired test of the common replicates rather than Welch's test.
        p: two-sided p-value of Student's t; NaN if it cannot be computed.
    """

    points: Floats
    spread: Floats
    error: Floats
    n: Floats
    df: Floats
    paired: Bools
    p: Floats

    @classmethod
    def joined(cls, parts: Sequence[Pairs]) -> Pairs:
        """Return all pairs of several parts, in order."""
        return cls(
            points=np.concatenate([part.points for part in parts], axis=-1),
            spread=np.concatenate([part.spread for part in parts], axis=-1),
            error=np.concatenate([part.error for part in parts], axis=-1),
            n=np.concatenate([part.n for part in parts], axis=-1),
            df=np.concatenate([part.df for part in parts], axis=-1),
            paired=np.concatenate([part.paired for part in parts], axis=-1),
            p=np.concatenate([part.p for part in parts], axis=-1),
        )

    def first(self, n: int) -> Pairs:
        """Return the first n pairs."""
        return Pairs(
            points=self.points[..., :n],
            spread=self.spread[..., :n],
            error=self.error[..., :n],
            n=self.n[..., :n],
            df=self.df[..., :n],
            paired=self.paired[..., :n],
            p=self.p[..., :n],
        )

    def where(self, condition: Bools, other: Pairs) -> Pairs:
        """Return these comparisons where a condition holds, and others elsewhere."""
        return Pairs(
            points=np.where(condition, self.points, other.points),
            spread=np.where(condition, self.spread, other.spread),
            error=np.where(condition, self.error, other.error),
            n=np.where(condition, self.n, other.n),
            df=np.where(condition, self.df, other.df),
            paired=np.where(condition, self.paired, other.paired),
            p=np.where(condition, self.p, other.p),
        )


def group_means(values: Floats, table: AccuracyTable) -> GroupMeans:
    """Return the mean of each row of values, and the variance of that mean.

    Replicates are independent if all of them share the same split, or if each has its own split.
    Otherwise, replicates that share a seed or a split are not independent; see
    `_clustered_means`.

    Args:
        values: values, with shape (..., rows, replicates); NaN for missing values.
        table: table with the seed and the split of each replicate.
    """
    has_value = ~np.isnan(values)
    n = has_value.sum(axis=-1).astype(float)  # shape (..., rows)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(has_value, values, 0.0).sum(axis=-1) / n
        deviations = np.where(has_value, values - mean[..., None], 0.0)
        variance = (deviations**2).sum(axis=-1) / (n * (n - 1))
    independent = GroupMeans(mean, variance, n, df=n - 1)

    single_split = table.splits.size == 0 or table.splits.max() == 0
    if single_split:
        return independent
    return _clustered_means(independent, deviations, has_value, table)


def _clustered_means(
    independent: GroupMeans, deviations: Floats, has_value: Bools, table: AccuracyTable
) -> GroupMeans:
    """Return means with variances that are valid if runs share seeds and splits.

    In a crossed design, which combines each of several seeds with each of several splits,
    replicates that share a seed or a split are not independent. The variance is then clustered by
    both seed and split (Cameron, Gelbach, Miller 2011, Robust inference with multiway clustering;
    Owen 2007, The pigeonhole bootstrap). The smaller number of clusters determines the degrees of
    freedom. For example, 15 runs of 5 seeds and 3 splits have 2 degrees of freedom.

    Args:
        independent: means with the variances of independent replicates.
        deviations: deviations from the means, with shape (..., rows, replicates); 0 for missing
            values.
        has_value: whether each value is present, with shape (..., rows, replicates).
        table: table with the seed and the split of each replicate.
    """
    n = independent.n
    with np.errstate(invalid="ignore", divide="ignore"):
        by_seed, seeds = _clustered_variance(deviations, has_value, table.seeds, n)
        by_split, splits = _clustered_variance(deviations, has_value, table.splits, n)
        # The sum counts the variance of single runs twice. It can be too small by chance.
        by_both = np.maximum(
            np.maximum(by_seed, by_split), by_seed + by_split - independent.variance
        )

    crossed = (seeds > 1) & (splits > 1)
    by_one = np.where(seeds > 1, by_seed, by_split)
    variance = np.where(crossed, by_both, by_one)
    clusters = np.where(crossed, np.minimum(seeds, splits), np.maximum(seeds, splits))
    return GroupMeans(independent.mean, variance, n, df=clusters - 1)


def _clustered_variance(
    deviations: Floats, has_value: Bools, cluster_of: NDArray[np.int64], n: Floats
) -> tuple[Floats, Floats]:
    """Return the variance of means whose values are independent only between clusters, and the
    number of clusters. Both have the shape (..., rows).

    Args:
        deviations, has_value: see `_clustered_means`.
        cluster_of: cluster of each replicate, numbered from 0, with shape (replicates,).
        n: number of values of each row, with shape (..., rows).
    """
    is_member = cluster_of[:, None] == np.arange(cluster_of.max() + 1)  # (replicates, clusters)
    clusters = (has_value @ is_member).sum(axis=-1).astype(float)
    cluster_sums = deviations @ is_member  # (..., rows, clusters)
    variance = (cluster_sums**2).sum(axis=-1) * clusters / (clusters - 1) / n**2
    return variance, clusters


def compare_all_pairs(table: AccuracyTable) -> Pairs:
    """Compare all pairs of groups: (0, 1), (0, 2), ..., (1, 2), ..., in the order of
    `numpy.triu_indices(groups, 1)`.

    A pair is compared over its common replicates if they number at least two and make up at least
    half of the smaller group. Other pairs are compared with Welch's test (Welch 1947).

    For example, group A with seeds 0 to 3 and group B with seeds 2 to 7 have 2 seeds in common,
    which is half of A's 4 seeds, so the test is paired. If A also had seeds 8 and 9, 2 of 6 seeds
    would be less than half, so the test would be Welch's.
    """
    groups = group_means(table.values, table)
    rows = [
        _compare_with_later(table, groups, position)
        for position in range(table.values.shape[-2] - 1)
    ]
    return Pairs.joined(rows)


def compare_first_with_others(table: AccuracyTable) -> Pairs:
    """Compare the first group with every other group, in order."""
    return _compare_with_later(table, group_means(table.values, table), 0)


def _compare_with_later(table: AccuracyTable, groups: GroupMeans, position: int) -> Pairs:
    """Compare the group at a position with every later group.

    In the comments, `later` is the number of later groups.
    """
    # This import takes 0.2 s and is needed only with repeated seeds.
    from scipy.special import stdtr

    this = slice(position, position + 1)
    later = slice(position + 1, None)
    differences = table.values[..., this, :] - table.values[..., later, :]
    common = group_means(differences, table)  # each array has the shape (..., later)
    first = groups.of_groups(this)  # each array has the shape (..., 1)
    second = groups.of_groups(later)  # each array has the shape (..., later)

    smaller_n = np.minimum(first.n, second.n)
    paired = (common.n >= 2) & (2 * common.n >= smaller_n)
    with np.errstate(invalid="ignore", divide="ignore"):
        points = np.where(paired, common.mean, first.mean - second.mean)
        spread = np.where(paired, common.spread, np.hypot(first.spread, second.spread))
        variance = np.where(paired, common.variance, first.variance + second.variance)
        error = np.sqrt(variance)

        df = np.where(paired, common.df, _welch_df(first, second))
        testable = (df >= 1) & (spread > NO_SPREAD)
        p = np.where(testable, 2 * stdtr(np.maximum(df, 1), -np.abs(points) / error), np.nan)

    n = np.where(paired, common.n, smaller_n)
    return Pairs(points, spread, error, n=n, df=df, paired=paired, p=p)


def _welch_df(first: GroupMeans, second: GroupMeans) -> Floats:
    """Return the degrees of freedom of Welch's test.

    With five or more replicates per group, they are Satterthwaite's, which are accurate for such
    sample sizes (simulated: `benchmarks/verdicts.py`; Best, Rayner 1987, Welch's approximate
    solution for the Behrens-Fisher problem). With fewer replicates, they are those of the smaller
    group, which is conservative (Mickey, Brown 1966, Bounds on the distribution functions of the
    Behrens-Fisher statistic).
    """
    variance = first.variance + second.variance
    satterthwaite = variance**2 / (first.variance**2 / first.df + second.variance**2 / second.df)
    smaller_df = np.minimum(first.df, second.df)
    is_accurate = (smaller_df >= APPROXIMATE_FROM - 1) & (variance > 0)
    return np.where(is_accurate, satterthwaite, smaller_df)
