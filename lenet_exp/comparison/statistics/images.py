"""Accuracies over both seeds and images: whether a difference holds on new images of the same kind.

Seeds and images are crossed, because all runs classify the same images. The variance of a
difference between two mean accuracies is therefore the sum of two parts: one due to the seeds,
which contains the interaction of seeds and images, and one due to the images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from lenet_exp.comparison.statistics.pairs import Floats, Pairs, Replicate

# Which images each run of a group classifies correctly, with shape (images,).
Right = Mapping[Replicate, NDArray[np.bool_]]

BISECTIONS = 30  # iterations for a p-value, whose relative error is then below 1e-8


def image_variances(groups: Sequence[Right], *, leading: bool) -> Floats:
    """Return the variance of each difference between two groups due to the images, with shape
    (pairs,).

    The result is NaN for groups with fewer than two common replicates.

    Args:
        groups: the groups, first the leader.
        leading: whether only the pairs of the leader are needed; otherwise, all pairs in the order
            of `pairs.compare_all_pairs`.
    """
    if leading:
        return np.array([_image_variance(groups[0], other) for other in groups[1:]])
    return np.array([_image_variance(first, second) for first, second in combinations(groups, 2)])


def _image_variance(first: Right, second: Right) -> float:
    """Return the variance of the difference between two groups due to the images, from the mean
    squares of a two-way table (Searle, Casella, McCulloch 1992, Variance components, chapter 4).

    The differences on single images vary due to the image, and due to the interaction of image and
    seed. A mean over n seeds keeps the first variance, but only 1/n of the second. Both variances
    follow from those of single seeds and of the means.
    """
    replicates = sorted(first.keys() & second.keys())
    if len(replicates) < 2:
        return np.nan

    # 1 if only the first group is right, -1 if only the second is, with shape (seeds, images).
    differences = np.array(
        [first[replicate].astype(np.int8) - second[replicate] for replicate in replicates]
    )
    n, images = differences.shape
    sum_of_seed = differences.sum(axis=1)
    sum_of_image = differences.sum(axis=0)

    # All squares are 0 or 1, so their sum is the number of differences that are not 0.
    sum_of_squares = np.count_nonzero(differences) - (sum_of_seed**2).sum() / images
    variance_of_single = sum_of_squares / n / (images - 1)
    variance_of_mean = sum_of_image.var(ddof=1) / n**2

    variance_due_to_image = (n * variance_of_mean - variance_of_single) / (n - 1)
    return float(max(variance_due_to_image, 0.0) / images)


def with_new_images(pairs: Pairs, variance: Floats, images: int) -> Pairs:
    """Return comparisons whose tests are about new images, too.

    The critical value is that of Cochran and Cox (1957, Experimental designs): the mean of
    Student's quantiles for both parts of the variance, weighted by the parts.

    Args:
        pairs: comparisons whose errors are due to the seeds. Only paired comparisons are tested.
        variance: variance due to the images; see `image_variances`.
        images: number of images.
    """
    from scipy.special import stdtr, stdtrit

    seed_variance = pairs.error**2
    seed_df = np.maximum(pairs.df, 1)
    image_df = images - 1
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.sqrt(seed_variance + variance)
        t = np.abs(pairs.points) / error
        seed_share = seed_variance / error**2

        # The p-value lies between those for the degrees of freedom of either part.
        p_with_seed_df = 2 * stdtr(seed_df, -t)
        p_with_image_df = 2 * stdtr(image_df, -t)
        low = np.minimum(p_with_seed_df, p_with_image_df)
        high = np.maximum(p_with_seed_df, p_with_image_df)

        for _ in range(BISECTIONS):
            level = (low + high) / 2
            seed_quantile = stdtrit(seed_df, level / 2)
            image_quantile = stdtrit(image_df, level / 2)
            critical = -(seed_share * seed_quantile + (1 - seed_share) * image_quantile)

            # A critical value above t is that of a level below the p-value.
            is_below_p = critical > t
            low = np.where(is_below_p, level, low)
            high = np.where(is_below_p, high, level)

    is_tested = pairs.paired & ~np.isnan(pairs.p)
    return replace(pairs, error=error, p=np.where(is_tested, high, np.nan))
