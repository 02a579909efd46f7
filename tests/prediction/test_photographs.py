"""Photographed digits are found and recognized; images in the form of the training images are not changed."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lenet_exp.data.readers import read_images
from lenet_exp.errors import DataError
from lenet_exp.prediction.pictures.classify import classify, read_pictures
from lenet_exp.tracking.models.load import load_file
from lenet_exp.tracking.models.shipped import shipped_file
from tests.prediction.drawn import STYLES, draw
from tests.prediction.photographs import KINDS, OF_A_KIND, photographs
from tests.tools.configs import compose

MNIST = compose(["dataset=mnist"]).dataset


@pytest.mark.by_hand
def test_shipped_model_recognizes_all_forty_photographs(main, workdir):
    """See photographs.py for how the photographs are drawn; nothing is tuned on them."""
    folder = workdir / "photographs"
    folder.mkdir()
    expected = {str(Path("photographs") / p.save(folder).name): p for p in photographs()}
    main("images=photographs", "output=answers.csv", program="predict", status=0)
    classes: defaultdict[str, str] = defaultdict(str)
    for row in csv.DictReader((workdir / "answers.csv").open()):
        classes[row["image"]] += row["class"]
    right = Counter(p.kind for path, p in expected.items() if classes[path] == p.digits)
    assert right == dict.fromkeys(KINDS, OF_A_KIND)


@pytest.fixture
def bill(workdir) -> Path:
    """Return a picture of 305 in which the bar of the 5 is a separate stroke."""
    sheet = Image.new("RGB", (700, 300), (240, 238, 230))
    for digit, left in ((3, 40), (0, 240), (5, 440)):
        drawn = Image.open(draw(digit, STYLES["black on white"], workdir / "digit")).resize((220, 220))
        sheet.paste(drawn.convert("RGB"), (left, 40))
    pixels = np.asarray(sheet).copy()
    pixels[75:90, 440:660] = (240, 238, 230)  # below the bar
    path = workdir / "bill.png"
    Image.fromarray(pixels).save(path)
    return path


def test_several_digits_in_picture_are_classified_in_order(bill, main, workdir):
    done = main("images=bill.png", "output=bill.json", program="predict", status=0)
    lines = [line for line in done.stdout.splitlines() if "bill.png" in line]
    assert lines[0].startswith(f"{bill.name}: 3 0 5 ")
    assert [re.match(r".* \[(\d) of 3\]: (\d) ", line).groups() for line in lines[1:]] == [
        *zip("123", "305", strict=True)
    ]
    rows = json.loads((workdir / "bill.json").read_text())["images"]
    found = [(r["image"], r["drawing"], r["drawings"], r["class"]) for r in rows]
    assert found == [("bill.png", 1, 3, "3"), ("bill.png", 2, 3, "0"), ("bill.png", 3, 3, "5")]
    one = main("images=bill.png", "several=false", program="predict", status=0)
    assert "of 3]" not in one.stdout


def test_pictures_in_form_of_training_images_are_unchanged(real_data, tmp_path):
    raw = read_images(MNIST, real_data, "test")
    images = raw.images[:200].reshape(-1, 28, 28)
    read = []
    for i, image in enumerate(images):
        Image.fromarray(image.numpy()).save(tmp_path / "exported.png")
        read += read_pictures(tmp_path / "exported.png", MNIST)
        assert torch.equal(read[i].frame, image)
    answers = [a.label for a in classify(load_file(shipped_file("mnist")), read)]
    assert np.mean(np.array(answers) == raw.labels[:200].numpy()) > 0.98


@pytest.mark.parametrize("move", [(0, 4), (-4, 0)])
def test_off_center_picture_in_training_form_is_centered(move, tmp_path):
    frame = np.zeros((28, 28), np.uint8)
    frame[4:24, 12:16] = 255
    Image.fromarray(np.roll(frame, move, (0, 1))).save(tmp_path / "one.png")
    (picture,) = read_pictures(tmp_path / "one.png", MNIST)
    center = [np.average(np.arange(28), weights=picture.frame.numpy().sum(axis, dtype=float)) for axis in (1, 0)]
    assert np.abs(np.array(center) - 13.5).max() <= 1


def test_page_without_writing_is_refused_as_blank(tmp_path):
    page = np.full((225, 300, 3), (240, 238, 230), np.uint8)
    noise = np.random.default_rng(0).normal(0, 4, page.shape)
    Image.fromarray((page + noise).clip(0, 255).astype(np.uint8)).save(tmp_path / "page.png")
    with pytest.raises(DataError, match=r"page\.png"):
        read_pictures(tmp_path / "page.png", MNIST)


def test_picture_of_clothing_keeps_gray_levels(tmp_path):
    shirt = np.full((60, 80, 3), 255, np.uint8)
    shirt[10:50, 10:30], shirt[10:50, 50:70] = 0, 128
    Image.fromarray(shirt).save(tmp_path / "two.png")
    (picture,) = read_pictures(tmp_path / "two.png", compose(["dataset=fashion_mnist"]).dataset)
    assert {0, 255} <= set(picture.frame.flatten().tolist())
    assert any(120 < value < 135 for value in picture.frame.flatten().tolist())
