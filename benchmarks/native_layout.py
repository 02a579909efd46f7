"""Draw the memory layout of the native engine for LeNet-5.

`python -m benchmarks.native_layout` saves the figure as docs/explanation/native_layout.png.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lenet_exp.training.native.layout import LANES, LENET5, Layout, NativeShape

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "native_layout.png"
WIDTH, HEIGHT = 7.0, 7.45  # inches; 100 pixels per inch in a page that is 700 pixels wide
LEFT, BAR, ROW = (
    0.05,
    0.2,
    0.23,
)  # left margin, height of a bar, height of a row in the list of parameters
FLOAT = 0.15  # width of a float where single floats are shown
VECTOR = 0.3  # width of a vector where rows of vectors are shown
NOTE = LEFT + 2 * LANES * FLOAT + 0.12  # left edge of the notes
COLORS, PADDING, EDGE = ("#bfdbfe", "#60a5fa"), "#f1f5f9", "#475569"
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
    shape, conv2 = layout.shape, layout.slots["conv2.weight"]
    side, maps2 = shape.side, conv2.strides[1]
    maps1 = conv2.strides[3] // maps2
    side2 = (side - shape.kernel_size + 1) // 2
    side4 = (side2 - shape.kernel_size + 1) // 2

    _title(axes, 0.15, f"image: [y][x], {side} rows of {side} pixels")
    axes.text(WIDTH - 1.15, 0.15, "hatched: padding", fontsize=8.5, va="center", color=EDGE)
    _floats(axes, 0.27, [x % 2 for x in range(side)])
    _note(axes, 0.27, "first row")

    _title(axes, 0.77, "the image's even and odd columns: [y][x], each row padded to two vectors")
    half = side // 2
    for number, name in enumerate(("even", "odd")):
        top = 0.89 + 0.27 * number
        _floats(axes, top, [number] * half + [None] * (2 * LANES - half))
        _note(axes, top, f"{name}: {half} of {2 * LANES}")

    _title(axes, 1.66, f"conv1's pooled maps: [map][y][x], {maps1} maps of {side2} rows")
    _floats(axes, 1.78, [y if x < side2 else None for y in range(2) for x in range(LANES)])
    _note(axes, 1.78, f"two rows: {side2} of {LANES}")

    _title(axes, 2.28, f"s2: [y][x][map], {side2} x {side2} pixels of {maps1} maps, then zeros")
    _floats(axes, 2.40, [i // maps1 % 2 for i in range(2 * LANES)])
    _note(axes, 2.40, f"... {maps1} per pixel")

    _title(axes, 2.90, f"s4: [y][x][map], {side4} x {side4} pixels of {maps2} maps")
    _floats(axes, 3.02, [i // maps2 % 2 for i in range(2 * LANES)])
    _note(axes, 3.02, f"... {maps2} per pixel")


def _linear_layers(axes: Axes, shape: NativeShape) -> None:
    sizes = (*shape.units, shape.classes)
    _title(axes, 3.52, f"outputs of the linear layers, each padded to vectors of {LANES} floats")
    left = LEFT
    for number, size in enumerate(sizes, 1):
        width = _vectors(axes, left, 3.64, size)
        axes.text(left, 3.64 + BAR + 0.11, f"fc{number}: {size}", fontsize=8.5, va="center")
        left += width + 0.12


def _parameters(axes: Axes, layout: Layout) -> None:
    slots = layout.slots
    slopes = slots["act1.weight"].offset
    names = [name for name in slots if not name.startswith("act")]
    offsets = [slots[name].offset for name in names]
    top = 4.45
    _title(axes, top, f"the array of parameters: {layout.parameters:,} floats")
    right = 0.55  # right edge of the positions
    columns = {"position": right, "order in memory": 1.7, f"one row, in vectors of {LANES}": 3.5}
    for text, x in columns.items():
        axes.text(
            x,
            top + 0.25,
            text,
            fontsize=8.5,
            va="center",
            ha="right" if x == right else "left",
            color=EDGE,
        )
    lines = [
        (offset, name, _used(layout, name), _row(layout, name, end - offset), end - offset)
        for name, (offset, end) in zip(names, pairwise([*offsets, slopes]), strict=True)
    ]
    count = sum(name.startswith("act") for name in slots)
    lines.append((slopes, "slopes", count, layout.parameters - slopes, layout.parameters - slopes))
    for number, (offset, name, used, row, size) in enumerate(lines):
        y = top + 0.4 + number * ROW
        middle = y + BAR / 2
        axes.text(right, middle, f"{offset:,}", fontsize=8.5, va="center", ha="right")
        axes.text(0.62, middle, name, fontsize=8.5, va="center", fontweight="bold")
        axes.text(1.7, middle, ORDERS.get(name, ""), fontsize=8.5, va="center")
        width = _vectors(axes, 3.5, y, used, row)
        axes.text(
            3.5 + width + 0.08,
            middle,
            f"x {size // row:,}" if size > row else "",
            fontsize=8.5,
            va="center",
        )


def _used(layout: Layout, name: str) -> int:
    """Return the number of floats in a row that are not padding."""
    shape = layout.slots[name].shape
    return math.prod(shape) if name == "conv1.weight" else shape[0]


def _row(layout: Layout, name: str, size: int) -> int:
    """Return the length of a row. conv1's weights and the biases have only one row."""
    return (
        size if name == "conv1.weight" or name.endswith("bias") else layout.slots[name].strides[1]
    )


def _title(axes: Axes, y: float, text: str) -> None:
    axes.text(LEFT, y, text, fontsize=9.5, va="center", fontweight="bold")


def _note(axes: Axes, top: float, text: str) -> None:
    axes.text(NOTE, top + BAR / 2, text, fontsize=8.5, va="center")


def _box(axes: Axes, left: float, top: float, width: float, color: str | None) -> None:
    """Draw a box; a color of None means padding."""
    hatch = "/////" if color is None else None
    box = Rectangle(
        (left, top),
        width,
        BAR,
        facecolor=color or PADDING,
        edgecolor="#94a3b8",
        linewidth=0.5,
        hatch=hatch,
    )
    axes.add_patch(box)


def _frame(axes: Axes, left: float, top: float, width: float) -> None:
    """Draw the edges of a vector."""
    axes.add_patch(
        Rectangle((left, top), width, BAR, facecolor="none", edgecolor=EDGE, linewidth=1.4)
    )


def _floats(axes: Axes, top: float, colors: Iterable[int | None]) -> None:
    """Draw single floats in one of two colors. None means padding."""
    colors = list(colors)
    for i, color in enumerate(colors):
        _box(axes, LEFT + i * FLOAT, top, FLOAT, None if color is None else COLORS[color])
    for i in range(0, len(colors), LANES):
        _frame(axes, LEFT + i * FLOAT, top, min(LANES, len(colors) - i) * FLOAT)


def _vectors(axes: Axes, left: float, top: float, used: int, row: int = 0) -> float:
    """Draw a row of vectors, of which the first `used` floats are not padding. Return its width in
    inches.
    """
    vectors = -(-max(used, row) // LANES)
    full = used / LANES * VECTOR
    _box(axes, left, top, full, COLORS[0])
    if vectors * VECTOR > full:
        _box(axes, left + full, top, vectors * VECTOR - full, None)
    for i in range(vectors):
        _frame(axes, left + i * VECTOR, top, VECTOR)
    return vectors * VECTOR


if __name__ == "__main__":
    figure = draw(LENET5)
    FigureCanvasAgg(figure)
    figure.savefig(PAGE, dpi=150)
