"""Figures drawn with matplotlib but without pyplot, which would use global state and could open windows."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Mapping
from functools import cache

import numpy as np
from matplotlib import rcParams
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.text import Text
from PIL import Image

from lenet_exp.reports.escape import no_math
from lenet_exp.training.score import Calibration

DPI = 110
COLORS = 256  # number of palette colors; pixel values differ from the original by at most 6 of 255, on average by 0.3
TRAIN, VALIDATION = "#6b7280", "#2563eb"

log = logging.getLogger("lenet_exp")


def png(figure: Figure) -> bytes:
    """Convert a figure to a PNG with a palette of 256 colors, which reduces the file size to about a third."""
    choose_fonts(figure)
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")  # type: ignore[no-untyped-call]
    out = io.BytesIO()
    drawn.quantize(COLORS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def style(figure: Figure, title: str) -> None:
    """Add a title and light grids to a figure, and remove the top and right spines. An empty title takes no space."""
    for axes in figure.axes:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    if title:
        figure.suptitle(no_math(title), fontsize=11)


def choose_fonts(figure: Figure) -> None:
    """Add an installed font for characters that the default font lacks, such as those of Chinese class names."""
    default, texts = get_font(findfont(FontProperties())), figure.findobj(Text)
    characters = {c for t in texts for c in t.get_text() if c.isprintable()}
    if missing := "".join(sorted(c for c in characters if not default.get_char_index(ord(c)))):
        for text in texts:
            if set(missing).intersection(text.get_text()):
                text.set_fontfamily([*rcParams["font.family"], _font_with(missing)])


@cache
def _font_with(characters: str) -> str:
    """Return the name of the font with most of these characters. If no font has all, warn once."""
    fonts = {f.name: get_font(f.fname) for f in fontManager.ttflist if not f.name.startswith("Last Resort")}  # boxes
    lacking, name = min((sum(not f.get_char_index(ord(c)) for c in characters), name) for name, f in fonts.items())
    if lacking:
        log.warning("plots: no installed font has all of %.20s; install one, such as Noto Sans CJK", characters)
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a warning for each of them
    return name


def reliability_figure(calibrations: Mapping[str, Calibration], title: str) -> Figure:
    """Draw reliability diagrams: the accuracy in each bin of the highest probability, and the number of images.

    Args:
        calibrations: calibrations by the name in the legend.
    """
    figure = Figure(figsize=(5.6, 5.6))
    top, bottom = figure.subplots(
        2,
        1,
        sharex=True,
        gridspec_kw={"left": 0.13, "right": 0.97, "bottom": 0.1, "top": 0.91, "hspace": 0.08, "height_ratios": (3, 1)},
    )
    top.plot([0, 1], [0, 1], color=TRAIN, linestyle="--", linewidth=1, label="perfect calibration")
    for (name, its), color in zip(calibrations.items(), (VALIDATION, "#dc2626"), strict=False):
        x = [b.confidence for b in its.bins]
        top.plot(x, [b.accuracy for b in its.bins], "o-", color=color, label=f"{name}: ECE {its.ece:.4f}")
        bottom.plot(x, [b.images for b in its.bins], "o-", color=color)
    top.set_ylabel("accuracy")
    bottom.set_ylabel("images")
    bottom.set_yscale("log")
    bottom.set_xlabel("highest probability (mean of the bin)")
    top.legend(frameon=False, fontsize=9)
    style(figure, title)
    return figure
