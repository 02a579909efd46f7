"""Accuracies over both seeds and images: whether a difference holds on new images of the same kind.

Seeds and images are crossed, because all runs classify the same images. The variance of a
difference between two mean accuracies is therefore the sum of two parts: one due to the seeds,
which contains the interaction of seeds and images, and one due to the images.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from lenet_exp.comparison.statistics.pairs import Floats, Pairs, Replicate

Right = Mapping[
    Replicate, NDArray[np.bool_]
]  # which images each run of a group classifies correctly, shape (images,)
BISECTIONS = 30  # iterations for a p-value, whose relative error is then below 1e-8


def image_variances(groups: Sequence[Right], *, leading: bool) -> Floats:
    """Return the variance of each difference between two groups due to the images, with shape
    (pairs,).

    The result is NaN for groups with fewer than two common replicates.

    Args:
        groups: the groups, first the leader.
        leading: whether only the pairs of the leader are needed; otherwise, all pairs in the order
            of `pairs`.
    """
    wanted: Iterable[tuple[Right, Right]] = combinations(groups, 2)
    if leading:
        wanted = ((groups[0], other) for other in groups[1:])
    return np.array([_image_variance(one, other) for one, other in wanted])


def _image_variance(one: Right, other: Right) -> float:
    """Return the variance of the difference between two groups due to the images, from the mean
    squares of a two-way table (Searle, Casella, McCulloch 1992, Variance components, chapter 4)."""
    common = sorted(one.keys() & other.keys())
    if len(common) < 2:
        return np.nan
    table = np.array([one[key].astype(np.int8) - other[key] for key in common])
    n, images = table.shape
    by_run, by_image = table.sum(axis=1), table.sum(axis=0)
    within = (np.count_nonzero(table) - (by_run**2).sum() / images) / n / (images - 1)
    between = by_image.var(ddof=1) / n**2
    return float(max((n * between - within) / (n - 1), 0.0) / images)


def with_new_images(found: Pairs, variance: Floats, images: int) -> Pairs:
    """Return comparisons whose tests are about new images, too.

    The critical value is that of Cochran and Cox (1957, Experimental designs): the mean of
    Student's quantiles for both parts of the variance, weighted by the parts.

    Args:
        found: comparisons whose errors are due to the seeds. Only paired comparisons are tested.
        variance: variance due to the images; see `image_variances`.
        images: number of images.
    """
    from scipy.special import stdtr, stdtrit

    seeds, df = found.error**2, np.maximum(found.df, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.sqrt(seeds + variance)
        t, share = np.abs(found.points) / error, seeds / error**2
        ends = 2 * stdtr(df, -t), 2 * stdtr(images - 1, -t)
        low, high = np.minimum(*ends), np.maximum(*ends)
        for _ in range(BISECTIONS):
            p = (low + high) / 2
            small = -(share * stdtrit(df, p / 2) + (1 - share) * stdtrit(images - 1, p / 2)) > t
            low, high = np.where(small, p, low), np.where(small, high, p)
    return replace(found, error=error, p=np.where(found.paired & ~np.isnan(found.p), high, np.nan))
