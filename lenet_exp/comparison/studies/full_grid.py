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
    runs, accuracies = _runs_of(groups, factors)
    has_duplicates = len(set(runs)) < len(runs)
    if len(factors) < 2 or not runs or has_duplicates:
        return None

    # The axes of the grid are the factors and, last, the seeds.
    names = [*(" with ".join(factor) for factor in factors), "seed"]
    levels = [sorted(set(values), key=value_order) for values in zip(*runs, strict=True)]
    cells = _cells_of(runs, levels)
    left_out: list[str] = []
    while not _is_full(cells):
        emptiest = _emptiest_level(cells)
        if emptiest is None:
            return None
        axis, level = emptiest
        left_out.append(f"{names[axis]}={rounded(levels[axis][level])}")
        keep = cells[:, axis] != level
        cells = cells[keep]
        accuracies = accuracies[keep]

    # Axes with a single remaining level are dropped.
    remaining = [np.unique(column) for column in cells.T]
    sizes = [len(axis_levels) for axis_levels in remaining]
    varied = [axis for axis in range(len(factors)) if sizes[axis] > 1]
    if len(varied) < 2 or sizes[-1] < LEAST_SEEDS:
        return None

    remaining_levels = []
    for axis in varied:
        remaining_levels.append(tuple(levels[axis][i] for i in remaining[axis]))
    values = np.empty(sizes)
    values[_positions(cells, remaining)] = accuracies
    return FullGrid(
        flags=tuple(names[axis] for axis in varied),
        levels=tuple(remaining_levels),
        values=values.reshape([*(sizes[axis] for axis in varied), -1]),
        left_out=tuple(left_out),
        lost=sum(group.n for group in groups) - len(cells),
    )


def _runs_of(
    groups: Sequence[Group], factors: Sequence[Sequence[str]]
) -> tuple[list[tuple[str, ...]], Floats]:
    """Return the runs that can be in a full grid, each as its values of the factors and its seed,
    and the accuracy of each run.
    """
    runs = []
    accuracies = []
    for group in groups:
        if group.n < LEAST_SEEDS or group.diverged:
            continue
        values = [_value(group, factor) for factor in factors]
        for (seed, split), accuracy in group.accuracy.items():
            runs.append((*values, _seed(seed, split)))
            accuracies.append(accuracy)
    return runs, np.array(accuracies)


def _value(group: Group, factor: Sequence[str]) -> str:
    """Return a group's value of a factor, such as `0.1` or, for flags that change together,
    `0.1 (64)`.
    """
    first, *others = (group.value(flag) for flag in factor)
    if not others:
        return first
    return f"{first} ({', '.join(others)})"


def _seed(seed: int, split: int) -> str:
    if not split:
        return f"{seed}"
    return f"{seed} split_seed={split}"


def _cells_of(runs: Sequence[Sequence[str]], levels: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """Return the index of each run's value among the levels of each axis, with shape (runs, axes).

    For example, with the levels `["relu", "selu"]`, `["0.1", "1"]`, and `["0", "1", "2"]`, the run
    `("selu", "0.1", "2")` is in the cell `[1, 0, 2]`.
    """
    cells = []
    for run in runs:
        cells.append([levels[axis].index(value) for axis, value in enumerate(run)])
    return np.array(cells)


def _is_full(cells: NDArray[np.int64]) -> bool:
    """Return whether there is a run for every combination of the remaining levels."""
    combinations = math.prod(len(np.unique(column)) for column in cells.T)
    return len(cells) >= combinations


def _positions(
    cells: NDArray[np.int64], remaining: Sequence[NDArray[np.int64]]
) -> tuple[NDArray[np.intp], ...]:
    """Return the positions of runs among the remaining levels, with shape (runs,) for each axis."""
    columns = zip(remaining, cells.T, strict=True)
    return tuple(np.searchsorted(levels, column) for levels, column in columns)


def _emptiest_level(cells: NDArray[np.int64]) -> tuple[int, int] | None:
    """Return the axis and the level with the smallest fraction of runs; None if no level can be
    left out.

    Args:
        cells: the level of each run on each axis, with shape (runs, axes). The last axis contains
            the seeds.
    """
    sizes = [len(np.unique(column)) for column in cells.T]
    flags = len(sizes) - 1
    # A flag keeps two values if another value or a seed can be left out instead.
    for fewest_values in (2, 1):
        fewest = [fewest_values] * flags + [LEAST_SEEDS]
        candidates = []
        for axis, column in enumerate(cells.T):
            if sizes[axis] <= fewest[axis]:
                continue
            levels, runs = np.unique(column, return_counts=True)
            least = int(runs.argmin())
            runs_if_full = math.prod(sizes) / sizes[axis]
            fraction = runs[least] / runs_if_full
            candidates.append((fraction, runs[least], axis, int(levels[least])))

        if candidates:
            _, _, axis, level = min(candidates)
            return axis, level
    return None
