"""The largest full part of a grid: the same seeds for every combination of the remaining values of
the flags.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenet_exp.comparison.effects import changing_together, value_order
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.statistics.pairs import Floats
from lenet_exp.config.params import rounded

LEAST_SEEDS = 3  # minimum number of seeds for each combination


@dataclass(frozen=True, kw_only=True)
class FullGrid:
    """Accuracies of all combinations of values, each with the same seeds.

    Attributes:
        flags: names of the flags that have at least two values. Flags that change together count as
            one flag, such as `optimizer.lr with batch_size`.
        levels: the values of each flag. Numbers are in ascending order.
        values: accuracies, as fractions, with shape (values of the first flag, ..., values of the
            last flag, seeds).
        left_out: values and seeds that are not in the grid, such as `optimizer.lr=1` or `seed=3`.
        lost: number of finished runs that are not in the grid.
    """

    flags: tuple[str, ...]
    levels: tuple[tuple[str, ...], ...]
    values: Floats
    left_out: tuple[str, ...]
    lost: int


def largest_full_grid(groups: Sequence[Group], flags: Sequence[str]) -> FullGrid | None:
    """Return the largest full part of a grid; None if it has fewer than two flags with two values,
    or three seeds.

    If the grid is not full, the value or seed with the largest fraction of missing runs is left
    out, until the rest is full. All runs of a configuration with diverged runs or with fewer than
    three seeds count as missing.
    """
    factors = changing_together(groups, flags)
    stable = [g for g in groups if g.n >= LEAST_SEEDS and not g.diverged]
    rows = [
        (*(_value(g, factor) for factor in factors), _seed(*r)) for g in stable for r in g.accuracy
    ]
    if len(factors) < 2 or len(set(rows)) < max(len(rows), 1):
        return None
    names = [*(" with ".join(factor) for factor in factors), "seed"]
    levels = [sorted({row[k] for row in rows}, key=value_order) for k in range(len(names))]
    cells = np.array([[levels[k].index(value) for k, value in enumerate(row)] for row in rows])
    accuracies = np.array([value for g in stable for value in g.accuracy.values()])
    left_out: list[str] = []
    while len(cells) < math.prod(len(np.unique(column)) for column in cells.T):
        found = _emptiest(cells)
        if found is None:
            return None
        axis, level = found
        left_out.append(f"{names[axis]}={rounded(levels[axis][level])}")
        keep = cells[:, axis] != level
        cells, accuracies = cells[keep], accuracies[keep]
    kept = [np.unique(column) for column in cells.T]
    varied = [k for k in range(len(factors)) if len(kept[k]) > 1]
    if len(varied) < 2 or len(kept[-1]) < LEAST_SEEDS:
        return None
    values = np.empty([len(column) for column in kept])
    values[tuple(np.searchsorted(*pair) for pair in zip(kept, cells.T, strict=True))] = accuracies
    return FullGrid(
        flags=tuple(names[k] for k in varied),
        levels=tuple(tuple(levels[k][i] for i in kept[k]) for k in varied),
        values=values.reshape([*(len(kept[k]) for k in varied), -1]),
        left_out=tuple(left_out),
        lost=sum(g.n for g in groups) - len(cells),
    )


def _value(group: Group, factor: Sequence[str]) -> str:
    first, *others = (group.value(flag) for flag in factor)
    return f"{first} ({', '.join(others)})" if others else first


def _seed(seed: int, split: int) -> str:
    return f"{seed}" + (f" split_seed={split}" if split else "")


def _emptiest(cells: NDArray[np.int64]) -> tuple[int, int] | None:
    """Return the axis and the level with the smallest fraction of runs; None if no level can be
    left out.

    Args:
        cells: the level of each run on each axis, with shape (runs, axes). The last axis contains
            the seeds.
    """
    sizes = [len(np.unique(column)) for column in cells.T]
    for fewest in (
        2,
        1,
    ):  # a flag keeps two values if another value or a seed can be left out instead
        found = []
        for axis, column in enumerate(cells.T):
            if sizes[axis] > (LEAST_SEEDS if axis == len(sizes) - 1 else fewest):
                levels, runs = np.unique(column, return_counts=True)
                least = int(runs.argmin())
                full = math.prod(sizes) / sizes[axis]
                found.append((runs[least] / full, runs[least], axis, int(levels[least])))
        if found:
            return min(found)[2:]
    return None
