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

    Args:
        p: p-values, with shape (..., comparisons); NaN is never significant.
        levels: significance levels in ascending order, with shape (comparisons,).
    """
    known = np.where(np.isnan(p), np.inf, p)
    ordered = np.sort(known, axis=-1)
    fails = ordered > levels
    passed = np.where(fails.any(axis=-1), fails.argmax(axis=-1), p.shape[-1])[..., None]
    last = np.take_along_axis(ordered, np.maximum(passed - 1, 0), axis=-1)
    return np.asarray((known <= last) & (passed > 0))


def holm_levels(comparisons: int) -> Floats:
    """Return the significance levels of Holm's method (Holm 1979, A simple sequentially rejective
    multiple test procedure)."""
    return LEVEL / np.arange(comparisons, 0, -1)


def holm_adjusted(p: Floats) -> Floats:
    """Return p-values adjusted by Holm's method, with the shape of `p`. A value of at most 0.05 is
    significant.

    Args:
        p: p-values, with shape (..., comparisons).
    """
    order = np.argsort(p, axis=-1)
    factors = p.shape[-1] - np.arange(p.shape[-1])
    ordered = np.maximum.accumulate(np.take_along_axis(p, order, axis=-1) * factors, axis=-1)
    adjusted: Floats = np.minimum(
        np.take_along_axis(ordered, np.argsort(order, axis=-1), axis=-1), 1.0
    )
    return adjusted


@cache
def shaffer_levels(groups: int) -> Floats:
    """Return the significance levels of Shaffer's method for all pairs of groups (Shaffer 1986,
    Modified sequentially rejective multiple test procedures, S1).

    These levels are less strict than Holm's, because not all other pairs can be equal if some pairs
    differ. For example, if one pair of three groups differs, at most one other pair can be equal.
    """
    pairs = comb(groups, 2)
    at_most = np.zeros(pairs, dtype=np.int64)
    possible, largest = _true_at_once(groups), 0
    for left in range(1, pairs + 1):
        if possible >> left & 1:
            largest = left
        at_most[pairs - left] = max(largest, 1)
    return LEVEL / at_most


@cache
def _true_at_once(groups: int) -> int:
    """Return a bit mask in which bit i is set if exactly i pairs of groups can be equal and all
    others differ.
    """
    if groups < 2:
        return 1
    found = 0
    for together in range(1, groups + 1):
        found |= _true_at_once(groups - together) << comb(together, 2)
    return found
