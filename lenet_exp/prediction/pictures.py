"""Pictures of one's own, brought into the form that the training images have."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from lenet_exp.data.images import normalise
from lenet_exp.data.pictures import open_picture
from lenet_exp.errors import DataError, first_line
from lenet_exp.files import user_path

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pbm"}
FRAME = 28  # as in MNIST; LeNet-5's 32x32 is made of it like that of the training images
INK = 0.25  # share of the picture's contrast from which a pixel counts as drawn


@dataclass(frozen=True)
class Picture:
    """A picture as the network gets it.

    Attributes:
        frame: (28, 28) uint8, light on dark.
        inverted: it was dark on light.
    """

    path: Path
    frame: Tensor
    inverted: bool


@dataclass(frozen=True)
class Answer:
    """What the network says of a picture: the class, and the probability of each."""

    picture: Picture
    label: int
    probabilities: list[float]


def find_pictures(name: str) -> list[Path]:
    """The files that a person means: one, those of a folder, or those that a pattern matches.

    Raises:
        DataError: there are none.
    """
    path = user_path(name)
    found = [path]
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
    elif not path.exists():
        found = sorted(Path(p) for p in glob.glob(str(path)))
    if not found:
        what = "a folder without pictures" if path.is_dir() else "no such file"
        raise DataError(f"images={name}: {what}; allowed is a picture, a folder of them, or a pattern (*.png)")
    return found


def read_picture(path: Path, box: int) -> Picture:
    """Finds the drawing in a picture, makes it light on dark and centres it as MNIST's digits are.

    MNIST's way (LeCun et al. 1998, section III.A): scaled into a box of 20x20 pixels with its proportions kept, then
    placed by its centre of mass into 28x28. The picture's edge is taken as its background.

    Args:
        box: longest side of the drawing in the frame, in pixels; 28 fills it.

    Raises:
        DataError: the file is missing, no picture, or empty.
    """
    gray = _read_gray(path)
    edge = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    background = float(np.median(edge))
    inverted = background > 127.5
    ink = np.clip(background - gray if inverted else gray - background, 0, None)
    if ink.max() < 16:
        raise DataError(f"images={path}: nothing stands out from its background")
    ink = ink / ink.max()
    rows, columns = np.nonzero((ink >= INK).any(1))[0], np.nonzero((ink >= INK).any(0))[0]
    drawing = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Picture(path, torch.from_numpy(_place(drawing, box)), inverted)


def classify(network: nn.Module, pictures: list[Picture]) -> list[Answer]:
    """What a network says of pictures; it is left in eval mode."""
    images = normalise(torch.stack([p.frame for p in pictures]), 255)
    with torch.inference_mode():
        probabilities = network.eval()(images).softmax(1)
    return [Answer(p, int(row.argmax()), row.tolist()) for p, row in zip(pictures, probabilities, strict=True)]


def _read_gray(path: Path) -> np.ndarray:
    try:
        with open_picture(path) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGBA")
    except FileNotFoundError as e:
        raise DataError(f"images={path}: no such file") from e
    except ValueError as e:
        raise DataError(f"images={path}: can't be read as a picture ({first_line(e)})") from e
    # What is transparent shows white paper, unless the drawing itself is white.
    alpha = np.asarray(upright)[..., 3]
    drawn = np.asarray(upright.convert("L"))[alpha > 0]
    paper = "black" if alpha.min() == 0 and drawn.size and drawn.mean() > 127.5 else "white"
    canvas = Image.new("RGBA", upright.size, paper)
    canvas.alpha_composite(upright)
    return np.asarray(canvas.convert("L"), dtype=np.float64)


def _place(drawing: np.ndarray, box: int) -> np.ndarray:
    height, width = drawing.shape
    scale = box / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    small = Image.fromarray((drawing * 255).astype(np.uint8)).resize(size, method)
    pixels = np.asarray(small, dtype=np.float64)
    pixels *= 255 / max(pixels.max(), 1)  # thin lines fade when a large picture shrinks
    y, x = (np.average(np.arange(n), weights=pixels.sum(1 - axis)) for axis, n in enumerate(pixels.shape))
    top = int(np.clip(round(FRAME / 2 - 0.5 - y), 0, FRAME - pixels.shape[0]))
    left = int(np.clip(round(FRAME / 2 - 0.5 - x), 0, FRAME - pixels.shape[1]))
    frame = np.zeros((FRAME, FRAME), np.uint8)
    frame[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels.round().astype(np.uint8)
    return frame
