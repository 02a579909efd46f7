"""Draw the memory layout of the native engine for LeNet-5.

`python -m benchmarks.native_layout` saves the figure as docs/explanation/native_layout.png.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lenet_exp.training.native.layout import LANES, LENET5, Layout, NativeShape

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "native_layout.png"
# all lengths are in inches; 100 pixels per inch in a page that is 700 pixels wide
WIDTH = 7.0
HEIGHT = 7.45
LEFT = 0.05  # left margin
BAR = 0.2  # height of a bar
ROW = 0.23  # height of a row in the list of parameters
FLOAT = 0.15  # width of a float where single floats are shown
VECTOR = 0.3  # width of a vector where rows of vectors are shown
NOTE = LEFT + 2 * LANES * FLOAT + 0.12  # left edge of the notes
# columns of the list of parameters: the right edge of the positions, and the left edges of others
POSITIONS = 0.55
NAMES = 0.62
ORDER = 1.7
VECTORS = 3.5
COLORS = ("#bfdbfe", "#60a5fa")
PADDING = "#f1f5f9"
EDGE = "#475569"
ORDERS = {  # as in kernels/network.h
    "conv1.weight": "[map][ky][kx]",
    "conv2.weight": "[ky][kx][map of s2][map]",
    "fc1.weight": "[map of s4][y][x][unit]",
    "fc2.weight": "[unit of fc1][unit]",
    "fc3.weight": "[unit of fc2][class]",
}


def draw(shape: NativeShape) -> Figure:
    """Draw the values of one image and the array of parameters. The shape must have convolutions
    and two hidden layers.

    Args:
        shape: shape of the network.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(HEIGHT, 0)
    axes.set_axis_off()
    layout = Layout(shape)
    _maps(axes, layout)
    _linear_layers(axes, shape)
    _parameters(axes, layout)
    return figure


