"""Converts the user's own pictures to the form of the training images, and classifies them."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from lenet_exp.config.image_shape import COLOR
from lenet_exp.config.schema import Dataset, Reader
from lenet_exp.data.normalization import normalize
from lenet_exp.data.pictures import fitted, open_picture
from lenet_exp.errors import DataError, first_line
from lenet_exp.files import user_path
from lenet_exp.tracking.models.load import TrainedModel

SUFFIXES = {
    ".png",
    ".jpg",
    ".jpeg",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".webp",
    ".pgm",
    ".ppm",
    ".pbm",
}
# height and width of the network's input as in MNIST; like training images, it is later resized to
# 32x32
SIDE = 28
BLANK = 16  # contrast with the background, in gray levels, below which a picture is blank
INK = 0.25  # minimum contrast of the object's pixels, as a fraction of the largest contrast

Gray = NDArray[np.uint8]  # gray levels
Shades = NDArray[np.float32]  # contrast with the background, from 0 to 1


@dataclass(frozen=True)
class Picture:
    """A picture, in the form of the network's input.

    Attributes:
        path: path of the picture.
        frame: gray image with shape (28, 28) or another size, light on dark, or color image with
            shape (3, height, width); uint8.
        inverted: whether the object was dark on light; None if the picture was only scaled.
    """

    path: Path
    frame: Tensor
    inverted: bool | None


@dataclass(frozen=True)
class Classification:
    """The network's prediction for a picture: a class, and the probability of each class."""

    picture: Picture
    label: int
    probabilities: list[float]


def find_pictures(name: str) -> list[Path]:
    """Return the pictures that a name refers to.

    The name can be that of a single file or of a folder, or a pattern.

    Raises:
        DataError: no file was found.
    """
    path = user_path(name)
    pictures = [path]
    if path.is_dir():
        pictures = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
    elif not path.exists():
        pictures = sorted(Path(file) for file in glob.glob(str(path)))
    if pictures:
        return pictures

    problem = "no pictures in this folder" if path.is_dir() else "not found"
    has_several = "," in name and all(user_path(part).exists() for part in name.split(","))
    hint = f"; did you mean 'images=[{name}]'?" if has_several else ""
    raise DataError(
        f"images={name}: {problem}; must be a picture, a folder of pictures, or a pattern (*.png)"
        f"{hint}"
    )


def read_picture(path: Path, dataset: Dataset) -> Picture:
    """Return a picture in the form of the dataset's training images.

    If the dataset has color images or is a folder of pictures, the picture is only scaled like its
    pictures. Otherwise, the object in the picture becomes light on black, and is cropped, scaled,
    and centered.

    Raises:
        DataError: the file was not found, is not a picture, or is blank.
    """
    image = _read(path)
    if dataset.channels == COLOR or dataset.reader is Reader.pictures:
        return Picture(path, _like_training_pictures(image, dataset), inverted=None)

    gray = np.asarray(image.convert("L"))
    inverted = bool(np.median(_edge(gray)) > 127.5)
    light = 255 - gray if inverted else gray
    background = float(np.median(_edge(light)))
    contrast = int(light.max()) - background
    if contrast < BLANK:
        raise DataError(f"images={path}: no object found; the picture looks blank")

    if background == 0 and _is_prepared(light, dataset.picture_box):
        return Picture(path, torch.from_numpy(light.copy()), inverted)

    cropped = _cropped(light, background + INK * contrast)
    shades = np.clip((cropped.astype(np.float32) - background) / contrast, 0, 1)
    frame = _centered(_scaled(shades, dataset.picture_box))
    return Picture(path, torch.from_numpy(frame), inverted)


def classify(model: TrainedModel, pictures: list[Picture]) -> list[Classification]:
    """Classify pictures with a model on the CPU. Afterward, its network is in evaluation mode."""
    size = model.shape.size
    normalization = model.normalization
    inputs = [normalize(picture.frame[None], 255, size, normalization) for picture in pictures]
    images = torch.cat(inputs)  # (pictures, channels, size, size)

    with torch.inference_mode():
        network = model.network.cpu().eval()
        probabilities = network(images).softmax(1)  # (pictures, classes)

    return [
        Classification(picture, int(p.argmax()), p.tolist())
        for picture, p in zip(pictures, probabilities, strict=True)
    ]


def _read(path: Path) -> Image.Image:
    """Read a picture as upright RGB. Transparent areas become white."""
    try:
        with open_picture(path) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGBA")
    except FileNotFoundError as e:
        raise DataError(f"images={path}: not found") from e
    except ValueError as e:
        raise DataError(f"images={path}: cannot be read as a picture ({first_line(e)})") from e

    canvas = Image.new("RGBA", upright.size, "white")
    canvas.alpha_composite(upright)
    return canvas.convert("RGB")


def _like_training_pictures(image: Image.Image, dataset: Dataset) -> Tensor:
    """Return a picture's pixels, prepared like the dataset's own pictures."""
    if dataset.channels != COLOR:
        image = image.convert("L")
    if dataset.image_size is not None:
        image = fitted(image, dataset.image_size)

    pixels = torch.from_numpy(np.array(image))
    if dataset.channels == COLOR:
        return pixels.movedim(2, 0)
    return pixels


def _is_prepared(gray: Gray, box: int) -> bool:
    """Return whether a picture, light on black, already has the form of the training images."""
    if gray.shape != (SIDE, SIDE):
        return False

    longest_side = max(_cropped(gray, 0).shape)
    if not box - 1 <= longest_side <= box:
        return False

    distance = max(abs(SIDE / 2 - middle) for middle in _center_of_mass(gray))
    return distance <= 1 or box == SIDE


def _edge(gray: Gray) -> Gray:
    return np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])


def _cropped(gray: Gray, background: float) -> Gray:
    """Crop a picture to the smallest rectangle with all pixels lighter than the background."""
    drawn = gray > background
    rows = np.flatnonzero(drawn.any(axis=1))
    columns = np.flatnonzero(drawn.any(axis=0))
    return gray[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _scaled(shades: Shades, box: int) -> Shades:
    """Scale a cropped object to fit a square box.

    Its proportions stay, and so does its mean shade: when a large picture shrinks, thin lines would
    fade.
    """
    height, width = shades.shape
    scale = box / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    resampling = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    scaled = np.asarray(Image.fromarray(shades).resize(size, resampling))
    return np.clip(scaled * _mean_shade(shades) / _mean_shade(scaled), 0, 1)


def _mean_shade(shades: Shades) -> float:
    ink = shades[shades > INK * shades.max()]
    return float(ink.mean())


def _centered(shades: Shades) -> Gray:
    """Place an object in the middle of a black frame by its center of mass.

    MNIST was made like this (LeCun et al. 1998).
    """
    height, width = shades.shape
    middle_y, middle_x = _center_of_mass(shades)
    top = int(np.clip(round(SIDE / 2 - middle_y), 0, SIDE - height))
    left = int(np.clip(round(SIDE / 2 - middle_x), 0, SIDE - width))

    frame = np.zeros((SIDE, SIDE), np.uint8)
    frame[top : top + height, left : left + width] = (255 * shades).round()
    return frame


def _center_of_mass(shades: Gray | Shades) -> tuple[float, float]:
    """Return the row and the column of the center of mass. As in MNIST, the first pixel is at 0."""
    height, width = shades.shape
    row = np.average(np.arange(height), weights=shades.sum(axis=1, dtype=float))
    column = np.average(np.arange(width), weights=shades.sum(axis=0, dtype=float))
    return float(row), float(column)
