"""Image files are read as pixels only, never executed, and refused if too large for memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from lenet_exp.data.pictures import FORMATS, open_picture
from lenet_exp.data.readers import PICTURES, read_images
from lenet_exp.errors import DataError
from lenet_exp.prediction.pictures import read_picture
from tests.data.idx import png
from tests.data.test_trust import dataset
from tests.tools.configs import compose

POSTSCRIPT = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 8 8
%%EndComments
(%pipe%touch ran) (w) file
%%EOF
"""


@pytest.fixture
def interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a fake Ghostscript in the PATH, and return the file that it creates when it is run."""
    ran = tmp_path / "ran"
    gs = tmp_path / "bin" / "gs"
    gs.parent.mkdir()
    gs.write_text(f"#!/bin/sh\ntouch {ran}\n")
    gs.chmod(0o755)
    monkeypatch.setenv("PATH", f"{gs.parent}{os.pathsep}{os.environ['PATH']}")
    # so that Pillow searches the PATH again
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    return ran


def test_postscript_named_as_png_is_not_executed(interpreter, tmp_path):
    (tmp_path / "one.png").write_bytes(POSTSCRIPT)
    with pytest.raises(DataError, match=r"one\.png"):
        read_picture(tmp_path / "one.png", compose(["dataset=mnist"]).dataset)
    folder = tmp_path / "set" / "train"
    for name in "ab":
        (folder / name).mkdir(parents=True)
    (folder / "a" / "one.png").write_bytes(POSTSCRIPT)
    mine = dataset("dataset=folder", f"dataset.folder={folder.parent}", "dataset.class_names=[a,b]")
    with pytest.raises(DataError, match=r"one\.png"):
        read_images(mine, str(tmp_path), "train")
    assert not interpreter.exists()


def test_pillow_itself_executes_postscript_named_as_png(interpreter, tmp_path):
    (tmp_path / "one.png").write_bytes(POSTSCRIPT)
    with pytest.raises(OSError), Image.open(tmp_path / "one.png") as picture:  # noqa: PT011
        picture.load()
    assert interpreter.exists()


@pytest.mark.parametrize("name", FORMATS)
def test_allowed_formats_are_read_and_cover_every_dataset_suffix(name, tmp_path):
    Image.new("L", (3, 2), 7).save(tmp_path / "picture", name)
    with open_picture(tmp_path / "picture") as picture:
        assert picture.convert("L").getpixel((0, 0)) == 7
    assert {Image.EXTENSION[ending] for ending in PICTURES} <= {*FORMATS, "MPO"}


@pytest.mark.parametrize("side", [7_072, 100_000])
def test_decompression_bomb_is_refused_before_unpacking(side, tmp_path):
    (tmp_path / "bomb.png").write_bytes(png(side, side, bytes(1000)))
    with (
        pytest.raises(ValueError, match=r"50 million|exceeds limit"),
        open_picture(tmp_path / "bomb.png"),
    ):
        pytest.fail("it was opened")
