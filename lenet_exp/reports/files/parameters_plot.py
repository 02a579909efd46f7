"""The figure of accuracy versus number of parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import Group
from lenet_exp.reports.files.figure_layout import (
    BEST_COLOR,
    EXCLUDED_COLOR,
    MOST_CONFIGURATIONS,
    FigureLayout,
)
from lenet_exp.reports.files.metric_axis import metric_label, metric_limits, set_up_metric_axis

# Positions of a label relative to its point, in points: beside it, and above or below it. The first
# of equally good positions is chosen.
LABEL_DISTANCE = 6
LABEL_HEIGHTS = (4, -9, 14, -19, 24, -29)

# Networks of very different sizes differ more in accuracy than the configurations of other figures.
MOST_DISTANCES = 10

LABEL_LINE = {"arrowstyle": "-", "color": EXCLUDED_COLOR, "linewidth": 0.5}

Point = tuple[int, float]


def parameters_figure(comparison: Comparison, layout: FigureLayout) -> Figure | None:
    """Draw accuracy versus number of parameters, on a logarithmic axis: means with 95% confidence
    intervals, and a line through the Pareto front. Ranks stand for names that are too long.

    Return None if no number of parameters is known.
    """
    points: list[Point] = []
    groups = []
    for group in comparison.groups:
        if group.n and group.parameters is not None:
            groups.append(group)
            points.append((group.parameters, group.mean))
    if not groups:
        return None
    shown_groups = groups[:MOST_CONFIGURATIONS]
    shown_points = points[:MOST_CONFIGURATIONS]

    title = f"{comparison.dataset}: mean (dot) and 95% confidence interval (bar) over seeds"
    if len(shown_groups) == MOST_CONFIGURATIONS:
        title += f", best {MOST_CONFIGURATIONS}"
    figure, axes = layout.figure(title, 2.6 if layout.for_paper else 4.4)

    names = _names_or_ranks(comparison, shown_groups, layout)
    values = []
    labels = []
    for name, group, point in zip(names, shown_groups, shown_points, strict=True):
        values.append(group.mean)
        values += [end for end in group.interval if not math.isnan(end)]
        labels.append(_draw_configuration(axes, name, group, point))

    limits = metric_limits(comparison.metric, values, MOST_DISTANCES)
    set_up_metric_axis(axes, comparison.metric, limits, metric_label(comparison), named=True)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("parameters")

    _place_labels(labels, figure, axes)
    front = _pareto_front(points, comparison.metric.sign)
    axes.plot(*zip(*front, strict=True), color=EXCLUDED_COLOR, linewidth=1, zorder=1)
    return figure


def _names_or_ranks(
    comparison: Comparison, groups: Sequence[Group], layout: FigureLayout
) -> list[str]:
    """Return the names of configurations, or their ranks if a name is too long for a label."""
    names = layout.names(comparison, groups)
    if max(map(len, names)) <= layout.name_length:
        return names
    return [f"#{1 + comparison.groups.index(group)}" for group in groups]


def _draw_configuration(axes: Axes, name: str, group: Group, point: Point) -> Annotation:
    """Draw the mean and the interval of a configuration, and return its label."""
    parameters, mean = point
    if not math.isnan(group.interval[0]):
        axes.plot(
            [parameters, parameters], group.interval, color=BEST_COLOR, linewidth=2.2, alpha=0.55
        )
    axes.plot([parameters], [mean], "o", color=BEST_COLOR, markersize=5.5, label=name)
    return axes.annotate(
        name, point, (0, 0), textcoords="offset points", fontsize=8, arrowprops=LABEL_LINE
    )


def _pareto_front(points: Sequence[Point], sign: float) -> list[Point]:
    """Return the points of which no other one is both smaller and at least as good.

    Args:
        points: number of parameters, and value of the metric.
        sign: 1 if larger values are better, otherwise -1.
    """
    front: list[Point] = []
    for parameters, value in sorted(points, key=lambda point: (point[0], -sign * point[1])):
        if not front or sign * value > sign * front[-1][1]:
            front.append((parameters, value))
    return front


def _place_labels(labels: Sequence[Annotation], figure: Figure, axes: Axes) -> None:
    """Move each label to the side of its point where it overlaps points and the labels before it
    the least.
    """
    for label in labels:
        label.set_in_layout(False)  # otherwise, long names leave no room for the axes
    figure.draw_without_rendering()  # computes the positions of the points

    taken = [line.get_window_extent().padded(2) for line in axes.lines]
    for label in labels:
        overlaps = {}
        for height in LABEL_HEIGHTS:
            for side in ("left", "right"):
                box = _move(label, side, height)
                overlaps[side, height] = _overlap(box, taken, axes)

        side, height = min(overlaps, key=overlaps.__getitem__)
        taken.append(_move(label, side, height))


def _move(label: Annotation, side: str, height: int) -> Bbox:
    """Move a label, and return its box, without the line to the point.

    Args:
        side: side of the label that is next to the point.
        height: height above the point, in points.
    """
    distance = LABEL_DISTANCE if side == "left" else -LABEL_DISTANCE
    label.set(ha=side, position=(distance, height))
    return Text.get_window_extent(label)


def _overlap(box: Bbox, taken: Sequence[Bbox], axes: Axes) -> tuple[bool, float]:
    """Return how bad the place of a label is: whether it extends beyond the axes, and the area that
    it shares with other boxes.
    """
    area = 0.0
    for other in taken:
        common = Bbox.intersection(box, other)
        if common is not None:
            area += common.width * common.height

    is_inside = Bbox.union([axes.bbox, box]).bounds == axes.bbox.bounds
    return not is_inside, area
