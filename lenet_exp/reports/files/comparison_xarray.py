"""Converts comparisons to an `xarray.Dataset`."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.effects import number, value_order
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.runs import ComparedRun
from lenet_exp.errors import ConfigError

if TYPE_CHECKING:
    import xarray

MOST_CELLS = 10_000_000


def to_xarray(comparisons: Sequence[Comparison]) -> xarray.Dataset:
    """Return the results of comparisons with a dimension for each flag that differs and one for the seeds.

    Several datasets and several splits have a dimension, too. The variables are `val_accuracy`, `best_epoch`,
    `seconds_to_best`, `outcome` and, once a run has a test result, `test_accuracy`. Accuracies are fractions. Values
    without a finished run are NaN; without any run, the outcome is empty.

    Raises:
        ConfigError: xarray is not installed, the runs belong to a search, or there are too many combinations.
    """
    try:
        import xarray
    except ImportError as e:
        raise ConfigError("as_xarray=True: requires xarray; run: pip install 'lenet_exp[xarray]'") from e
    if any(c.has_trials for c in comparisons):
        raise ConfigError("as_xarray=True: a search is not a grid; use the table instead")
    flags = list(dict.fromkeys(flag for c in comparisons for flag in c.flags))
    cells: list[tuple[dict[str, Any], ComparedRun, Group]] = []
    for c in comparisons:
        for group in c.groups:
            shared = {"dataset": c.dataset, **{f: group.value(f) for f in flags}}
            cells += [(shared | {"seed": run.seed, "split": run.split}, run, group) for run in group.runs]
    axes = {
        name: sorted({cell[name] for cell, _, _ in cells}, key=lambda value: value_order(str(value)))
        for name in ("dataset", *flags, "seed", "split")
    }
    axes = {name: values for name, values in axes.items() if len(values) > 1 or name in {*flags, "seed"}}
    shape = tuple(map(len, axes.values()))
    if prod(shape) > MOST_CELLS:
        raise ConfigError(f"as_xarray=True: {prod(shape):,} combinations of flags; must be at most {MOST_CELLS:,}")
    at = {name: {value: i for i, value in enumerate(values)} for name, values in axes.items()}
    names = ["val_accuracy", "best_epoch", "seconds_to_best"] + ["test_accuracy"] * any(c.tested for c in comparisons)
    filled = {name: np.full(shape, np.nan) for name in names}
    outcome = np.full(shape, "", dtype=object)
    for cell, run, group in cells:
        index = tuple(at[name][cell[name]] for name in axes)
        outcome[index] = str(run.outcome)
        if run in group.finished:
            known = (group.accuracy.get(run.replicate), run.best_epoch, run.seconds_to_best, run.test_accuracy())
            for array, value in zip(filled.values(), known, strict=False):
                array[index] = np.nan if value is None else value
    variables: dict[str, Any] = {name: (tuple(axes), array) for name, array in filled.items()}
    return xarray.Dataset(
        variables | {"outcome": (tuple(axes), outcome.astype(str))},
        coords={name: _numbers(values) for name, values in axes.items()},
        attrs={"epoch": str(comparisons[0].by)},
    )


def _numbers(values: list[Any]) -> list[Any]:
    """Return values as numbers if all of them are numbers."""
    numbers = [number(str(value)) for value in values]
    if any(n is None for n in numbers):
        return values
    return [int(value) if str(value).isdigit() else n for value, n in zip(values, numbers, strict=True)]
