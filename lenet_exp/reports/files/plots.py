"""Figures drawn with matplotlib but without pyplot, which would use global state and could open
windows.
"""

from __future__ import annotations

import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from lenet_exp.reports.escape import no_math
from lenet_exp.reports.files.run_charts import TRAIN, VALIDATION
from lenet_exp.training.score import Calibration

DPI = 110
# Number of palette colors. Pixel values differ from the original by at most 6 of 255, on average by
# 0.3.
COLORS = 256


def png(figure: Figure) -> bytes:
    """Convert a figure to a PNG with a palette of 256 colors, which reduces the file size to about
    a third.
    """
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]

    picture = Image.fromarray(pixels).convert("RGB")
    picture = picture.quantize(COLORS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    content = io.BytesIO()
    picture.save(content, "PNG", optimize=True)
    return content.getvalue()


def style(figure: Figure, title: str) -> None:
    """Add a title and light grids to a figure, and remove the top and right spines. An empty title
    takes no space.
    """
    for axes in figure.axes:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    if title:
        figure.suptitle(no_math(title), fontsize=11)


def reliability_figure(calibration: Calibration, title: str) -> Figure:
    """Draw a reliability diagram: the accuracy in each bin of the highest probability, and the
    number of images.
    """
    figure = Figure(figsize=(5.6, 5.6))
    top, bottom = figure.subplots(
        2,
        1,
        sharex=True,
        gridspec_kw={
            "left": 0.13,
            "right": 0.97,
            "bottom": 0.1,
            "top": 0.91,
            "hspace": 0.08,
            "height_ratios": (3, 1),
        },
    )
    bins = calibration.bins
    confidences = [b.confidence for b in bins]

    top.plot([0, 1], [0, 1], color=TRAIN, linestyle="--", linewidth=1, label="perfect calibration")
    accuracies = [b.accuracy for b in bins]
    label = f"model: ECE {calibration.ece:.4f}"
    top.plot(confidences, accuracies, "o-", color=VALIDATION, label=label)
    top.set_ylabel("accuracy")
    top.legend(frameon=False, fontsize=9)

    images = [b.images for b in bins]
    bottom.plot(confidences, images, "o-", color=VALIDATION)
    bottom.set_yscale("log")
    bottom.set_xlabel("highest probability (mean of the bin)")
    bottom.set_ylabel("images")
    style(figure, title)
    return figure
