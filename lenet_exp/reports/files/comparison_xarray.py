"""Converts comparisons to an `xarray.Dataset`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from lenet_exp.comparison.compare import Comparison
from lenet_exp.errors import ConfigError


def to_xarray(comparisons: Sequence[Comparison]) -> Any:
    """Return the results of comparisons with a dimension for each flag that differs and one for the seeds.

    Several datasets and several splits have a dimension, too. The variables are `val_accuracy`, `best_epoch`,
    `seconds_to_best`, `outcome` and, once a run has a test result, `test_accuracy`. Accuracies are fractions. Values
    without a finished run are NaN; without any run, the outcome is empty.

    Raises:
        ConfigError: xarray is not installed, or the runs belong to a search.
    """
    try:
        import xarray  # noqa: F401  # pandas imports it, too
    except ImportError as e:
        raise ConfigError("as_xarray=True: requires xarray; run: pip install 'lenet_exp[xarray]'") from e
    if any(c.has_trials for c in comparisons):
        raise ConfigError("as_xarray=True: a search is not a grid; use the table instead")
    flags = list(dict.fromkeys(flag for c in comparisons for flag in c.flags))
    rows = []
    pairs = [(comparison, group) for comparison in comparisons for group in comparison.groups]
    for comparison, group in pairs:
        shared: dict[str, str | float | None] = {flag: group.value(flag) for flag in flags}
        for run in group.runs:
            row = shared | {"dataset": comparison.dataset}
            row |= {"seed": run.seed, "split": run.split, "outcome": str(run.outcome)}
            known = (group.accuracy.get(run.replicate), run.best_epoch, run.seconds_to_best, run.test_accuracy())
            names = ("val_accuracy", "best_epoch", "seconds_to_best", "test_accuracy")
            rows.append(row | dict(zip(names, known if run in group.finished else [None] * 4, strict=True)))
    table = pd.DataFrame(rows).astype(dict.fromkeys(names, float))
    for flag in flags:
        numbers = pd.to_numeric(table[flag], errors="coerce")
        table[flag] = numbers if numbers.notna().all() else table[flag]
    axes = [a for a in ("dataset", *flags, "seed", "split") if a in {*flags, "seed"} or table[a].nunique() > 1]
    table = table.drop_duplicates(axes, keep="last").set_index(axes)
    shown = ["val_accuracy", "best_epoch", "seconds_to_best", "outcome"]
    found = table[[*shown, *["test_accuracy"] * any(c.tested for c in comparisons)]].to_xarray()
    return found.assign(outcome=found.outcome.fillna("").astype(str)).assign_attrs(epoch=str(comparisons[0].by))
