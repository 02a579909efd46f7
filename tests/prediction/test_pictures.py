"""A user's pictures are found, inverted if needed, centered and classified."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lenet_exp.errors import DataError
from lenet_exp.prediction.pictures.classify import Picture, read_picture
from tests.prediction.drawn import STYLES, draw
from tests.tools.commands import refused
from tests.tools.configs import compose


def prepared(path: Path, *overrides: str) -> Picture:
    """Return a picture as prepared for a model of MNIST."""
    return read_picture(path, compose(["dataset=mnist", *overrides]).dataset)


@pytest.mark.parametrize(("digit", "style"), zip([8, 4, 1, 4, 8], STYLES, strict=True))
def test_drawing_becomes_light_on_dark_20_pixels_wide_and_centered(digit, style, tmp_path):
    picture = prepared(draw(digit, STYLES[style], tmp_path / "digit"))
    frame = picture.frame.numpy().astype(float)
    assert picture.frame.shape == (28, 28)
    assert picture.frame.dtype == torch.uint8
    assert picture.inverted == (style not in {"as in MNIST", "chalk"})
    rows, columns = np.nonzero((frame > 60).any(1))[0], np.nonzero((frame > 60).any(0))[0]
    assert max(np.ptp(rows), np.ptp(columns)) + 1 in {18, 19, 20}
    center = [np.average(np.arange(28), weights=frame.sum(axis)) for axis in (1, 0)]
    assert np.abs(np.array(center) - 13.5).max() <= 1
    assert frame.max() == 255
    assert frame[0].max() < 60  # the background is dark


def test_larger_picture_box_fills_frame(tmp_path):
    frame = prepared(draw(0, STYLES["black on white"], tmp_path / "digit"), "dataset.picture_box=28").frame
    assert (frame.amax(1) > 60).sum() >= 26


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
    assert (done.returncode, "scans/seven.png: 7" in done.stdout) == (0, True), done.stderr
    (answer,) = json.loads((workdir / "answer.json").read_text())["images"]
    assert answer["class"] == "7"


@pytest.mark.parametrize("named", ["nope.png", "scans/*.jpg", "", 'it\'s "this".png', "a\\b.png"])
def test_missing_picture_gives_one_line_error(named, drawings, main):
    refused(main(f"images={named}", program="predict"), "lenet-predict: images=")
