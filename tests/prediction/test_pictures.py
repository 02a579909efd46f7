"""A user's pictures are found, inverted if needed, centered and classified."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lenet_exp.data.readers import read_images
from lenet_exp.errors import DataError
from lenet_exp.prediction.pictures import Picture, classify, read_picture
from lenet_exp.tracking.models.load import load_file
from lenet_exp.tracking.models.shipped import shipped_file
from tests.prediction.drawn import STROKES, STYLES, Style, draw
from tests.tools.commands import refused
from tests.tools.configs import compose


def prepared(path: Path, *overrides: str) -> Picture:
    """Return a picture as prepared for a model of MNIST."""
    return read_picture(path, compose(["dataset=mnist", *overrides]).dataset)


def distance_from_middle(frame: np.ndarray) -> float:
    """Return the distance of a frame's center of mass from its middle, on the farther axis."""
    positions = np.arange(28)
    row = np.average(positions, weights=frame.sum(axis=1, dtype=float))
    column = np.average(positions, weights=frame.sum(axis=0, dtype=float))
    return max(abs(row - 13.5), abs(column - 13.5))


@pytest.mark.parametrize(("digit", "style"), zip([8, 4, 1, 4, 8], STYLES, strict=True))
def test_drawing_becomes_light_on_dark_20_pixels_wide_and_centered(digit, style, tmp_path):
    picture = prepared(draw(digit, STYLES[style], tmp_path / "digit"))

    assert picture.frame.shape == (28, 28)
    assert picture.frame.dtype == torch.uint8
    assert picture.inverted == (style not in {"as in MNIST", "chalk"})
    frame = picture.frame.numpy().astype(float)
    rows, columns = np.nonzero(frame > 60)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 in {18, 19, 20}
    assert distance_from_middle(frame) <= 1
    assert frame.max() > 200
    assert frame[0].max() < 60  # the background is dark


def labels(pictures: list[Picture]) -> list[int]:
    """Return the classes that the bundled MNIST model predicts."""
    return [answer.label for answer in classify(load_file(shipped_file("mnist")), pictures)]


@pytest.mark.parametrize(
    ("background", "ink"), [("white", "black"), ("black", "white"), ("#1e2878", "#f0dc50")]
)
@pytest.mark.parametrize(
    ("side", "width"), [(600, 1), (900, 1), (280, 40)], ids=["thin", "thinner", "thick"]
)
def test_digits_with_thin_and_thick_strokes_are_recognized(side, width, background, ink, tmp_path):
    style = Style(
        (side, side), width, "RGB", background, ink, corner=(side // 8, side // 4), scale=0.75
    )
    pictures = [prepared(draw(digit, style, tmp_path / str(digit))) for digit in STROKES]
    assert labels(pictures) == list(STROKES)


def test_drawing_contains_separate_strokes(tmp_path):
    pixels = np.full((100, 100), 255, np.uint8)
    pixels[20:80, 30:40] = 0
    pixels[20:28, 50:70] = 0
    Image.fromarray(pixels).save(tmp_path / "two.png")
    frame = prepared(tmp_path / "two.png").frame
    columns = frame.amax(dim=0) > 60
    assert columns.diff().sum() == 4


def test_pictures_in_form_of_training_images_are_unchanged(real_data, tmp_path):
    raw = read_images(compose(["dataset=mnist"]).dataset, real_data, "test")
    images = raw.images[:200].reshape(-1, 28, 28)

    pictures = []
    for image in images:
        for exported in (image, 255 - image):
            Image.fromarray(exported.numpy()).save(tmp_path / "exported.png")
            picture = prepared(tmp_path / "exported.png")
            assert torch.equal(picture.frame, image)
            pictures.append(picture)

    is_right = np.array(labels(pictures)) == raw.labels[:200].repeat_interleave(2).numpy()
    assert is_right.mean() > 0.98


@pytest.mark.parametrize("move", [(0, 4), (-4, 0)])
def test_off_center_picture_in_training_form_is_centered(move, tmp_path):
    frame = np.zeros((28, 28), np.uint8)
    frame[4:24, 12:16] = 255
    Image.fromarray(np.roll(frame, move, (0, 1))).save(tmp_path / "one.png")
    moved = prepared(tmp_path / "one.png").frame.numpy()
    assert distance_from_middle(moved) <= 1


def test_noisy_scan_of_blank_page_is_refused(tmp_path):
    page = np.full((225, 300, 3), (240, 238, 230), np.uint8)
    noise = np.random.default_rng(0).normal(0, 4, page.shape)
    Image.fromarray((page + noise).clip(0, 255).astype(np.uint8)).save(tmp_path / "page.png")
    with pytest.raises(DataError, match=r"page\.png"):
        prepared(tmp_path / "page.png")


def test_picture_of_clothing_keeps_gray_levels(tmp_path):
    shirt = np.full((60, 80, 3), 255, np.uint8)
    shirt[10:50, 10:30] = 0
    shirt[10:50, 50:70] = 128
    Image.fromarray(shirt).save(tmp_path / "two.png")
    picture = read_picture(tmp_path / "two.png", compose(["dataset=fashion_mnist"]).dataset)
    levels = set(picture.frame.flatten().tolist())
    assert {0, 255} <= levels
    assert any(120 < level < 135 for level in levels)


def test_larger_picture_box_fills_frame(tmp_path):
    path = draw(0, STYLES["black on white"], tmp_path / "digit")
    frame = prepared(path, "dataset.picture_box=28").frame
    bright_rows = frame.amax(1) > 60
    assert bright_rows.sum() >= 26


@pytest.mark.parametrize(
    "make",
    [
        lambda p: None,
        lambda p: p.write_text("hello"),
        lambda p: p.mkdir(),
        lambda p: Image.new("L", (30, 30), 200).save(p),  # blank
        os.mkfifo,
        lambda p: p.symlink_to("/dev/zero"),
    ],
    ids=["gone", "text", "folder", "empty", "pipe", "device"],
)
def test_invalid_picture_gives_one_line_error_and_does_not_block(make, tmp_path):
    path = tmp_path / "x.png"
    make(path)
    with pytest.raises(DataError) as caught:
        prepared(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def drawings(workdir):
    """Return a folder with a drawing, a blank scan, and a text file."""
    folder = workdir / "scans"
    folder.mkdir()
    draw(7, STYLES["black on white"], folder / "seven")
    Image.new("L", (30, 30), 200).save(folder / "empty.png")
    (folder / "notes.txt").write_text("hello")
    return folder


@pytest.mark.parametrize("named", ["scans", "scans/*.png", "[scans/seven.png,scans/empty.png]"])
def test_blank_picture_in_folder_or_pattern_does_not_stop_others(named, drawings, main):
    done = main(f"images={named}", program="predict", status=1)
    assert "scans/seven.png: 7" in done.stdout
    assert "scans/empty.png" in done.stderr
    assert "notes.txt" not in done.stdout + done.stderr


def test_single_picture_is_classified_without_training_or_store(drawings, main, outputs, workdir):
    done = main("images=scans/seven.png", "output=answer.json", program="predict")
    assert done.returncode == 0, done.stderr
    assert "scans/seven.png: 7" in done.stdout, done.stderr
    (answer,) = json.loads((workdir / "answer.json").read_text())["images"]
    assert answer["class"] == "7"


@pytest.mark.parametrize("named", ["nope.png", "scans/*.jpg", "", 'it\'s "this".png', "a\\b.png"])
def test_missing_picture_gives_one_line_error(named, drawings, main):
    refused(main(f"images={named}", program="predict"), "lenet-predict: images=")
