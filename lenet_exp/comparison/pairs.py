"""Computes the differences between the means of groups, for all pairs at once, with standard errors
and p-values.

All arrays can have additional leading axes for several sweeps, which `benchmarks/verdicts.py` needs
for simulations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

Replicate = tuple[int, int]  # seed and split_seed, which distinguish the runs of a configuration
Floats = NDArray[np.float64]

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
        """Build a table from the accuracies of each group, keyed by replicate."""
        column = {
            key: i for i, key in enumerate(sorted({key for group in groups for key in group}))
        }
        values = np.full((len(groups), len(column)), np.nan)
        for row, group in zip(values, groups, strict=True):
            row[[column[key] for key in group]] = list(group.values())
        seeds, splits = (
            np.unique([key[i] for key in column], return_inverse=True)[1] for i in (0, 1)
        )
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
    paired: NDArray[np.bool_]
    p: Floats

    def first(self, n: int) -> Pairs:
        """Return the first n pairs."""
        return Pairs(*(getattr(self, f.name)[..., :n] for f in fields(self)))

    def where(self, condition: NDArray[np.bool_], other: Pairs) -> Pairs:
        """Return these comparisons where a condition holds, and others elsewhere."""
        return Pairs(
            *(
                np.where(condition, getattr(self, f.name), getattr(other, f.name))
                for f in fields(self)
            )
        )


def means(values: Floats, table: AccuracyTable) -> GroupMeans:
    """Return the mean of each row of values, and the variance of that mean.

    Replicates are independent if all of them share the same split, or if each has its own split. In
    a crossed design, which combines each of several seeds with each of several splits, replicates
    that share a seed or a split are not independent. The variance is then clustered by both seed
    and split (Cameron, Gelbach, Miller 2011, Robust inference with multiway clustering; Owen 2007,
    The pigeonhole bootstrap). The smaller number of clusters determines the degrees of freedom.

    Args:
        values: values, with shape (..., rows, replicates); NaN for missing values.
        table: table with the seed and the split of each replicate.
    """
    known = ~np.isnan(values)
    n = known.sum(axis=-1).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, values, 0.0).sum(axis=-1) / n
        off = np.where(known, values - mean[..., None], 0.0)
        cells = (off**2).sum(axis=-1) / (n * (n - 1))
        if table.splits.size == 0 or table.splits.max() == 0:
            return GroupMeans(mean, cells, n, n - 1)
        by_seed, seeds = _clustered(off, known, table.seeds, n)
        by_split, splits = _clustered(off, known, table.splits, n)
        both = np.maximum(np.maximum(by_seed, by_split), by_seed + by_split - cells)
        crossed = (seeds > 1) & (splits > 1)
        variance = np.where(crossed, both, np.where(seeds > 1, by_seed, by_split))
        df = np.where(crossed, np.minimum(seeds, splits), np.maximum(seeds, splits)) - 1
    return GroupMeans(mean, variance, n, df)


def _clustered(
    off: Floats, known: NDArray[np.bool_], codes: NDArray[np.int64], n: Floats
) -> tuple[Floats, Floats]:
    """Return the variance of a mean whose values are independent only between clusters, and the
    number of clusters.
    """
    belongs = codes[:, None] == np.arange(codes.max() + 1)
    clusters = (known @ belongs).sum(axis=-1).astype(float)
    return ((off @ belongs) ** 2).sum(axis=-1) * clusters / (clusters - 1) / n**2, clusters


def pairs(table: AccuracyTable) -> Pairs:
    """Compare all pairs of groups: (0, 1), (0, 2), ..., (1, 2), ..., in the order of
    `numpy.triu_indices(groups, 1)`.

    A pair is compared over its common replicates if they number at least two and make up at least
    half of the smaller group. Other pairs are compared with Welch's test (Welch 1947). With five or
    more replicates per group, the degrees of freedom are Satterthwaite's, which are accurate for
    such sample sizes (simulated: `benchmarks/verdicts.py`; Best, Rayner 1987, Welch's approximate
    solution for the Behrens-Fisher problem). With fewer replicates, the degrees of freedom are
    those of the smaller group, which is conservative (Mickey, Brown 1966, Bounds on the
    distribution functions of the Behrens-Fisher statistic).
    """
    alone = means(table.values, table)
    rows = [_row(table, alone, i) for i in range(table.values.shape[-2] - 1)]
    return Pairs(*(np.concatenate(parts, axis=-1) for parts in zip(*rows, strict=True)))


def first_against_others(table: AccuracyTable) -> Pairs:
    """Compare the first group with every other group, in order."""
    return Pairs(*_row(table, means(table.values, table), 0))


def _row(table: AccuracyTable, alone: GroupMeans, i: int) -> tuple[Any, ...]:
    """Return the fields of `Pairs` for the comparisons of group `i` with every later group."""
    from scipy.special import (
        stdtr,
    )  # this import takes 0.2 s and is needed only with repeated seeds

    common = means(table.values[..., i : i + 1, :] - table.values[..., i + 1 :, :], table)
    one, other = slice(i, i + 1), slice(i + 1, None)
    smaller = np.minimum(alone.n[..., one], alone.n[..., other])
    paired = (common.n >= 2) & (2 * common.n >= smaller)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.where(
            paired, common.spread, np.hypot(alone.spread[..., one], alone.spread[..., other])
        )
        error = np.sqrt(
            np.where(paired, common.variance, alone.variance[..., one] + alone.variance[..., other])
        )
        points = np.where(paired, common.mean, alone.mean[..., one] - alone.mean[..., other])
        df = np.where(paired, common.df, _welch_df(alone.variance, alone.df, one, other))
        judged = (df >= 1) & (spread > NO_SPREAD)
        p = np.where(judged, 2 * stdtr(np.maximum(df, 1), -np.abs(points) / error), np.nan)
    return points, spread, error, np.where(paired, common.n, smaller), df, paired, p


def _welch_df(variance: Floats, df: Floats, one: slice, other: slice) -> Floats:
    both = variance[..., one] + variance[..., other]
    approximate = both**2 / (
        variance[..., one] ** 2 / df[..., one] + variance[..., other] ** 2 / df[..., other]
    )
    smaller = np.minimum(df[..., one], df[..., other])
    return np.where((smaller >= APPROXIMATE_FROM - 1) & (both > 0), approximate, smaller)
