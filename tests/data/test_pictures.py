"""Picture files from any source: only pixels, no programs, and no more than fit in memory."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from lenet_exp.data.pictures import FORMATS, open_picture
from lenet_exp.data.readers import PICTURES, read_images
from lenet_exp.errors import DataError
from lenet_exp.prediction.pictures import read_pictures
from tests.data.test_trust import dataset
from tests.tools.configs import compose

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(%pipe%touch ran) (w) file\n%%EOF\n"


@pytest.fixture
def interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for Ghostscript in the PATH, whether or not it is installed; its file `ran`, once it has run."""
    ran = tmp_path / "ran"
    gs = tmp_path / "bin" / "gs"
    gs.parent.mkdir()
    gs.write_text(f"#!/bin/sh\ntouch {ran}\n")
    gs.chmod(0o755)
    monkeypatch.setenv("PATH", f"{gs.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # looked for again
    return ran


def test_postscript_that_is_called_a_png_is_not_run(interpreter, tmp_path):
    (tmp_path / "one.png").write_bytes(POSTSCRIPT)
    with pytest.raises(DataError, match=r"one\.png"):
        read_pictures(tmp_path / "one.png", compose(["dataset=mnist"]).dataset)
    folder = tmp_path / "set" / "train"
    for name in "ab":
        (folder / name).mkdir(parents=True)
    (folder / "a" / "one.png").write_bytes(POSTSCRIPT)
    mine = dataset("dataset=folder", f"dataset.folder={folder.parent}", "dataset.class_names=[a,b]")
    with pytest.raises(DataError, match=r"one\.png"):
        read_images(mine, str(tmp_path), "train")
    assert not interpreter.exists()


def test_pillow_would_run_it(interpreter, tmp_path):
    (tmp_path / "one.png").write_bytes(POSTSCRIPT)
    with pytest.raises(OSError), Image.open(tmp_path / "one.png") as picture:  # noqa: PT011 what it says varies
        picture.load()
    assert interpreter.exists()


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_of_pixels_is_read_and_every_ending_of_a_data_set_has_one(name, tmp_path):
    Image.new("L", (3, 2), 7).save(tmp_path / "picture", name)
    with open_picture(tmp_path / "picture") as picture:
        assert picture.convert("L").getpixel((0, 0)) == 7
    assert {Image.EXTENSION[ending] for ending in PICTURES} <= {*FORMATS, "MPO"}


def bomb(width: int, height: int) -> bytes:
    """A PNG of so many pixels in a few bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [7_072, 100_000])
def test_a_bomb_is_refused_before_its_pixels_are_unpacked(side, tmp_path):
    (tmp_path / "bomb.png").write_bytes(bomb(side, side))
    with (
        pytest.raises(ValueError, match=r"50 million|exceeds limit"),
        open_picture(tmp_path / "bomb.png"),
    ):
        pytest.fail("it was opened")


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"II*\x00\x08\x00"])
def test_what_is_damaged_is_one_line(content, tmp_path):
    (tmp_path / "picture").write_bytes(content)
    with pytest.raises(ValueError, match=r".") as caught, open_picture(tmp_path / "picture") as picture:
        picture.load()
    assert "\n" not in str(caught.value)
