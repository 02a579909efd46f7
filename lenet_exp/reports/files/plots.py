"""Figures for a run, drawn without pyplot, which would use global state and could open windows."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from matplotlib import rcParams
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator, PercentFormatter
from PIL import Image

from lenet_exp.reports.escape import no_math
from lenet_exp.training.confusion import named_matrix
from lenet_exp.training.epoch import EpochResult
from lenet_exp.training.score import Calibration

DPI = 110
COLORS = 256  # number of palette colors; pixel values differ from the original by at most 6 of 255, on average by 0.3
MOST_COUNTS = 20  # maximum number of classes in a confusion matrix with numbers
MOST_NAMES = 64  # maximum number of names on an axis
LONGEST_NAME = 16  # maximum number of characters of a class name on an axis
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


def curves_figure(epochs: Sequence[EpochResult], title: str) -> Figure:
    """Draw training and validation loss and accuracy versus epoch, with the best epoch marked."""
    # Margins are set manually, here and below, because an automatic layout would double the drawing time.
    figure = Figure(figsize=(9, 3.6))
    left, right = figure.subplots(
        1, 2, gridspec_kw={"left": 0.07, "right": 0.985, "bottom": 0.14, "top": 0.84, "wspace": 0.22}
    )
    x = [e.epoch for e in epochs]
    marker = "." if len(x) < 30 else ""
    for axes, what in ((left, "loss"), (right, "accuracy")):
        train, validation = ([getattr(e, f"{part}_{what}") for e in epochs] for part in ("train", "val"))
        axes.plot(x, train, color=TRAIN, marker=marker, label="training (running mean)")
        axes.plot(x, validation, color=VALIDATION, marker=marker, label="validation")
        axes.set_xlabel("epoch")
        axes.set_ylabel(what)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    best = max(epochs, key=lambda e: (e.val_accuracy, -e.epoch))
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    right.plot([best.epoch], [best.val_accuracy], "o", color=VALIDATION, fillstyle="none", markersize=9)
    right.set_title(f"best {best.val_accuracy:.2%}, epoch {best.epoch}", fontsize=10)
    left.legend(frameon=False, fontsize=9)
    style(figure, title)
    return figure


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


def confusion_figure(counts: list[list[int]], class_names: list[str], title: str, part: str = "validation") -> Figure:
    """Draw a confusion matrix, with counts as text if there are at most 20 classes.

    Only errors are colored, because the diagonal would dominate the color scale.

    Args:
        part: name of the dataset split, for the title.
    """
    class_names, counts = named_matrix(counts, list(map(no_math, class_names)))
    many = len(class_names) > MOST_COUNTS
    figure = Figure(figsize=(10.2, 8.4) if many else (6.8, 5.6))
    axes = figure.subplots(gridspec_kw={"left": 0.16, "right": 0.99, "bottom": 0.16, "top": 0.93})
    share = [[0.0 if i == j else n / max(sum(row), 1) for j, n in enumerate(row)] for i, row in enumerate(counts)]
    top = max(max(row) for row in share) or 0.01
    shown = axes.imshow(share, cmap="Reds", vmin=0, vmax=top)
    for i, row in enumerate(counts):
        for j, n in enumerate(row):
            if n and not many:
                color = "white" if share[i][j] > 0.6 * top else "black"
                weight = "bold" if i == j else "normal"
                axes.text(j, i, str(n), ha="center", va="center", color=color, fontsize=8, fontweight=weight)
    ticks = range(0, len(class_names), -(-len(class_names) // MOST_NAMES))
    names = [f"{class_names[i]:.{LONGEST_NAME}}" for i in ticks]
    slant = max(map(len, names)) > 2
    angle = 90 if many else 45 if slant else 0
    axes.set_xticks(ticks, names, rotation=angle, ha="right" if angle == 45 else "center", fontsize=7 if many else 9)
    axes.set_yticks(ticks, names, fontsize=7 if many else 9)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    bar = figure.colorbar(shown, ax=axes, shrink=0.7, format=PercentFormatter(1.0, decimals=1 if top < 0.1 else 0))
    bar.set_label("fraction of the true class", fontsize=9)
    figure.suptitle(no_math(f"{title}: {part}"), fontsize=11)
    return figure
