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
    "step_losses": [],
    "improved": True,
}
SVG = "{http://www.w3.org/2000/svg}"


def epochs(accuracies: list[float], loss: float = 3.0) -> list[EpochResult]:
    results = []
    for epoch, accuracy in enumerate(accuracies, 1):
        result = EpochResult(
            epoch,
            train_loss=2 / epoch,
            val_loss=loss / epoch,
            train_accuracy=accuracy / 2,
            val_accuracy=accuracy,
            **NOT_DRAWN,
        )
        results.append(result)
    return results


def texts(svg: str) -> list[tuple[str, float, float]]:
    """Return each text with its coordinates, and check that all coordinates lie within the
    chart.
    """
    chart = ET.fromstring(svg)
    width = float(chart.attrib["width"])
    height = float(chart.attrib["height"])

    placed_texts = []
    for element in chart.iter(f"{SVG}text"):
        x = float(element.attrib["x"])
        y = float(element.attrib["y"])
        assert 0 <= x <= width
        assert 0 <= y <= height
        placed_texts.append((element.text or "", x, y))
    return placed_texts


def lines(svg: str) -> list[tuple[str, list[tuple[float, float]]]]:
    """Return the color and the points of each line."""
    colored_lines = []
    for line in ET.fromstring(svg).iter(f"{SVG}polyline"):
        points = []
        for point in line.attrib["points"].split():
            x, y = point.split(",")
            points.append((float(x), float(y)))
        colored_lines.append((line.attrib["stroke"], points))
    return colored_lines


def test_curves_show_each_epoch_and_mark_earliest_best():
    svg = curves_svg(epochs([0.5, 0.9, 0.7, 0.9]), "digits selu sgd")

    drawn = lines(svg)
    assert [color for color, _ in drawn] == [TRAIN, VALIDATION] * 2
    y_of_text = {text: y for text, _, y in texts(svg)}
    labels = {
        "digits selu sgd",
        "best 90.00%, epoch 2",
        "training (running mean)",
        "validation",
    }
    assert labels <= y_of_text.keys()

    val_loss = drawn[1][1]
    val_accuracy = drawn[3][1]
    y_of_tick = {}
    for text, y in y_of_text.items():
        if re.fullmatch(r"[\d.]+%", text):
            y_of_tick[float(text[:-1])] = y - 4
    low = min(y_of_tick)
    high = max(y_of_tick)
    percent_per_pixel = (high - low) / (y_of_tick[low] - y_of_tick[high])
    drawn_percents = [low + (y_of_tick[low] - y) * percent_per_pixel for _, y in val_accuracy]
    assert drawn_percents == pytest.approx([50, 90, 70, 90], abs=0.1)

    # the losses are 3, 3/2, 3/3 and 3/4
    first_y = val_loss[0][1]
    last_y = val_loss[-1][1]
    falls = [(y - first_y) / (last_y - first_y) for _, y in val_loss]
    assert falls == pytest.approx([(3 - 3 / i) / (3 - 3 / 4) for i in range(1, 5)], abs=0.01)

    marks = [mark for mark in ET.fromstring(svg).iter(f"{SVG}circle") if mark.attrib["r"] == "5"]
    centers = [(float(mark.attrib["cx"]), float(mark.attrib["cy"])) for mark in marks]
    assert centers == [val_accuracy[1]]


@pytest.mark.parametrize("number", [1, 2, 300])
def test_curves_of_any_length_have_whole_epochs_as_ticks(number):
    accuracies = np.linspace(0.1, 1, number).tolist()

    svg = curves_svg(epochs(accuracies), "digits: leaky_relu adam lr=0.001 drop=0.3")

    (label_y,) = {y for text, _, y in texts(svg) if text == "epoch"}
    ticks = [text for text, _, y in texts(svg) if label_y - 30 < y < label_y]
    assert ticks
    for tick in ticks:
        assert tick.isdigit()
    assert [len(points) for _, points in lines(svg)] == [number] * 4


def test_curves_leave_out_infinite_losses():
    svg = curves_svg(epochs([0.1, 0.1], math.inf), "diverging")

    assert [len(points) for _, points in lines(svg)] == [2, 0, 2, 2]


@pytest.mark.parametrize("names", [DIGITS, FASHION], ids=["digits", "fashion"])
def test_confusion_matrix_shows_counts_and_class_names(names):
    counts = [[0] * 10 for _ in range(10)]
    for i in range(10):
        counts[i][i] = 900 + i
    counts[6][0] = 240
    counts[6][4] = 3
    counts[9][8] = 1

    svg = confusion_svg(counts, names, "a run")

    placed_texts = texts(svg)
    left = min(x for text, x, _ in placed_texts if text == "900")
    top = min(y for text, _, y in placed_texts if text == "900")
    second_left = next(x for text, x, _ in placed_texts if text == "901")
    cell = second_left - left
    text_of_cell = {}
    for text, x, y in placed_texts:
        row = round((y - top) / cell)
        column = round((x - left) / cell)
        text_of_cell[row, column] = text
    for i in range(10):
        for k in range(10):
            expected = str(counts[i][k]) if counts[i][k] else None
            assert text_of_cell.get((i, k)) == expected

    bottom = top + 9.4 * cell
    for i, name in enumerate(names):
        ys_left_of_matrix = [y for text, x, y in placed_texts if text == name and x < left]
        xs_below_matrix = [x for text, x, y in placed_texts if text == name and y > bottom]
        assert [round((y - top) / cell) for y in ys_left_of_matrix] == [i]
        assert [round((x - left) / cell) for x in xs_below_matrix] == [i]

    reds = [int(red) for red in re.findall(r'fill="rgb\((\d+),', svg)]
    assert len(reds) == 3  # correct predictions are not colored
    assert sorted(reds) == [153, 254, 254]
    assert "21%" in [text for text, _, _ in placed_texts]  # 240 of 1,149


def test_confusion_matrix_of_many_classes_is_small_and_has_no_counts():
    counts = [[0] * 200 for _ in range(200)]
    for i in range(200):
        counts[i][i] = 50
        if i > 0:
            counts[i][i - 1] = 1

    svg = confusion_svg(counts, [f"class {i}" for i in range(200)], "a run")

    assert [text for text, _, _ in texts(svg) if text.isdigit()] == []
    assert len(svg) < 50_000


def test_charts_accept_any_names():
    names = ["<b>&", '"猫"', "a\x00b", *"3456789"]

    svg = confusion_svg([[1] * 10] * 10, names, "</svg>")

    written = {text for text, _, _ in texts(svg)}
    assert {"<b>&", '"猫"', "a b", "</svg>: validation"} <= written
