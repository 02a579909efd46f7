"""The axis of a figure that shows the metric of a comparison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from lenet_exp.comparison.compare import Comparison
from lenet_exp.config.metric import Metric

# Markers of the lines whose values are results; "" is a line without markers. Confidence intervals
# are drawn as lines with the marker "None".
RESULT_MARKERS = {"o", ".", "|", ""}

# Distances in points from an arrow at the end of the axis to its value, and between values that
# would overlap.
SPACING_ACROSS = 34
SPACING_UP = 9

VALUE_BOX = {"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.5}

Limits = tuple[float, float]


def metric_label(comparison: Comparison) -> str:
    """Return the label of the metric's axis, such as `best validation accuracy`."""
    return f"{comparison.epoch} validation {comparison.metric.name}"


def metric_limits(metric: Metric, values: Sequence[float], times: float = 4) -> Limits:
    """Return axis limits that include the best value and most other values.

    Very low values are excluded, so that a few failures do not flatten the plot. If smaller is
    better, all values are included.

    For example, accuracies of 0.98, 0.97, and 0.1 have a median distance of 0.01 from the best, so
    the axis begins near 0.98 - 4 * 0.01 = 0.94.

    Args:
        times: maximum distance of the lowest value from the best one, as a multiple of the median
            distance.
    """
    best = max(values)
    low = min(values)
    if metric.larger:
        median_distance = best - float(np.median(values))
        low = max(low, best - max(times * median_distance, 1e-4))
    margin = 0.06 * max(best - low, 1e-4)
    return low - margin, best + margin


def set_up_metric_axis(
    axes: Axes,
    metric: Metric,
    limits: Limits,
    label: str,
    *,
    across: bool = False,
    only_last: bool = False,
    named: bool = False,
) -> None:
    """Set up the axis of the metric, and mark each value below it with an arrow and the value.

    Args:
        across: whether the metric is on the x axis.
        only_last: whether to mark only the last point of each line.
        named: whether to write the name of the line before the value.
    """
    axis: Axis
    if across:
        axis = axes.xaxis
        axes.set_xlim(*limits)
    else:
        axis = axes.yaxis
        axes.set_ylim(*limits)
    if metric.percent:
        axis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    axis.set_label_text(label)

    lines = [line for line in axes.lines if str(line.get_marker()) in RESULT_MARKERS]
    marks = _LowValueMarks(axes, metric, limits[0], across=across)
    for line in lines:
        name = f"{line.get_label()} " if named else ""
        marks.add(line, name, only_last=only_last)


class _LowValueMarks:
    """Draws an arrow at the end of the metric's axis for each value below the axis.

    Args:
        axes: the axes, which contain all lines.
        low: the lowest value on the metric's axis.
        across: whether the metric is on the x axis.
    """

    def __init__(self, axes: Axes, metric: Metric, low: float, *, across: bool) -> None:
        self._axes = axes
        self._metric = metric
        self._low = low
        self._across = across

        # The place of a point is its coordinate on the other axis.
        self._value_column = 0 if across else 1
        self._place_column = 1 if across else 0

        # Values of arrows that are nearer to each other than this are written next to each other.
        points = np.concatenate([np.asarray(line.get_xydata()) for line in axes.lines])
        self._near = max(np.ptp(points[:, self._place_column]) / 10, 1e-9)
        self._marks_at: Counter[int] = Counter()

    def add(self, line: Line2D, name: str, *, only_last: bool) -> None:
        """Mark the low values of a line.

        Args:
            name: text before each value.
            only_last: whether to mark only the last point.
        """
        points = np.asarray(line.get_xydata())  # (n, 2)
        if only_last:
            points = points[-1:]
        is_low = points[:, self._value_column] < self._low

        for point in points[is_low].tolist():
            value = point[self._value_column]
            text = f"{name}{self._metric.plain(value)}"
            self._mark(point[self._place_column], text, line.get_color())

    def _mark(self, place: float, text: str, color: object) -> None:
        position = round(place / self._near)
        marks_before = self._marks_at[position]
        self._marks_at[position] += 1

        if self._across:
            marker = "<"
            edge = (self._low, place)
            offset = (SPACING_ACROSS * (marks_before + 0.2), 0.0)
            horizontal, vertical = "left", "center"
        else:
            marker = "v"
            edge = (place, self._low)
            offset = (0.0, SPACING_UP * (marks_before + 0.7))
            horizontal, vertical = "center", "bottom"

        self._axes.plot(*edge, marker, color=color, markersize=5, clip_on=False)
        self._axes.annotate(
            text,
            edge,
            offset,
            textcoords="offset points",
            color=color,
            fontsize=8,
            ha=horizontal,
            va=vertical,
            zorder=2.4,
            bbox=VALUE_BOX,
        )
