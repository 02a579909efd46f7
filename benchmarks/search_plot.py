"""Plot the regret of replayed searches versus the number of trained epochs."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping

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


def regret_figure(regret: Mapping[str, Floats], table: Table) -> Figure:
    """Plot the median regret for each method. For some methods, also plot the range of the middle
    80% of repetitions.

    The range is shown for the best method, for random search without pruning, and for search in
    batches.

    Args:
        regret: arrays (repetitions, epochs + 1), keyed by method, with the regret after each number
            of trained epochs, as a fraction.
    """
    ways = sorted(
        regret, key=lambda name: float(np.median(regret[name][:, -1]) + regret[name][:, -1].mean())
    )
    banded = {ways[0], *(name for name in ways if name.startswith(("random, none", "batches")))}
    figure = Figure(figsize=(9, 5))
    axes = figure.subplots(gridspec_kw={"left": 0.105, "right": 0.73, "bottom": 0.115, "top": 0.9})
    spread, _ = table.spread()
    for name, values in regret.items():
        epochs = np.arange(values.shape[1])
        share = epochs / table.grid_epochs
        kept = share >= FIRST
        points = np.maximum(values[:, kept] * 100, FLOOR)
        n = list(regret).index(name)
        dashed = "--" if name.startswith("random") else ":" if name.startswith("batches") else "-"
        width = 2.0 if name in banded else 1.2
        color = COLORS(n % 10)
        axes.plot(
            share[kept], np.median(points, 0), dashed, color=color, linewidth=width, label=name
        )
        if name in banded:
            low, high = np.quantile(points, [0.1, 0.9], axis=0)
            axes.fill_between(share[kept], low, high, color=color, alpha=0.12, linewidth=0)
    if math.isfinite(spread):
        _spread_line(axes, spread * 100)
    axes.set_xscale("log")
    axes.set_yscale("log")
    top = (
        max(
            float(np.median(values[:, round(FIRST * table.grid_epochs)]))
            for values in regret.values()
        )
        * 100
    )
    axes.set_ylim(FLOOR * 0.9, min(max(top, 1.0), 10.0))
    axes.set_xlim(FIRST, max(values.shape[1] - 1 for values in regret.values()) / table.grid_epochs)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value * 100:g}%"))
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, place: f"{value:g}" if value > FLOOR else f"≤ {value:g}")
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(f"epochs trained, as a share of the grid's {table.grid_epochs:,}")
    axes.set_ylabel("regret, points of validation accuracy")
    handles, labels = axes.get_legend_handles_labels()
    order = [labels.index(name) for name in ways]
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
    figure.suptitle(
        "Searches replayed on FashionMNIST's curves: median, and 10 to 90% of the repetitions",
        fontsize=11,
    )
    return figure


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
