"""Plots each picture in the form that the network received, with the file name and the predicted
class.
"""

from __future__ import annotations

from matplotlib.figure import Figure
from torch import Tensor

from lenet_exp.prediction.pictures import Picture
from lenet_exp.reports.escape import no_math

COLUMNS = 5
CELL, ABOVE = (
    1.55,
    0.45,
)  # side length of an image, and height of the two lines of text above it, in inches
LONGEST_NAME = 20  # maximum number of characters above an image


def seen_figure(shown: list[tuple[Tensor, str]]) -> Figure:
    """Return a figure of small images, five per row, with two lines of text above each image.

    Args:
        shown: the images, with shape (28, 28) or, in color, (3, size, size), each with its text.
    """
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    high = CELL + ABOVE
    figure = Figure(figsize=((CELL + 0.15) * columns, high * rows + 0.05))
    grid = {"left": 0.02, "right": 0.98, "bottom": 0.05 / (high * rows), "hspace": ABOVE / CELL}
    grid["top"] = 1 - ABOVE / (high * rows + 0.05)
    cells = figure.subplots(rows, columns, squeeze=False, gridspec_kw=grid)
    for axes in cells.flat:
        axes.set_axis_off()
    for axes, (image, text) in zip(cells.flat, shown, strict=False):
        axes.imshow(
            (image if image.ndim == 2 else image.movedim(0, 2)).numpy(),
            cmap="gray",
            vmin=0,
            vmax=255,
        )
        axes.set_title(no_math(text), fontsize=9, pad=3)
    return figure


def short_name(picture: Picture) -> str:
    """Return a picture's file name, shortened to fit above a small image."""
    name, half = picture.path.name, LONGEST_NAME // 2
    return (
        name
        if len(name) <= LONGEST_NAME
        else f"{name[: half - 1]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"
    )
