"""The learning curves of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.part import PartOfComparison
from lenet_exp.reports.files.figure_layout import (
    EXCLUDED_COLOR,
    LINE_COLORS,
    MOST_CONFIGURATIONS,
    FigureLayout,
)
from lenet_exp.reports.files.metric_axis import metric_limits, set_up_metric_axis
from lenet_exp.reports.words.race_words import listed_seeds_words

# Maximum number of configurations whose curves all have a color.
MOST_COLORED = 6

# Number of configurations whose curves have a color if there are more than `MOST_COLORED`.
COLORED_OF_MANY = 4

# Curves with fewer epochs have a dot at each epoch.
MANY_EPOCHS = 30


def curves_figure(comparison: Comparison, layout: FigureLayout) -> Figure | None:
    """Draw validation accuracy versus epoch for the best configurations: the mean and range over
    seeds.

    If there are more than six, the others are gray lines without ranges, as are those outside a
    part of a comparison. Return None if no curves are available.
    """
    colored = [group for group in comparison.groups if group.n]
    if len(colored) > MOST_COLORED:
        colored = colored[:COLORED_OF_MANY]
    names = layout.names(comparison, colored)

    title = f"{comparison.dataset}: mean and range over seeds, best {len(colored)}"
    title += listed_seeds_words(comparison)
    height = 2.2 + 0.08 * len(names) if layout.for_paper else 4.4
    figure, axes = layout.figure(title, height)

    values: list[float] = []
    late_means: list[float] = []  # without the first third of the epochs
    for n, (name, group) in enumerate(zip(names, colored, strict=True)):
        curves = _curves(group)
        if not curves.size:
            continue
        means = _draw_mean_and_range(axes, curves, name, LINE_COLORS(n))
        values += curves[~np.isnan(curves)].tolist()
        late_means += means[len(means) // 3 :].tolist()
    if not late_means:
        return None

    _draw_others(axes, _others(comparison, colored))

    # The axis leaves out failures, but includes the best epoch of each run.
    low, high = metric_limits(comparison.metric, late_means)
    if comparison.metric.larger:
        high = max(values)
    else:
        low = min(values)
    margin = 0.06 * max(high - low, 1e-4)
    limits = (low - margin, high + margin)
    label = f"validation {comparison.metric.name}"
    set_up_metric_axis(axes, comparison.metric, limits, label, only_last=True)

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    layout.add_legend(figure)
    return figure


def _curves(group: Group) -> NDArray[np.float64]:
    """Return the curves of a configuration's runs, with shape (epochs, runs).

    Shorter curves end with NaN. The array is empty if no run has a curve.
    """
    curves = [curve for curve in group.curves() if len(curve)]
    return np.array(list(zip_longest(*curves, fillvalue=np.nan)), dtype=np.float64)


def _draw_mean_and_range(
    axes: Axes, curves: NDArray[np.float64], name: str, color: object
) -> NDArray[np.float64]:
    """Draw the mean and the range over runs in each epoch, and return the means.

    Args:
        curves: values with shape (epochs, runs), with NaN where a run has no value.
    """
    epochs = np.arange(1, len(curves) + 1)
    means: NDArray[np.float64] = np.nanmean(curves, axis=1)
    lowest = np.nanmin(curves, axis=1)
    highest = np.nanmax(curves, axis=1)

    marker = "." if len(means) < MANY_EPOCHS else ""
    axes.plot(epochs, means, color=color, marker=marker, linewidth=1.4, label=name)
    axes.fill_between(epochs, lowest, highest, color=color, alpha=0.15, lw=0)
    return means


def _others(comparison: Comparison, colored: Sequence[Group]) -> list[Group]:
    """Return the configurations whose curves are gray; for a part, also those outside the part."""
    whole = comparison
    if isinstance(comparison, PartOfComparison):
        whole = comparison.whole
    others = [group for group in whole.groups if group.n and group not in colored]
    return others[: MOST_CONFIGURATIONS - len(colored)]


def _draw_others(axes: Axes, groups: Sequence[Group]) -> None:
    """Draw gray mean curves, of which the legend lists the first as `others`."""
    label = "others"
    for group in groups:
        curves = _curves(group)
        if not curves.size:
            continue
        epochs = np.arange(1, len(curves) + 1)
        means = np.nanmean(curves, axis=1)
        axes.plot(epochs, means, color=EXCLUDED_COLOR, lw=0.6, zorder=1, label=label)
        label = ""
