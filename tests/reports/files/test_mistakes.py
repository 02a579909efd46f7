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
    step = SIDE + 6 + 2 * LINE + GAP
    return [
        (
            MARGIN + TITLE + i // COLUMNS * step,
            round(MARGIN + (i % COLUMNS + 0.5) * TILE - SIDE / 2),
        )
        for i in range(n)
    ]


def some(n: int, data: TrainingData, **values: object) -> list[Misclassified]:
    return [replace(Misclassified(int(i), 1, 2, 0.5), **values) for i in data.val_index[:n]]


def test_mistakes_are_sorted_by_confidence(trained):
    state, data = trained
    expected = []
    for i in data.val_index.tolist():
        with torch.inference_mode():
            probabilities = torch.exp(state.model(data.images[i : i + 1])[0].log_softmax(0))
        truth, answer = int(data.labels[i]), int(probabilities.argmax())
        if truth != answer:
            expected.append((i, truth, answer, float(probabilities[answer])))
    expected.sort(key=lambda mistake: -mistake[3])
    mistakes = find_mistakes(state.model, data, predicted(state.model, data))
    assert len(mistakes) == len(expected) > MOST
    assert [(m.index, m.truth, m.prediction) for m in mistakes] == [m[:3] for m in expected]
    assert [m.confidence for m in mistakes] == pytest.approx([m[3] for m in expected], abs=1e-6)


def test_figure_shows_first_25_mistakes_in_order(trained):
    state, data = trained
    mistakes = find_mistakes(state.model, data, predicted(state.model, data))
    pixels = sheet(mistakes_picture(mistakes, data, "a run"))
    for mistake, (y, x) in zip(mistakes[:MOST], places(MOST), strict=True):
        expected = ((data.images[mistake.index, 0] + 1) / 2 * 255).round().numpy()
        assert np.array_equal(pixels[y : y + SIDE : ENLARGED, x : x + SIDE : ENLARGED, 0], expected)
    assert pixels.shape[1] <= 1000  # readable without scaling


@pytest.mark.parametrize(("n", "rows"), [(5, 1), (6, 2), (40, 5)])
def test_figure_shrinks_with_fewer_mistakes_and_is_omitted_without_any(trained, n, rows):
    _, data = trained
    pixels = sheet(mistakes_picture(some(n, data), data, "a run"))
    assert len(pixels) == MARGIN + TITLE + rows * (SIDE + 6 + 2 * LINE + GAP)
    free = places(rows * COLUMNS)[n:]
    assert all((pixels[y : y + SIDE, x : x + SIDE] == WHITE).all() for y, x in free)
    assert mistakes_picture([], data, "a run") is None


def captions(pixels: np.ndarray) -> np.ndarray:
    """Return the pixels of the two lines below the first image, as wide as its tile."""
    top = places(1)[0][0] + SIDE
    return pixels[top : top + 6 + 2 * LINE, MARGIN : MARGIN + TILE]


@pytest.mark.parametrize("value", [{"truth": 3}, {"prediction": 3}, {"confidence": 0.51}])
def test_caption_depends_on_truth_prediction_and_confidence(trained, value):
    _, data = trained
    one, other = (sheet(mistakes_picture(some(1, data, **v), data, "a run")) for v in ({}, value))
    assert not np.array_equal(captions(one), captions(other))
    different = (one != other).any(2)
    y, x = places(1)[0]
    assert not different[: y + SIDE].any()
    assert not different[:, x + TILE :].any()


@pytest.mark.parametrize(
    "names", [("T-shirt/top", "Ankle boot"), ("a" * 60, "b" * 60), ("Größe", "βήτα")]
)
def test_captions_of_long_names_do_not_touch(trained, names):
    _, data = trained
    named = replace(data, class_names=names)
    pixels = sheet(
        mistakes_picture(some(2, named, truth=0, prediction=1, confidence=1.0), named, "a run")
    )
    top = places(1)[0][0] + SIDE
    for column in range(2):  # the edges of the tiles are blank
        edge = MARGIN + column * TILE
        assert (pixels[top:, edge - 3 : edge + 3] == WHITE).all()
    assert (captions(pixels) != 255).any()


def test_diverged_run_shows_mistakes_of_best_weights(ready):
    # A step multiplies the weights by 1 - lr * weight_decay = -1.01: the loss overflows in the
    # second epoch.
    grows = (
        "optimizer.lr=0.01",
        "optimizer.momentum=0",
        "regularization.weight_decay=201",
        "num_threads=1",
    )
    assert lenet_train(*SMALL, *grows, "num_epoch=4", outputs=ready).returncode == 1
    folder = RunFolder(next((ready / "runs").iterdir()))
    assert folder.record().outcome == "diverged"
    assert [p.name for p in folder.pictures()] == ["mistakes.png"]
    begun, data = folder.begun(), load_training_data(configure(), torch.device("cpu"))
    network = rebuild(begun.config, folder.best_weights())
    picture = mistakes_picture(
        find_mistakes(network, data, predicted(network, data)), data, begun.name
    )
    assert folder.pictures()[0].read_bytes() == picture
