"""Photographed digits are found and recognized; images in the form of the training images are not changed."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lenet_exp.data.readers import read_images
from lenet_exp.errors import DataError
from lenet_exp.prediction.pictures.classify import classify, read_picture
from lenet_exp.prediction.pictures.paper import find_drawing
from lenet_exp.tracking.models.load import load_file
from lenet_exp.tracking.models.shipped import shipped_file
from tests.prediction.photographs import KINDS, OF_A_KIND, photographs
from tests.tools.configs import compose

MNIST = compose(["dataset=mnist"]).dataset


@pytest.mark.by_hand
def test_shipped_model_recognizes_all_photographs(main, workdir):
    """See photographs.py for how the photographs are drawn; nothing is tuned on them."""
    folder = workdir / "photographs"
    folder.mkdir()
    expected = {str(Path("photographs") / p.save(folder).name): p for p in photographs()}
    main("images=photographs", "output=answers.csv", program="predict", status=0)
    classes = {row["image"]: row["class"] for row in csv.DictReader((workdir / "answers.csv").open())}
    right = Counter(p.kind for path, p in expected.items() if classes[path] == str(p.digit))
    assert right == dict.fromkeys(KINDS, OF_A_KIND)


def test_drawing_contains_separate_strokes_without_specks_and_edges():
    amount = np.zeros((100, 100))
    amount[20:80, 30:40] = amount[20:28, 50:70] = 1
    strokes = amount > 0
    amount[90:93, 90:93] = amount[:5] = 1
    assert np.array_equal(find_drawing(amount), strokes)
    assert find_drawing(np.zeros((100, 100))) is None


def test_pictures_in_form_of_training_images_are_unchanged(real_data, tmp_path):
    raw = read_images(MNIST, real_data, "test")
    images = raw.images[:200].reshape(-1, 28, 28)
    read = []
    for i, image in enumerate(images):
        Image.fromarray(image.numpy()).save(tmp_path / "exported.png")
        read.append(read_picture(tmp_path / "exported.png", MNIST))
        assert torch.equal(read[i].frame, image)
    answers = [a.label for a in classify(load_file(shipped_file("mnist")), read)]
    assert np.mean(np.array(answers) == raw.labels[:200].numpy()) > 0.98


@pytest.mark.parametrize("move", [(0, 4), (-4, 0)])
def test_off_center_picture_in_training_form_is_centered(move, tmp_path):
    frame = np.zeros((28, 28), np.uint8)
    frame[4:24, 12:16] = 255
    Image.fromarray(np.roll(frame, move, (0, 1))).save(tmp_path / "one.png")
    picture = read_picture(tmp_path / "one.png", MNIST)
    center = [np.average(np.arange(28), weights=picture.frame.numpy().sum(axis, dtype=float)) for axis in (1, 0)]
    assert np.abs(np.array(center) - 13.5).max() <= 1


def test_page_without_writing_is_refused_as_blank(tmp_path):
    page = np.full((225, 300, 3), (240, 238, 230), np.uint8)
    noise = np.random.default_rng(0).normal(0, 4, page.shape)
    Image.fromarray((page + noise).clip(0, 255).astype(np.uint8)).save(tmp_path / "page.png")
    with pytest.raises(DataError, match=r"page\.png"):
        read_picture(tmp_path / "page.png", MNIST)


def test_picture_of_clothing_keeps_gray_levels(tmp_path):
    shirt = np.full((60, 80, 3), 255, np.uint8)
    shirt[10:50, 10:30], shirt[10:50, 50:70] = 0, 128
    Image.fromarray(shirt).save(tmp_path / "two.png")
    picture = read_picture(tmp_path / "two.png", compose(["dataset=fashion_mnist"]).dataset)
    assert {0, 255} <= set(picture.frame.flatten().tolist())
    assert any(120 < value < 135 for value in picture.frame.flatten().tolist())
