"""The picture of the worst mistakes: which they are, in which order, and what is drawn of them."""

from __future__ import annotations

import io
import os
import select
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lenet_exp.data.images import TrainingData, load_training_data
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.reports.mistakes import (
    COLUMNS,
    ENLARGED,
    GAP,
    LINE,
    MARGIN,
    MOST,
    TILE,
    TITLE,
    Mistake,
    find_mistakes,
    mistakes_picture,
)
from lenet_exp.training.fit import fit
from lenet_exp.training.lane import Lane
from lenet_exp.training.lenet5 import rebuild
from lenet_exp.training.weights import weights_digest
from tests.commands import MINE, ROOT, SMALL, end, lenet_train
from tests.commands import start as start_command
from tests.sweeps.layers import REACHED
from tests.training.small import configure, start

SIDE = 32 * ENLARGED
WHITE = (255, 255, 255)


def said(network, data):
    """The class that a network gives each validation image."""
    with torch.inference_mode():
        return network.eval()(data.images[data.val_index]).argmax(1)


@pytest.fixture(scope="module")
def trained() -> tuple[Lane, TrainingData]:
    """Some steps on digits: about as many mistakes as fit into the picture, or more."""
    lane, data = start(configure("dataset.train_size=600"))
    list(fit([lane], data))
    lane.model.eval()
    return lane, data


def sheet(png: bytes | None) -> np.ndarray:
    assert png is not None
    return np.asarray(Image.open(io.BytesIO(png)))


