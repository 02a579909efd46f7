"""The charts of a run: learning curves and confusion matrix."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from lenet_exp.package_files import CONF_DIR
from lenet_exp.reports.files.run_charts import TRAIN, VALIDATION, confusion_svg, curves_svg
from lenet_exp.training.epoch import EpochResult

FASHION = list(OmegaConf.load(CONF_DIR / "dataset" / "fashion_mnist.yaml").class_names)
DIGITS = [str(i) for i in range(10)]
NOT_DRAWN: dict[str, Any] = {
    "lr": 0.01,
    "epoch_seconds": 1.0,
    "images_per_second": 1250.0,
    "time_ms": 1,
}
NOT_DRAWN |= {"step_losses": [], "improved": True}
SVG = "{http://www.w3.org/2000/svg}"


def epochs(accuracies: list[float], loss: float = 3.0) -> list[EpochResult]:
    return [
        EpochResult(
            i,
            train_loss=2 / i,
            val_loss=loss / i,
            train_accuracy=a / 2,
            val_accuracy=a,
            **NOT_DRAWN,
        )
        for i, a in enumerate(accuracies, 1)
    ]


def texts(svg: str) -> list[tuple[str, float, float]]:
    """Return each text with its coordinates, and check that all coordinates lie within the
    chart.
    """
    chart = ET.fromstring(svg)
    width, height = float(chart.attrib["width"]), float(chart.attrib["height"])
    found = [
        (t.text or "", float(t.attrib["x"]), float(t.attrib["y"])) for t in chart.iter(f"{SVG}text")
    ]
    assert all(0 <= x <= width and 0 <= y <= height for _, x, y in found)
    return found


def lines(svg: str) -> list[tuple[str, list[tuple[float, float]]]]:
    """Return the color and the points of each line."""
    found = []
    for line in ET.fromstring(svg).iter(f"{SVG}polyline"):
        points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
        found.append((line.attrib["stroke"], points))
    return found


def test_curves_show_each_epoch_and_mark_earliest_best():
    svg = curves_svg(epochs([0.5, 0.9, 0.7, 0.9]), "digits selu sgd")
    drawn = lines(svg)
    assert [color for color, _ in drawn] == [TRAIN, VALIDATION] * 2
    at = {text: (x, y) for text, x, y in texts(svg)}
    assert {
        "digits selu sgd",
        "best 90.00%, epoch 2",
        "training (running mean)",
        "validation",
    } <= at.keys()
    loss, accuracy = drawn[1][1], drawn[3][1]
    ticks = {
        float(text[:-1]): y - 4 for text, (_, y) in at.items() if re.fullmatch(r"[\d.]+%", text)
    }
    (low, bottom), (high, top) = min(ticks.items()), max(ticks.items())
    for (_, y), expected in zip(accuracy, (50, 90, 70, 90), strict=True):
        assert low + (bottom - y) / (bottom - top) * (high - low) == pytest.approx(
            expected, abs=0.1
        )
    falls = [(y - loss[0][1]) / (loss[-1][1] - loss[0][1]) for _, y in loss]
    assert falls == pytest.approx([(3 - 3 / i) / (3 - 3 / 4) for i in range(1, 5)], abs=0.01)
    marked = [
        (c.attrib["cx"], c.attrib["cy"])
        for c in ET.fromstring(svg).iter(f"{SVG}circle")
        if c.attrib["r"] == "5"
    ]
    assert [(float(x), float(y)) for x, y in marked] == [accuracy[1]]


@pytest.mark.parametrize("number", [1, 2, 300])
def test_curves_of_any_length_have_whole_epochs_as_ticks(number):
    svg = curves_svg(
        epochs(np.linspace(0.1, 1, number).tolist()), "digits: leaky_relu adam lr=0.001 drop=0.3"
    )
    (below,) = {y for text, _, y in texts(svg) if text == "epoch"}
    ticks = [text for text, _, y in texts(svg) if below - 30 < y < below]
    assert ticks
    assert all(tick.isdigit() for tick in ticks)
    assert [len(points) for _, points in lines(svg)] == [number] * 4


def test_curves_leave_out_infinite_losses():
    assert [
        len(points) for _, points in lines(curves_svg(epochs([0.1, 0.1], math.inf), "diverging"))
    ] == [2, 0, 2, 2]


@pytest.mark.parametrize("names", [DIGITS, FASHION], ids=["digits", "fashion"])
def test_confusion_matrix_shows_counts_and_class_names(names):
    counts = [[0] * 10 for _ in range(10)]
    for i in range(10):
        counts[i][i] = 900 + i
    counts[6][0], counts[6][4], counts[9][8] = 240, 3, 1
    svg = confusion_svg(counts, names, "a run")
    texts_of_svg = texts(svg)
    left, up = (
        min(x for text, x, _ in texts_of_svg if text == "900"),
        min(y for text, _, y in texts_of_svg if text == "900"),
    )
    cell = next(x for text, x, _ in texts_of_svg if text == "901") - left
    cells = {
        (round((y - up) / cell), round((x - left) / cell)): text for text, x, y in texts_of_svg
    }
    for i, row in enumerate(counts):
        for j, n in enumerate(row):
            assert cells.get((i, j)) == (str(n) if n else None)
    for i, name in enumerate(names):
        rows = [y for text, x, y in texts_of_svg if text == name and x < left]
        columns = [x for text, x, y in texts_of_svg if text == name and y > up + 9.4 * cell]
        assert [round((y - up) / cell) for y in rows] == [i]
        assert [round((x - left) / cell) for x in columns] == [i]
    filled = re.findall(r'fill="rgb\((\d+),', svg)
    assert len(filled) == 3  # correct predictions are not colored
    assert sorted(map(int, filled)) == [153, 254, 254]
    assert "21%" in [text for text, _, _ in texts_of_svg]  # 240 of 1,149


def test_confusion_matrix_of_many_classes_is_small_and_has_no_counts():
    counts = [[50 if i == j else int(i == j + 1) for j in range(200)] for i in range(200)]
    svg = confusion_svg(counts, [f"class {i}" for i in range(200)], "a run")
    assert [text for text, _, _ in texts(svg) if text.isdigit()] == []
    assert len(svg) < 50_000


def test_charts_accept_any_names():
    names = ["<b>&", '"猫"', "a\x00b", *"3456789"]
    written = {text for text, _, _ in texts(confusion_svg([[1] * 10] * 10, names, "</svg>"))}
    assert {"<b>&", '"猫"', "a b", "</svg>: validation"} <= written
