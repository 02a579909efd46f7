"""Plot the regret of replayed searches versus the number of trained epochs."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.search_replay import Floats, Table

COLORS = colormaps["tab10"]
FLOOR = 0.01  # minimum of the logarithmic axis, in percentage points
LEGEND = 28  # maximum number of characters in a line of the legend
FIRST = 0.01  # fraction of the grid's epochs at which the figure begins


TITLE = "Searches replayed on FashionMNIST's curves: median, and 10 to 90% of the repetitions"


def regret_figure(regret: Mapping[str, Floats], table: Table) -> Figure:
    """Plot the median regret for each method. For some methods, also plot the range of the middle
    80% of repetitions.

    The range is shown for the best method, for random search without pruning, and for search in
    batches.

    Args:
        regret: arrays (repetitions, epochs + 1), keyed by method, with the regret after each number
            of trained epochs, as a fraction.
    """
    best_first = sorted(regret, key=lambda name: _final_regret(regret[name]))
    with_range = {best_first[0]}
    for name in best_first:
        if name.startswith(("random, none", "batches")):
            with_range.add(name)

    figure = Figure(figsize=(9, 5))
    axes = figure.subplots(gridspec_kw={"left": 0.105, "right": 0.73, "bottom": 0.115, "top": 0.9})
    for number, (name, values) in enumerate(regret.items()):
        epochs = np.arange(values.shape[1])
        share = epochs / table.grid_epochs
        in_figure = share >= FIRST
        points = np.maximum(values[:, in_figure] * 100, FLOOR)
        color = COLORS(number % 10)
        axes.plot(
            share[in_figure],
            np.median(points, 0),
            _line_style(name),
            color=color,
            linewidth=2.0 if name in with_range else 1.2,
            label=name,
        )
        if name in with_range:
            low, high = np.quantile(points, [0.1, 0.9], axis=0)
            axes.fill_between(share[in_figure], low, high, color=color, alpha=0.12, linewidth=0)
    spread, _ = table.spread()
    if math.isfinite(spread):
        _spread_line(axes, spread * 100)

    _scale(axes, regret, table)
    _legend(axes, best_first)
    figure.suptitle(TITLE, fontsize=11)
    return figure


def _final_regret(values: Floats) -> float:
    """Return the sum of the median and the mean of the regret at the end."""
    return float(np.median(values[:, -1]) + values[:, -1].mean())


def _line_style(name: str) -> str:
    if name.startswith("random"):
        return "--"
    if name.startswith("batches"):
        return ":"
    return "-"


def _scale(axes: Axes, regret: Mapping[str, Floats], table: Table) -> None:
    """Set the scales, limits, and labels of both axes."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    first = round(FIRST * table.grid_epochs)
    highest = max(float(np.median(values[:, first])) for values in regret.values()) * 100
    axes.set_ylim(FLOOR * 0.9, min(max(highest, 1.0), 10.0))
    most_epochs = max(values.shape[1] - 1 for values in regret.values())
    axes.set_xlim(FIRST, most_epochs / table.grid_epochs)

    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value * 100:g}%"))
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(_regret_label))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(f"epochs trained, as a share of the grid's {table.grid_epochs:,}")
    axes.set_ylabel("regret, points of validation accuracy")


def _regret_label(value: float, place: int) -> str:
    del place
    if value > FLOOR:
        return f"{value:g}"
    return f"≤ {value:g}"  # smaller values are drawn at the minimum of the axis


def _legend(axes: Axes, names: Sequence[str]) -> None:
    """Add a legend with the methods in this order."""
    handles, labels = axes.get_legend_handles_labels()
    order = [labels.index(name) for name in names]
    axes.legend(
        [handles[i] for i in order],
        [textwrap.fill(labels[i], LEGEND) for i in order],
        frameon=False,
        fontsize=8,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        title="median, best at the end first",
        title_fontsize=8,
        alignment="left",
    )


def _spread_line(axes: Axes, points: float) -> None:
    gray = "#6b7280"
    axes.axhline(points, color=gray, linewidth=1, linestyle=(0, (5, 3)))
    axes.annotate(
        "one seed's standard deviation",
        (0, points),
        xycoords=("axes fraction", "data"),
        xytext=(4, -10),
        textcoords="offset points",
        fontsize=8,
        color=gray,
    )