def places(n: int) -> list[tuple[int, int]]:
    """Top and left of the first n images."""
    step = SIDE + 6 + 2 * LINE + GAP
    return [
        (MARGIN + TITLE + i // COLUMNS * step, round(MARGIN + (i % COLUMNS + 0.5) * TILE - SIDE / 2)) for i in range(n)
    ]


def shown(pixels: np.ndarray, n: int) -> list[np.ndarray]:
    """The first n images of the picture, as they were before they were enlarged: (32, 32) grey values."""
    return [pixels[y : y + SIDE : ENLARGED, x : x + SIDE : ENLARGED, 0] for y, x in places(n)]


def some(n: int, data: TrainingData, **values: object) -> list[Mistake]:
    return [replace(Mistake(int(i), 1, 2, 0.5), **values) for i in data.val_index[:n]]


def test_they_are_the_wrong_answers_the_most_confident_first(trained):
    lane, data = trained
    expected = []
    for i in data.val_index.tolist():
        with torch.inference_mode():
            probabilities = torch.exp(lane.model(data.images[i : i + 1])[0].log_softmax(0))
        truth, answer = int(data.labels[i]), int(probabilities.argmax())
        if truth != answer:
            expected.append((i, truth, answer, float(probabilities[answer])))
    expected.sort(key=lambda mistake: -mistake[3])
    found = find_mistakes(lane.model, data, said(lane.model, data))
    assert len(found) == len(expected) > MOST
    assert [(m.index, m.truth, m.said) for m in found] == [m[:3] for m in expected]
    assert [m.confidence for m in found] == pytest.approx([m[3] for m in expected], abs=1e-6)


def test_they_are_those_of_the_confusion_matrix(trained):
    lane, data = trained
    right = int((lane.best.predictions == data.labels[data.val_index]).sum())
    assert len(find_mistakes(lane.model, data, said(lane.model, data))) == len(data.val_index) - right


def test_the_picture_has_the_first_25_images_in_this_order(trained):
    lane, data = trained
    mistakes = find_mistakes(lane.model, data, said(lane.model, data))
    pixels = sheet(mistakes_picture(mistakes, data, "a run"))
    for mistake, image in zip(mistakes[:MOST], shown(pixels, MOST), strict=True):
        expected = ((data.images[mistake.index, 0] + 1) / 2 * 255).round().numpy()
        assert np.array_equal(image, expected)
    assert len(pixels) == places(MOST)[-1][0] + SIDE + 6 + 2 * LINE + GAP
    assert pixels.shape[1] <= 1000  # readable as it is


@pytest.mark.parametrize(("n", "rows"), [(1, 1), (5, 1), (6, 2), (40, 5)])
def test_fewer_mistakes_make_a_smaller_picture(trained, n, rows):
    _, data = trained
    pixels = sheet(mistakes_picture(some(n, data), data, "a run"))
    assert len(pixels) == MARGIN + TITLE + rows * (SIDE + 6 + 2 * LINE + GAP)
    free = places(rows * COLUMNS)[n:]
    assert all((pixels[y : y + SIDE, x : x + SIDE] == WHITE).all() for y, x in free)


def test_without_mistakes_there_is_no_picture(trained):
    lane, data = trained
    with torch.inference_mode():
        perfect = replace(data, labels=lane.model(data.images).argmax(1))
    assert find_mistakes(lane.model, perfect, said(lane.model, perfect)) == []
    assert mistakes_picture([], perfect, "a run") is None


def captions(pixels: np.ndarray) -> np.ndarray:
    """The two lines below the first image, as wide as its tile."""
    top = places(1)[0][0] + SIDE
    return pixels[top : top + 6 + 2 * LINE, MARGIN : MARGIN + TILE]


@pytest.mark.parametrize("value", [{"truth": 3}, {"said": 3}, {"confidence": 0.51}])
def test_the_caption_tells_truth_answer_and_confidence(trained, value):
    _, data = trained
    one, other = (sheet(mistakes_picture(some(1, data, **v), data, "a run")) for v in ({}, value))
    assert not np.array_equal(captions(one), captions(other))
    different = (one != other).any(2)
    y, x = places(1)[0]
    assert not different[: y + SIDE].any()
    assert not different[:, x + TILE :].any()


@pytest.mark.parametrize("names", [("T-shirt/top", "Ankle boot"), ("a" * 60, "b" * 60), ("Größe", "βήτα")])
def test_a_caption_of_any_name_stays_below_its_image(trained, names):
    _, data = trained
    named = replace(data, class_names=names)
    pixels = sheet(mistakes_picture(some(2, named, truth=0, said=1, confidence=1.0), named, "a run"))
    top = places(1)[0][0] + SIDE
    for column in range(2):  # nothing at the edges of the tiles: captions don't touch
        edge = MARGIN + column * TILE
        assert (pixels[top:, edge - 3 : edge + 3] == WHITE).all()
    assert (captions(pixels) != 255).any()


def test_letters_beyond_ascii_are_drawn(trained):
    _, data = trained
    drawn = {
        captions(sheet(mistakes_picture(some(1, d, truth=0, said=1), d, "a run"))).tobytes()
        for d in (replace(data, class_names=(letter, "x")) for letter in "βλд")
    }
    assert len(drawn) == 3


def test_an_output_without_a_class_is_named_by_its_number(trained):
    _, data = trained
    few = replace(data, class_names=("a", "b"))
    assert mistakes_picture(some(1, few, truth=0, said=7), few, "a run")


def test_neither_the_network_nor_random_state_changes(trained):
    lane, data = trained
    before = weights_digest(lane.model.state_dict())
    states = [g.get_state() for g in (lane.order, lane.noise, lane.distortions)]
    drawn = torch.get_rng_state()
    lane.model.train()
    mistakes_picture(find_mistakes(rebuild(lane.config, lane.best.weights), data, lane.best.predictions), data, "a run")
    assert lane.model.training
    assert weights_digest(lane.model.state_dict()) == before
    after = [g.get_state() for g in (lane.order, lane.noise, lane.distortions)]
    assert all(torch.equal(a, s) for a, s in zip(after, states, strict=True))
    assert torch.equal(torch.get_rng_state(), drawn)
    lane.model.eval()


def test_workers_need_no_matplotlib_for_it():
    code = """
import sys, torch, lenet_exp.runs.run
from lenet_exp.reports.mistakes import Mistake, mistakes_picture
from tests.training.small import configure, start
_, data = start(configure())
assert mistakes_picture([Mistake(0, 1, 2, 0.5)], data, "a run")
print({m.partition(".")[0] for m in sys.modules} & {"matplotlib", "mlflow"})
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "set()\n"), done.stderr


def of_the_best_weights(folder: RunFolder) -> bytes | None:
    """What a run's picture has to be."""
    begun, data = folder.begun(), load_training_data(configure(), torch.device("cpu"))
    network = rebuild(begun.config, folder.best_weights())
    return mistakes_picture(find_mistakes(network, data, said(network, data)), data, begun.name)


def test_a_run_draws_those_of_its_best_weights_even_if_it_diverged_later(ready):
    # A step multiplies the weights by 1 - lr * weight_decay = -1.01: the loss overflows in the second epoch.
    grows = ("optimizer.lr=0.01", "optimizer.momentum=0", "regularization.weight_decay=201", "num_threads=1")
    assert lenet_train(*SMALL, *grows, "num_epoch=4", outputs=ready).returncode == 1
    folder = RunFolder(next((ready / "runs").iterdir()))
    assert folder.record().outcome == "diverged"
    assert [p.name for p in folder.pictures()] == ["mistakes.png"]
    assert folder.pictures()[0].read_bytes() == of_the_best_weights(folder)


@pytest.mark.slow(seconds=6)
def test_a_run_that_was_interrupted_draws_the_same_picture_in_the_end(ready, tmp_path):
    line = (f"--config-dir={MINE}", *SMALL, "num_epoch=3", "num_threads=1", "activation=waits")
    reached = tmp_path / "reached"
    os.mkfifo(reached)
    process = start_command(*line, outputs=ready, env={REACHED: str(reached)})
    pipe = os.open(reached, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert select.select([pipe], [], [], 300)[0], "training did not get there"
        process.send_signal(signal.SIGINT)
        assert end(process).returncode == 130
    finally:
        process.kill()
        os.close(pipe)
    (path,) = (ready / "runs").iterdir()
    assert RunFolder(path).pictures() == []  # it is not at its end
    assert end(start_command(*line, outputs=ready)).returncode == 0
    calm = Path(tmp_path / "calm")
    assert end(start_command(*line, outputs=calm)).returncode == 0
    (other,) = (calm / "runs").iterdir()
    first, second = RunFolder(path), RunFolder(other)
    assert first.record().resumed == 1
    assert first.record().weights_digest == second.record().weights_digest
    assert [p.read_bytes() for p in first.pictures()] == [p.read_bytes() for p in second.pictures()]
    assert [p.name for p in first.pictures()] == ["mistakes.png"]
