"""Charts of a run as SVG: learning curves and confusion matrices.

Writing SVG takes about a millisecond, whereas a matplotlib figure takes 0.2 s, almost as long as
training a small network. A viewer uses its own fonts, so class names can be in any script.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lenet_exp.config.metric import Metric
from lenet_exp.reports.files.svg import (
    Axis,
    svg_circle,
    svg_document,
    svg_text,
    svg_upright_text,
)
from lenet_exp.training.epoch import EpochResult
from lenet_exp.training.score import named_matrix

ACCURACY = Metric()

TRAIN = "#6b7280"
VALIDATION = "#2563eb"
GRID = "#e5e7eb"
DARKEST = 153, 16, 32  # color of the largest fraction: red, green, blue

# Positions and sizes in pixels: the two charts of learning curves are side by side.
PANEL_WIDTH = 368
PANEL_HEIGHT = 254
PANEL_TOP = 56
LOSS_LEFT = 62
ACCURACY_LEFT = 514

MOST_MARKERS = 30  # maximum number of epochs that are drawn as points
MOST_COUNTS = 20  # maximum number of classes in a confusion matrix with numbers
MOST_NAMES = 64  # maximum number of names on an axis
LONGEST_NAME = 16  # maximum number of characters of a class name on an axis


def curves_svg(epochs: Sequence[EpochResult], title: str, metric: Metric = ACCURACY) -> str:
    """Return a chart of the training and validation loss and accuracy versus epoch, with the best
    epoch marked.
    """
    numbers = [epoch.epoch for epoch in epochs]
    losses = [
        _Curve([epoch.train_loss for epoch in epochs], TRAIN),
        _Curve([epoch.val_loss for epoch in epochs], VALIDATION),
    ]
    accuracies = [
        _Curve([100 * epoch.train_accuracy for epoch in epochs], TRAIN),
        _Curve([100 * epoch.val_accuracy for epoch in epochs], VALIDATION),
    ]
    loss_panel = _Panel(numbers, losses, LOSS_LEFT)
    accuracy_panel = _Panel(numbers, accuracies, ACCURACY_LEFT)

    parts = [svg_text(450, 22, title, size=15)]
    parts += loss_panel.svg("loss", "")
    parts += accuracy_panel.svg("accuracy", "%")

    best = _best_epoch(epochs, metric)
    x = accuracy_panel.x.at(best.epoch)
    y = accuracy_panel.y.at(100 * best.val_accuracy)
    parts.append(svg_circle(x, y, 5, f'fill="none" stroke="{VALIDATION}"'))
    best_text = f"best {metric.text(best.value)}, epoch {best.epoch}"
    parts.append(svg_text(ACCURACY_LEFT + PANEL_WIDTH / 2, 46, best_text, size=13))

    parts.append(_legend_entry(90, "training (running mean)", TRAIN))
    parts.append(_legend_entry(290, "validation", VALIDATION))
    return svg_document(900, 360, parts)


def _best_epoch(epochs: Sequence[EpochResult], metric: Metric) -> EpochResult:
    """Return the epoch with the best value of the metric, the earliest if several are equal."""

    def rank(epoch: EpochResult) -> tuple[float, int]:
        return metric.sign * epoch.value, -epoch.epoch

    return max(epochs, key=rank)


def _legend_entry(x: float, name: str, color: str) -> str:
    line = f'<path d="M{x - 28} 42h22" stroke="{color}" stroke-width="2"/>'
    return line + svg_text(x, 46, name, "start")


@dataclass(frozen=True)
class _Curve:
    """A learning curve: a value for each epoch, and the color of the line."""

    values: list[float]
    color: str


class _Panel:
    """A chart of learning curves versus epoch.

    Args:
        epochs: numbers of the epochs.
        curves: curves, which have a value for each of the epochs.
        left: coordinate of the chart's left edge in pixels.

    Attributes:
        x: axis of the epochs.
        y: axis of the curves' values.
    """

    def __init__(self, epochs: Sequence[int], curves: Sequence[_Curve], left: float) -> None:
        values = [value for curve in curves for value in curve.values]
        self.x = Axis(epochs, left, PANEL_WIDTH, most=8, whole=True)
        self.y = Axis(values, PANEL_TOP + PANEL_HEIGHT, -PANEL_HEIGHT, most=6)
        self._epochs = epochs
        self._curves = curves

    def svg(self, label: str, unit: str) -> list[str]:
        """Return the grid, the axes, and the curves.

        Args:
            label: label of the vertical axis.
            unit: unit of its values.
        """
        parts = list(_grid(self.x, self.y, label, unit))
        for curve in self._curves:
            parts += self._line(curve)
        return parts

    def _line(self, curve: _Curve) -> list[str]:
        """Return a curve as a line and, if it is short, a point for each epoch.

        Values that are not finite are left out.
        """
        points = []
        for epoch, value in zip(self._epochs, curve.values, strict=True):
            if math.isfinite(value):
                points.append((self.x.at(epoch), self.y.at(value)))

        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        style = f'fill="none" stroke="{curve.color}" stroke-width="1.5"'
        parts = [f'<polyline points="{path}" {style}/>']
        if len(points) < MOST_MARKERS:
            for x, y in points:
                parts.append(svg_circle(x, y, 2.5, f'fill="{curve.color}"'))
        return parts


def _grid(x: Axis, y: Axis, label: str, unit: str) -> Iterator[str]:
    """Yield the grid lines, the ticks, the axes, and their labels."""
    left = x.at(x.low)
    bottom = y.at(y.low)
    top = bottom - PANEL_HEIGHT
    for tick in x.ticks:
        yield f'<path d="M{x.at(tick):.1f} {bottom:.1f}v{-PANEL_HEIGHT}" stroke="{GRID}"/>'
        yield svg_text(x.at(tick), bottom + 18, f"{tick:.6g}")
    for tick in y.ticks:
        yield f'<path d="M{left:.1f} {y.at(tick):.1f}h{PANEL_WIDTH}" stroke="{GRID}"/>'
        yield svg_text(left - 6, y.at(tick) + 4, f"{tick:.6g}{unit}", "end")

    axes = f"M{left:.1f} {top:.1f}v{PANEL_HEIGHT}h{PANEL_WIDTH}"
    yield f'<path d="{axes}" fill="none" stroke="black"/>'
    yield svg_text(left + PANEL_WIDTH / 2, bottom + 40, "epoch", size=13)
    yield svg_upright_text(left - 48, bottom - PANEL_HEIGHT / 2, label)


def confusion_svg(
    counts: list[list[int]], class_names: Sequence[str], title: str, part: str = "validation"
) -> str:
    """Return a chart of a confusion matrix, with counts as text if there are at most 20 classes.

    Only errors are colored, because the diagonal would dominate the color scale.

    Args:
        part: name of the dataset split, for the title.
    """
    names, matrix = named_matrix(counts, class_names)
    chart = _ConfusionChart(names, matrix)
    middle_x = (chart.left + chart.right) / 2
    middle_y = (chart.top + chart.bottom) / 2
    names_height = 100 if chart.name_angle else 24
    below = chart.bottom + names_height

    parts = [svg_text(middle_x, 24, f"{title}: {part}", size=15)]
    parts += chart.cells()
    parts += chart.axis_names()
    parts.append(
        f'<rect x="{chart.left}" y="{chart.top}" width="{chart.side}" height="{chart.side}" '
        'fill="none" stroke="black"/>'
    )
    x_label = svg_text(middle_x, below + 14, "predicted", size=13)
    y_label = svg_upright_text(18, middle_y, "true")
    parts.append(x_label + y_label)
    parts += chart.color_scale()
    parts.append(svg_upright_text(chart.right + 100, middle_y, "fraction of the true class"))
    return svg_document(chart.right + 110, below + 26, parts)


class _ConfusionChart:
    """The parts of a chart of a confusion matrix.

    Args:
        names: names of the classes.
        counts: number of images for each true class (row) and predicted class (column).

    Attributes:
        left, right, top, bottom: coordinates of the matrix in pixels.
        side: width and height of the matrix in pixels.
        name_angle: angle in degrees of the names below the matrix.
    """

    def __init__(self, names: Sequence[str], counts: Sequence[Sequence[int]]) -> None:
        self._counts = counts
        self._errors = _error_fractions(counts)
        # The scale of a matrix without errors ends at 1%.
        self._largest_error = max(max(row) for row in self._errors) or 0.01
        self._is_large = len(names) > MOST_COUNTS

        step = math.ceil(len(names) / MOST_NAMES)
        self._shown_names: dict[int, str] = {}
        for i in range(0, len(names), step):
            self._shown_names[i] = names[i][:LONGEST_NAME]
        self.name_angle = self._angle()

        self.side = 640 if self._is_large else 430
        self.left = 130 if self.name_angle else 60
        self.top = 44
        self.right = self.left + self.side
        self.bottom = self.top + self.side
        self._cell = self.side / len(names)  # width and height of a cell in pixels

    def _angle(self) -> int:
        if self._is_large:
            return 90
        has_long_names = any(len(name) > 2 for name in self._shown_names.values())
        return 45 if has_long_names else 0

    def cells(self) -> list[str]:
        """Return the colors of errors, and the counts if the matrix is small."""
        parts = []
        for i, row in enumerate(self._counts):
            for j, count in enumerate(row):
                x = self.left + j * self._cell
                y = self.top + i * self._cell
                shade = self._errors[i][j] / self._largest_error
                if shade:
                    parts.append(self._colored_cell(x, y, shade))
                if count and not self._is_large:
                    style = _count_style(shade, is_correct=i == j)
                    middle = self._cell / 2
                    parts.append(svg_text(x + middle, y + middle + 4, str(count), style=style))
        return parts

    def _colored_cell(self, x: float, y: float, shade: float) -> str:
        """Return a cell with a color between white (shade 0) and the darkest color (shade 1)."""
        channels = [round(255 + (darkest - 255) * shade) for darkest in DARKEST]
        color = ",".join(str(channel) for channel in channels)
        size = f"{self._cell:.1f}"
        return f'<path d="M{x:.1f} {y:.1f}h{size}v{size}h-{size}z" fill="rgb({color})"/>'

    def axis_names(self) -> list[str]:
        """Return the names of the classes, to the left of the matrix and below."""
        size = 9 if self._is_large else 12
        parts = []
        for i, name in self._shown_names.items():
            offset = (i + 0.5) * self._cell
            y_of_row = self.top + offset + size / 3
            parts.append(svg_text(self.left - 6, y_of_row, name, "end", size=size))

            x = self.left + offset
            y = self.bottom + 16 - self.name_angle / 10
            anchor = "middle"
            style = ""
            if self.name_angle:
                anchor = "end"
                style = f' transform="rotate(-{self.name_angle} {x:.1f} {y:.1f})"'
            parts.append(svg_text(x, y, name, anchor, size=size, style=style))
        return parts

    def color_scale(self) -> list[str]:
        """Return the color scale to the right of the matrix, with three fractions as ticks."""
        stops = f'<stop offset="0" stop-color="rgb{DARKEST}"/><stop offset="1" stop-color="white"/>'
        parts = [
            f'<linearGradient id="scale" x2="0" y2="1">{stops}</linearGradient>',
            f'<rect x="{self.right + 24}" y="{self.top}" width="16" height="{self.side}" '
            f'fill="url(#scale)" stroke="{TRAIN}"/>',
        ]

        largest = self._largest_error
        ticks = [
            (largest, self.top + 5),
            (largest / 2, self.top + self.side / 2 + 5),
            (0.0, self.bottom + 5),
        ]
        decimals = 1 if largest < 0.1 else 0
        for fraction, y in ticks:
            parts.append(svg_text(self.right + 46, y, f"{fraction:.{decimals}%}", "start"))
        return parts


def _error_fractions(counts: Sequence[Sequence[int]]) -> list[list[float]]:
    """Return the fraction of each true class that is predicted as each other class.

    The diagonal is 0. For example, [[8, 2], [0, 0]] gives [[0, 0.2], [0, 0]].
    """
    fractions = []
    for i, row in enumerate(counts):
        images = max(sum(row), 1)
        fractions_of_row = [count / images for count in row]
        fractions_of_row[i] = 0.0
        fractions.append(fractions_of_row)
    return fractions


def _count_style(shade: float, *, is_correct: bool) -> str:
    if is_correct:
        return ' font-weight="bold"'
    if shade > 0.5:
        return ' fill="white"'
    return ""
