"""Pictures of one's own, brought into the form that the training images have."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from lenet_exp.config.schema import Dataset, PictureContent
from lenet_exp.data.images import normalize
from lenet_exp.data.pictures import open_picture, warn_if_colored
from lenet_exp.errors import DataError, first_line
from lenet_exp.files import user_path
from lenet_exp.prediction.frame import FRAME, cropped, frame_of, place
from lenet_exp.prediction.paper import find_ink
from lenet_exp.prediction.parts import find_drawings
from lenet_exp.prediction.ruled_lines import without_lines

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pbm"}
LONGEST, SHORTEST = 640, 320  # longest side on which drawings are looked for; smaller pictures are enlarged
BROADEST = 1.43  # width of a digit by its height: 99 % of MNIST's are less broad
INK = 0.25  # share of the contrast of a thing's picture from which a pixel counts as part of it


@dataclass(frozen=True)
class Picture:
    """A drawing of a picture as the network gets it.

    Attributes:
        frame: (28, 28) uint8, light on dark.
        inverted: it was dark on light.
        number, of: which drawing of the picture it is, in reading order from 1, and of how many.
        wide: it is broader than a digit.
    """

    path: Path
    frame: Tensor
    inverted: bool
    number: int = 1
    of: int = 1
    wide: bool = False

    @property
    def name(self) -> str:
        """The file, and which of its drawings where there are several."""
        return str(self.path) if self.of == 1 else f"{self.path} [{self.number} of {self.of}]"


@dataclass(frozen=True)
class Classification:
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
        raise DataError(f"images={name}: {what}; must be a picture, a folder of them, or a pattern (*.png)")
    return found


def read_pictures(path: Path, dataset: Dataset, several: bool = True) -> list[Picture]:
    """The drawings in a picture, in reading order, each as the training images are.

    One that has the form of the training images already is taken as it is.

    Args:
        several: where the data set shows digits, a picture may have several; without it all ink is one drawing.

    Raises:
        DataError: the file is missing, no picture, or empty.
    """
    image = _read(path)
    asis = _as_trained(image, dataset)
    if asis is not None:
        return [Picture(path, torch.from_numpy(asis), inverted=False)]
    if dataset.shows is PictureContent.things:
        return [_thing(path, image, dataset.picture_box)]
    pixels = np.asarray(_sized(image), dtype=np.float64)
    ink = find_ink(pixels)
    if ink is not None:
        amount, lines, slope = without_lines(ink.amount)
        if lines is not None:
            again = find_ink(pixels, lines)
            amount = without_lines(again.amount)[0] if again else amount
            ink = again
    drawings = find_drawings(amount, several and dataset.shows is PictureContent.digits) if ink else []
    if not drawings or ink is None:
        raise DataError(f"images={path}: nothing stands out from its background")
    frames = [torch.from_numpy(frame_of(drawing, dataset.picture_box, slope)) for drawing in drawings]
    wide = [dataset.shows is PictureContent.digits and _breadth(drawing) > BROADEST for drawing in drawings]
    return [
        Picture(path, frame, ink.dark, n, len(frames), broad)
        for n, (frame, broad) in enumerate(zip(frames, wide, strict=True), 1)
    ]


def classify(network: nn.Module, pictures: list[Picture]) -> list[Classification]:
    """What a network says of pictures; it is left in eval mode."""
    images = normalize(torch.stack([p.frame for p in pictures]), 255)
    with torch.inference_mode():
        probabilities = network.eval()(images).softmax(1)
    return [Classification(p, int(row.argmax()), row.tolist()) for p, row in zip(pictures, probabilities, strict=True)]


def _read(path: Path) -> Image.Image:
    """RGB, upright; what is transparent shows white paper, or black under a white drawing."""
    try:
        with open_picture(path) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGBA")
    except FileNotFoundError as e:
        raise DataError(f"images={path}: no such file") from e
    except ValueError as e:
        raise DataError(f"images={path}: can't be read as a picture ({first_line(e)})") from e
    alpha = np.asarray(upright)[..., 3]
    drawn = np.asarray(upright.convert("L"))[alpha > 0]
    paper = "black" if alpha.min() == 0 and drawn.size and drawn.mean() > 127.5 else "white"
    canvas = Image.new("RGBA", upright.size, paper)
    canvas.alpha_composite(upright)
    return canvas.convert("RGB")


def _as_trained(image: Image.Image, dataset: Dataset) -> np.ndarray | None:
    """The pixels of a picture that is as the training images are: gray, 28x28, light on black, of their size."""
    pixels = np.asarray(image)
    gray = pixels[..., 0]
    if gray.shape != (FRAME, FRAME) or (pixels != gray[..., None]).any():
        return None
    if not gray.any() or np.median(_edge(gray)) > 0:
        return None
    if not dataset.picture_box - 1 <= max(cropped(gray, 0).shape) <= dataset.picture_box:
        return None
    center = [np.average(np.arange(FRAME), weights=gray.sum(axis, dtype=float)) for axis in (1, 0)]
    if dataset.picture_box < FRAME and np.abs(np.array(center) - (FRAME - 1) / 2).max() > 1:
        return None
    return gray.copy()


def _breadth(drawing: np.ndarray) -> float:
    """Width as a share of height."""
    height, width = cropped(drawing).shape
    return float(width / height)


def _sized(image: Image.Image) -> Image.Image:
    longest = max(image.size)
    scale = LONGEST / longest if longest > LONGEST else max(1, -(-SHORTEST // longest))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC) if scale != 1 else image


def _edge(gray: np.ndarray) -> np.ndarray:
    return np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])


def _thing(path: Path, image: Image.Image, box: int) -> Picture:
    """A thing with all its shades, light on dark; the picture's edge is taken as its background."""
    warn_if_colored("images=", image)
    gray = np.asarray(image.convert("L"), dtype=np.float64)
    background = float(np.median(_edge(gray)))
    inverted = background > 127.5
    shades = np.clip(background - gray if inverted else gray - background, 0, None)
    if shades.max() < 16:
        raise DataError(f"images={path}: nothing stands out from its background")
    shades = shades / shades.max()
    return Picture(path, torch.from_numpy(place(cropped(shades, INK), box)), inverted)
