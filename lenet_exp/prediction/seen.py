"""Plots each picture as the network received it, with the file name and the predicted class."""

from __future__ import annotations

import math

from matplotlib.figure import Figure
from torch import Tensor

from lenet_exp.prediction.pictures import Picture
from lenet_exp.reports.escape import no_math

COLUMNS = 5
CELL = 1.55  # side length of an image in inches
ABOVE = 0.45  # height of the two lines of text above an image in inches
LONGEST_NAME = 20  # maximum number of characters above an image


def seen_figure(images: list[tuple[Tensor, str]]) -> Figure:
    """Return a figure of small images, five per row, with two lines of text above each image.

    Args:
        images: the images, with shape (28, 28) or, in color, (3, size, size), each with its text.
    """
    columns = min(COLUMNS, len(images))
    rows = math.ceil(len(images) / columns)
    height = (CELL + ABOVE) * rows

    figure = Figure(figsize=((CELL + 0.15) * columns, height + 0.05))
    grid = {
        "left": 0.02,
        "right": 0.98,
        "bottom": 0.05 / height,
        "hspace": ABOVE / CELL,
        "top": 1 - ABOVE / (height + 0.05),
    }
    cells = figure.subplots(rows, columns, squeeze=False, gridspec_kw=grid)

    for axes in cells.flat:
        axes.set_axis_off()
    for axes, (image, text) in zip(cells.flat, images, strict=False):
        if image.ndim == 3:
            image = image.movedim(0, 2)
        axes.imshow(image.numpy(), cmap="gray", vmin=0, vmax=255)
        axes.set_title(no_math(text), fontsize=9, pad=3)
    return figure


def short_name(picture: Picture) -> str:
    """Return a picture's file name, shortened to fit above a small image."""
    name = picture.path.name
    if len(name) <= LONGEST_NAME:
        return name
    half = LONGEST_NAME // 2
    return f"{name[: half - 1]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"
