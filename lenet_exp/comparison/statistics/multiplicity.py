"""Corrections for multiple comparisons, which control the error rate for all comparisons together.

All arrays can have additional leading axes for several sweeps, which `benchmarks/verdicts.py` needs
for simulations.
"""

from __future__ import annotations

from functools import cache
from math import comb

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

LEVEL = 0.05  # maximum error rate for all comparisons together


def step_down(p: Floats, levels: Floats) -> Bools:
    """Return which comparisons are significant, with the shape of `p`.

    P-values are compared, smallest first, with successive significance levels until a p-value
    exceeds its level.

    For example, the p-values 0.04, 0.01, and 0.03 have Holm's levels 0.0167, 0.025, and 0.05 in
    ascending order. Only 0.01 is significant: 0.03 exceeds its level 0.025, so 0.04 does not count,
    although it is below 0.05.

    Args:
        p: p-values, with shape (..., comparisons); NaN is never significant.
        levels: significance levels in ascending order, with shape (comparisons,).
    """
    # Infinity sorts untested comparisons to the end, where they exceed every level.
    p_or_inf = np.where(np.isnan(p), np.inf, p)
    ascending = np.sort(p_or_inf, axis=-1)
    exceeds = ascending > levels

    # The number of p-values before the first that exceeds its level, with shape (..., 1).
    first_exceeding = np.where(exceeds.any(axis=-1), exceeds.argmax(axis=-1), p.shape[-1])
    passed = first_exceeding[..., None]

    largest_passed = np.take_along_axis(ascending, np.maximum(passed - 1, 0), axis=-1)
    return np.asarray((p_or_inf <= largest_passed) & (passed > 0))


def holm_levels(comparisons: int) -> Floats:
    """Return the significance levels of Holm's method (Holm 1979, A simple sequentially rejective
    multiple test procedure).

    For three comparisons, they are 0.05 / 3, 0.05 / 2, and 0.05.
    """
    return LEVEL / np.arange(comparisons, 0, -1)


def holm_adjusted(p: Floats) -> Floats:
    """Return p-values adjusted by Holm's method, with the shape of `p`. A value of at most 0.05 is
    significant.

    For example, 0.04, 0.01, and 0.03 become 0.06, 0.03, and 0.06. The smallest p-value is
    multiplied by 3, the next one by 2, and the largest by 1, but no adjusted value is smaller than
    that of a smaller p-value.

    Args:
        p: p-values, with shape (..., comparisons).
    """
    order = np.argsort(p, axis=-1)
    position_in_order = np.argsort(order, axis=-1)
    factors = p.shape[-1] - np.arange(p.shape[-1])  # comparisons, ..., 2, 1

    ascending = np.take_along_axis(p, order, axis=-1) * factors
    ascending = np.maximum.accumulate(ascending, axis=-1)
    in_given_order = np.take_along_axis(ascending, position_in_order, axis=-1)
    adjusted: Floats = np.minimum(in_given_order, 1.0)
    return adjusted


@cache
def shaffer_levels(groups: int) -> Floats:
    """Return the significance levels of Shaffer's method for all pairs of groups (Shaffer 1986,
    Modified sequentially rejective multiple test procedures, S1).

    These levels are less strict than Holm's, because not all other pairs can be equal if some pairs
    differ. For example, if one pair of three groups differs, at most one other pair can be equal.
    The levels of three groups are therefore 0.05 / 3, 0.05, and 0.05.
    """
    pairs = comb(groups, 2)
    possible_counts = _possible_equal_pairs(groups)

    # At each step, the largest possible number of equal pairs among those that were not yet tested.
    most_equal = np.zeros(pairs, dtype=np.int64)
    largest_count = 0
    for untested in range(1, pairs + 1):
        if possible_counts >> untested & 1:
            largest_count = untested
        most_equal[pairs - untested] = max(largest_count, 1)
    return LEVEL / most_equal


@cache
def _possible_equal_pairs(groups: int) -> int:
    """Return a bit mask in which bit i is set if exactly i pairs of groups can be equal and all
    others differ.

    For three groups, 0, 1, or 3 pairs can be equal, so the mask is 0b1011.
    """
    if groups < 2:
        return 1

    # The first group is equal to some of the others. All pairs of these are equal, and the rest of
    # the groups add their own equal pairs.
    possible_counts = 0
    for together in range(1, groups + 1):
        rest = _possible_equal_pairs(groups - together)
        possible_counts |= rest << comb(together, 2)
    return possible_counts
