"""Compares the values of one flag, averaged over all values of the other flags."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

from lenet_exp.comparison.statistics.intervals import simultaneous_intervals
from lenet_exp.comparison.statistics.multiplicity import shaffer_levels, step_down
from lenet_exp.comparison.statistics.pairs import AccuracyTable, compare_all_pairs
from lenet_exp.comparison.studies.full_grid import FullGrid

MOST_VALUES = (
    5  # flags with more values are not compared, because the number of pairs grows with the square
)


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
    found = []
    for axis, (flag, levels) in enumerate(zip(grid.flags, grid.levels, strict=True)):
        if len(levels) > MOST_VALUES:
            continue
        means = (
            np.moveaxis(sign * grid.values, axis, 0)
            .reshape(len(levels), -1, grid.values.shape[-1])
            .mean(axis=1)
        )
        order, seeds = np.argsort(-means.mean(axis=1), kind="stable"), np.arange(means.shape[1])
        its = compare_all_pairs(AccuracyTable(means[order], seeds, np.zeros_like(seeds)))
        differs = step_down(its.p, shaffer_levels(len(levels)))
        columns = (its.points, *simultaneous_intervals(its, comb(len(levels), 2)), its.p)
        for (one, other), numbers, differ in zip(
            combinations(order, 2), zip(*columns, strict=True), differs, strict=True
        ):
            points, low, high, p = map(float, numbers)
            names = {"flag": flag, "better": levels[one], "worse": levels[other]}
            found.append(
                ValueContrast(**names, points=points, low=low, high=high, p=p, differs=bool(differ))
            )
    return found