def _maps(axes: Axes, layout: Layout) -> None:
    shape = layout.shape
    side = shape.side
    conv2 = layout.slots["conv2.weight"]
    maps2 = conv2.strides[1]
    maps1 = conv2.strides[3] // maps2
    side2 = (side - shape.kernel_size + 1) // 2
    side4 = (side2 - shape.kernel_size + 1) // 2

    _title(axes, 0.15, f"image: [y][x], {side} rows of {side} pixels")
    _text(axes, WIDTH - 1.15, 0.15, "hatched: padding", color=EDGE)
    _floats(axes, 0.27, [x % 2 for x in range(side)])
    _note(axes, 0.27, "first row")

    _title(axes, 0.77, "the image's even and odd columns: [y][x], each row padded to two vectors")
    half = side // 2
    for number, name in enumerate(("even", "odd")):
        top = 0.89 + 0.27 * number
        _floats(axes, top, [number] * half + [None] * (2 * LANES - half))
        _note(axes, top, f"{name}: {half} of {2 * LANES}")

    _title(axes, 1.66, f"conv1's pooled maps: [map][y][x], {maps1} maps of {side2} rows")
    padding = [None] * (LANES - side2)
    _floats(axes, 1.78, [*[0] * side2, *padding, *[1] * side2, *padding])
    _note(axes, 1.78, f"two rows: {side2} of {LANES}")

    _title(axes, 2.28, f"s2: [y][x][map], {side2} x {side2} pixels of {maps1} maps, then zeros")
    _floats(axes, 2.40, [i // maps1 % 2 for i in range(2 * LANES)])
    _note(axes, 2.40, f"... {maps1} per pixel")

    _title(axes, 2.90, f"s4: [y][x][map], {side4} x {side4} pixels of {maps2} maps")
    _floats(axes, 3.02, [i // maps2 % 2 for i in range(2 * LANES)])
    _note(axes, 3.02, f"... {maps2} per pixel")


def _linear_layers(axes: Axes, shape: NativeShape) -> None:
    _title(axes, 3.52, f"outputs of the linear layers, each padded to vectors of {LANES} floats")
    left = LEFT
    for number, size in enumerate((*shape.units, shape.classes), start=1):
        width = _vectors(axes, left, 3.64, size)
        _text(axes, left, 3.64 + BAR + 0.11, f"fc{number}: {size}")
        left += width + 0.12


def _parameters(axes: Axes, layout: Layout) -> None:
    top = 4.45
    _title(axes, top, f"the array of parameters: {layout.parameters:,} floats")
    heads = top + 0.25
    vectors_head = f"one row, in vectors of {LANES}"
    _text(axes, POSITIONS, heads, "position", ha="right", color=EDGE)
    _text(axes, ORDER, heads, "order in memory", color=EDGE)
    _text(axes, VECTORS, heads, vectors_head, color=EDGE)

    for number, line in enumerate(_lines(layout)):
        y = top + 0.4 + number * ROW
        middle = y + BAR / 2
        _text(axes, POSITIONS, middle, f"{line.offset:,}", ha="right")
        _text(axes, NAMES, middle, line.name, fontweight="bold")
        _text(axes, ORDER, middle, ORDERS.get(line.name, ""))
        width = _vectors(axes, VECTORS, y, line.used, row=line.row)
        rows = f"x {line.size // line.row:,}" if line.size > line.row else ""
        _text(axes, VECTORS + width + 0.08, middle, rows)


@dataclass(frozen=True)
class _Line:
    """A line of the list of parameters.

    Attributes:
        offset: position of the first float.
        used: number of floats in a row that are not padding.
        row: length of a row in floats.
        size: total number of floats.
    """

    offset: int
    name: str
    used: int
    row: int
    size: int


def _lines(layout: Layout) -> list[_Line]:
    """Return the lines of the list of parameters. The last one contains the slopes of all
    activations.
    """
    names = []
    slopes = 0
    for name in layout.slots:
        if name.startswith("act"):
            slopes += 1
        else:
            names.append(name)
    first_slope = layout.slots["act1.weight"].offset

    lines = []
    offsets = [layout.slots[name].offset for name in names]
    for name, (offset, end) in zip(names, pairwise([*offsets, first_slope]), strict=True):
        size = end - offset
        row = _row(layout, name, size)
        lines.append(_Line(offset, name, used=_used(layout, name), row=row, size=size))
    size = layout.parameters - first_slope
    lines.append(_Line(first_slope, "slopes", used=slopes, row=size, size=size))
    return lines


def _used(layout: Layout, name: str) -> int:
    """Return the number of floats in a row that are not padding."""
    shape = layout.slots[name].shape
    if name == "conv1.weight":
        return math.prod(shape)
    return shape[0]


def _row(layout: Layout, name: str, size: int) -> int:
    """Return the length of a row. conv1's weights and the biases have only one row."""
    if name == "conv1.weight" or name.endswith("bias"):
        return size
    return layout.slots[name].strides[1]


def _text(axes: Axes, x: float, y: float, text: str, **format: Any) -> None:
    axes.text(x, y, text, fontsize=8.5, va="center", **format)


def _title(axes: Axes, y: float, text: str) -> None:
    axes.text(LEFT, y, text, fontsize=9.5, va="center", fontweight="bold")


def _note(axes: Axes, top: float, text: str) -> None:
    _text(axes, NOTE, top + BAR / 2, text)


def _box(axes: Axes, left: float, top: float, width: float, color: str | None) -> None:
    """Draw a box; a color of None means padding."""
    box = Rectangle(
        (left, top),
        width,
        BAR,
        facecolor=color or PADDING,
        edgecolor="#94a3b8",
        linewidth=0.5,
        hatch="/////" if color is None else None,
    )
    axes.add_patch(box)


def _frame(axes: Axes, left: float, top: float, width: float) -> None:
    """Draw the edges of a vector."""
    frame = Rectangle((left, top), width, BAR, facecolor="none", edgecolor=EDGE, linewidth=1.4)
    axes.add_patch(frame)


def _floats(axes: Axes, top: float, colors: Sequence[int | None]) -> None:
    """Draw single floats in one of two colors. None means padding."""
    for i, number in enumerate(colors):
        color = None if number is None else COLORS[number]
        _box(axes, LEFT + i * FLOAT, top, FLOAT, color=color)
    for i in range(0, len(colors), LANES):
        _frame(axes, LEFT + i * FLOAT, top, min(LANES, len(colors) - i) * FLOAT)


def _vectors(axes: Axes, left: float, top: float, used: int, row: int = 0) -> float:
    """Draw a row of vectors, of which the first `used` floats are not padding. Return its width in
    inches.
    """
    vectors = -(-max(used, row) // LANES)
    full = used / LANES * VECTOR
    _box(axes, left, top, full, color=COLORS[0])
    if vectors * VECTOR > full:
        _box(axes, left + full, top, vectors * VECTOR - full, color=None)
    for i in range(vectors):
        _frame(axes, left + i * VECTOR, top, VECTOR)
    return vectors * VECTOR


if __name__ == "__main__":
    figure = draw(LENET5)
    FigureCanvasAgg(figure)
    figure.savefig(PAGE, dpi=150)
