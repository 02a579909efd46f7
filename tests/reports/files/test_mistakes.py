"""The figure of the most confident mistakes: their selection, order and captions."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from lenet_exp.data.images import TrainingData, load_training_data
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.reports.files.mistakes import (
    COLUMNS,
    GAP,
    LINE,
    MARGIN,
    MOST,
    SIDE,
    TILE,
    TITLE,
    Misclassified,
    find_mistakes,
    mistakes_picture,
)
from lenet_exp.training.fit import fit
from lenet_exp.training.network import rebuild
from lenet_exp.training.state import TrainingState
from tests.tools.commands import SMALL, lenet_train
from tests.training.small import configure, start

ENLARGED = SIDE // 32
CAPTION = 6 + 2 * LINE  # a gap and two lines
ROW = SIDE + CAPTION + GAP
WHITE = (255, 255, 255)


def predicted(network, data):
    """Return the class that a network predicts for each validation image."""
    with torch.inference_mode():
        return network.eval()(data.images[data.val_index]).argmax(1)


@pytest.fixture(scope="module")
def trained() -> tuple[TrainingState, TrainingData]:
    """Train for some steps on digits, so that at least as many mistakes remain as fit into the
    figure.
    """
    state, data = start(configure("dataset.train_size=600"))
    list(fit(state, data))
    state.model.eval()
    return state, data


def sheet(png: bytes | None) -> np.ndarray:
    assert png is not None
    return np.asarray(Image.open(io.BytesIO(png)))


def places(n: int) -> list[tuple[int, int]]:
    """Return the top and left coordinates of the first n images."""
    coordinates = []
    for i in range(n):
        row = i // COLUMNS
        column = i % COLUMNS
        top = MARGIN + TITLE + row * ROW
        center = MARGIN + (column + 0.5) * TILE
        coordinates.append((top, round(center - SIDE / 2)))
    return coordinates


def some(n: int, data: TrainingData, **values: object) -> list[Misclassified]:
    return [replace(Misclassified(int(i), 1, 2, 0.5), **values) for i in data.val_index[:n]]


def test_mistakes_are_sorted_by_confidence(trained):
    state, data = trained
    expected = []
    for index in data.val_index.tolist():
        image = data.images[index : index + 1]
        with torch.inference_mode():
            logits = state.model(image)[0]
        probabilities = torch.exp(logits.log_softmax(0))
        truth = int(data.labels[index])
        prediction = int(probabilities.argmax())
        confidence = float(probabilities[prediction])
        if truth != prediction:
            expected.append(Misclassified(index, truth, prediction, confidence))
    expected.sort(key=lambda mistake: -mistake.confidence)

    mistakes = find_mistakes(state.model, data, predicted(state.model, data))

    assert len(mistakes) > MOST
    for mistake, other in zip(mistakes, expected, strict=True):
        assert mistake.index == other.index
        assert mistake.truth == other.truth
        assert mistake.prediction == other.prediction
        assert mistake.confidence == pytest.approx(other.confidence, abs=1e-6)


def test_figure_shows_first_25_mistakes_in_order(trained):
    state, data = trained
    mistakes = find_mistakes(state.model, data, predicted(state.model, data))

    pixels = sheet(mistakes_picture(mistakes, data, "a run"))

    for mistake, (top, left) in zip(mistakes[:MOST], places(MOST), strict=True):
        image = data.images[mistake.index, 0]
        expected = ((image + 1) / 2 * 255).round().numpy()
        drawn = pixels[top : top + SIDE : ENLARGED, left : left + SIDE : ENLARGED, 0]
        assert np.array_equal(drawn, expected)
    assert pixels.shape[1] <= 1000  # readable without scaling


@pytest.mark.parametrize(("n", "rows"), [(5, 1), (6, 2), (40, 5)])
def test_figure_shrinks_with_fewer_mistakes_and_is_omitted_without_any(trained, n, rows):
    _, data = trained

    pixels = sheet(mistakes_picture(some(n, data), data, "a run"))

    assert len(pixels) == MARGIN + TITLE + rows * ROW
    free_places = places(rows * COLUMNS)[n:]
    for top, left in free_places:
        assert (pixels[top : top + SIDE, left : left + SIDE] == WHITE).all()
    assert mistakes_picture([], data, "a run") is None


def captions(pixels: np.ndarray) -> np.ndarray:
    """Return the pixels of the two lines below the first image, as wide as its tile."""
    top = places(1)[0][0] + SIDE
    return pixels[top : top + CAPTION, MARGIN : MARGIN + TILE]


@pytest.mark.parametrize("value", [{"truth": 3}, {"prediction": 3}, {"confidence": 0.51}])
def test_caption_depends_on_truth_prediction_and_confidence(trained, value):
    _, data = trained

    pixels = sheet(mistakes_picture(some(1, data), data, "a run"))
    changed_pixels = sheet(mistakes_picture(some(1, data, **value), data, "a run"))

    assert not np.array_equal(captions(pixels), captions(changed_pixels))
    different = (pixels != changed_pixels).any(2)
    top, left = places(1)[0]
    assert not different[: top + SIDE].any()
    assert not different[:, left + TILE :].any()


@pytest.mark.parametrize(
    "names", [("T-shirt/top", "Ankle boot"), ("a" * 60, "b" * 60), ("Größe", "βήτα")]
)
def test_captions_of_long_names_do_not_touch(trained, names):
    _, data = trained
    named = replace(data, class_names=names)
    mistakes = some(2, named, truth=0, prediction=1, confidence=1.0)

    pixels = sheet(mistakes_picture(mistakes, named, "a run"))

    top = places(1)[0][0] + SIDE
    for column in range(2):  # the edges of the tiles are blank
        edge = MARGIN + column * TILE
        assert (pixels[top:, edge - 3 : edge + 3] == WHITE).all()
    assert (captions(pixels) != 255).any()


def test_diverged_run_shows_mistakes_of_best_weights(ready):
    # A step multiplies the weights by 1 - lr * weight_decay = -1.01: the loss overflows in the
    # second epoch.
    growing_weights = (
        "optimizer.lr=0.01",
        "optimizer.momentum=0",
        "regularization.weight_decay=201",
        "num_threads=1",
    )

    done = lenet_train(*SMALL, *growing_weights, "num_epoch=4", outputs=ready)

    assert done.returncode == 1
    folder = RunFolder(next((ready / "runs").iterdir()))
    assert folder.record().outcome == "diverged"
    assert [picture.name for picture in folder.pictures()] == ["mistakes.png"]

    begun = folder.begun()
    data = load_training_data(configure(), torch.device("cpu"))
    network = rebuild(begun.config, folder.best_weights())
    mistakes = find_mistakes(network, data, predicted(network, data))
    expected = mistakes_picture(mistakes, data, begun.name)
    assert folder.pictures()[0].read_bytes() == expected
