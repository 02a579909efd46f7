"""Compares the values of one flag, averaged over all values of the other flags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

from lenet_exp.comparison.statistics.intervals import simultaneous_intervals
from lenet_exp.comparison.statistics.multiplicity import shaffer_levels, step_down
from lenet_exp.comparison.statistics.pairs import AccuracyTable, Floats, compare_all_pairs
from lenet_exp.comparison.studies.full_grid import FullGrid

# Flags with more values are not compared, because the number of pairs grows with the square.
MOST_VALUES = 5


@dataclass(frozen=True, kw_only=True)
class ValueContrast:
    """The difference between two values of a flag, averaged over all values of the other flags.

    Attributes:
        better, worse: the two values of the flag.
        points: mean accuracy (a fraction) with `better` minus mean accuracy with `worse`; for a
            metric of which smaller values are better, with the other sign.
        low, high: simultaneous 95% confidence interval for all pairs of values of the flag
            (Bonferroni).
        p: two-sided p-value of a paired t test over seeds, not corrected.
        differs: whether the values differ significantly, corrected for all pairs of values of the
            flag (Shaffer).
    """

    flag: str
    better: str
    worse: str
    points: float
    low: float
    high: float
    p: float
    differs: bool


def value_contrasts(grid: FullGrid, sign: int) -> list[ValueContrast]:
    """Return the contrasts of all pairs of values of each flag with at most five values.

    Args:
        sign: 1 if larger values of the metric are better; otherwise, -1.
    """
    contrasts = []
    seeds = grid.values.shape[-1]
    for axis, (flag, levels) in enumerate(zip(grid.flags, grid.levels, strict=True)):
        if len(levels) > MOST_VALUES:
            continue
        by_level = np.moveaxis(sign * grid.values, axis, 0)  # shape (levels, ..., seeds)
        means = by_level.reshape(len(levels), -1, seeds).mean(axis=1)
        contrasts += _contrasts_of_flag(flag, levels, means)
    return contrasts


def _contrasts_of_flag(flag: str, levels: Sequence[str], means: Floats) -> list[ValueContrast]:
    """Return the contrasts of all pairs of values of a flag, the better value of each pair first.

    Args:
        means: mean score with each value and each seed, with shape (levels, seeds); larger is
            better.
    """
    order = np.argsort(-means.mean(axis=1), kind="stable")  # best value first
    seeds = np.arange(means.shape[1])
    pairs = compare_all_pairs(AccuracyTable(means[order], seeds, splits=np.zeros_like(seeds)))
    differs = step_down(pairs.p, shaffer_levels(len(levels)))
    low, high = simultaneous_intervals(pairs, comb(len(levels), 2))

    contrasts = []
    for position, (better, worse) in enumerate(combinations(order, 2)):
        contrast = ValueContrast(
            flag=flag,
            better=levels[better],
            worse=levels[worse],
            points=float(pairs.points[position]),
            low=float(low[position]),
            high=float(high[position]),
            p=float(pairs.p[position]),
            differs=bool(differs[position]),
        )
        contrasts.append(contrast)
    return contrasts
