"""The figures of a run: learning curves and confusion matrix."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from omegaconf import OmegaConf

from lenet_exp.config.package_files import CONF_DIR
from lenet_exp.reports.files.plots import TRAIN, VALIDATION, confusion_figure, curves_figure, png
from lenet_exp.training.epoch import EpochResult

FASHION = list(OmegaConf.load(CONF_DIR / "dataset" / "fashion_mnist.yaml").class_names)
DIGITS = [str(i) for i in range(10)]
NOT_DRAWN: dict[str, Any] = {"lr": 0.01, "epoch_seconds": 1.0, "images_per_second": 1250.0, "time_ms": 1}
NOT_DRAWN |= {"step_losses": [], "improved": True}


def epochs(accuracies: list[float]) -> list[EpochResult]:
    return [
        EpochResult(i, train_loss=2 / i, val_loss=3 / i, train_accuracy=a / 2, val_accuracy=a, **NOT_DRAWN)
        for i, a in enumerate(accuracies, 1)
    ]


def inside(figure: Figure) -> bool:
    """Return whether everything drawn lies within the figure."""
    png(figure)
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    return drawn.x0 >= 0 and drawn.y0 >= 0 and drawn.x1 <= width and drawn.y1 <= height


def test_curves_show_each_epoch_and_mark_earliest_best():
    figure = curves_figure(epochs([0.5, 0.9, 0.7, 0.9]), "digits selu sgd")
    loss, accuracy = figure.axes
    train, validation = loss.lines
    assert train.get_xdata().tolist() == [1, 2, 3, 4]
    assert train.get_ydata().tolist() == [2, 1, 2 / 3, 0.5]
    assert validation.get_ydata().tolist() == [3, 1.5, 1, 0.75]
    assert (to_hex(train.get_color()), to_hex(validation.get_color())) == (TRAIN, VALIDATION)
    assert accuracy.lines[1].get_ydata().tolist() == [0.5, 0.9, 0.7, 0.9]
    assert accuracy.lines[2].get_xydata().tolist() == [[2, 0.9]]
    assert re.findall(r"[\d.]+", accuracy.get_title()) == ["90.00", "2"]
    assert (loss.get_ylabel(), accuracy.get_ylabel(), loss.get_xlabel()) == ("loss", "accuracy", "epoch")
    assert [t.get_text().split()[0] for t in loss.get_legend().get_texts()] == ["training", "validation"]


@pytest.mark.parametrize("number", [1, 300])
def test_curves_of_any_length_fit_into_figure(number):
    figure = curves_figure(epochs(np.linspace(0.1, 1, number).tolist()), "digits: leaky_relu adam lr=0.001 drop=0.3")
    assert inside(figure)
    ticks = figure.axes[0].get_xticks()
    assert (ticks == ticks.round()).all() or number == 1


@pytest.mark.parametrize("names", [DIGITS, FASHION], ids=["digits", "fashion"])
def test_confusion_matrix_shows_counts_and_class_names(names):
    counts = [[0] * 10 for _ in range(10)]
    for i in range(10):
        counts[i][i] = 900 + i
    counts[6][0], counts[6][4], counts[9][8] = 240, 3, 1
    figure = confusion_figure(counts, names, "a run")
    axes = figure.axes[0]
    written = {(round(t.get_position()[1]), round(t.get_position()[0])): t.get_text() for t in axes.texts}
    assert written == {(i, j): str(n) for i, row in enumerate(counts) for j, n in enumerate(row) if n}
    assert [t.get_text() for t in axes.get_yticklabels()] == names
    assert [t.get_text() for t in axes.get_xticklabels()] == names
    shares = axes.images[0].get_array()
    assert shares.diagonal().max() == 0  # correct predictions do not dominate the colors
    assert shares.max() == shares[6, 0] == pytest.approx(240 / (240 + 3 + 906))
    assert inside(figure)


def test_characters_missing_in_default_font_use_installed_font(caplog):
    with warnings.catch_warnings(action="error"):  # matplotlib warns about each character without a glyph
        figure = confusion_figure([[2, 1], [0, 3]], ["\U0001d49c", "b"], "script")  # in matplotlib's STIXGeneral
        png(figure)
    first, second = figure.axes[0].get_yticklabels()
    assert len(first.get_fontfamily()) == len(second.get_fontfamily()) + 1
    assert caplog.records == []
