"""Converts the user's own pictures to the form of the training images, and classifies the pictures."""

from __future__ import annotations

import glob
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from lenet_exp.config.image_shape import COLOR
from lenet_exp.config.schema import Dataset, PictureContent, Reader
from lenet_exp.data.normalization import normalize
from lenet_exp.data.pictures import fitted, open_picture, warn_if_colored
from lenet_exp.errors import DataError, first_line
from lenet_exp.files import user_path
from lenet_exp.prediction.pictures.frame import FRAME, Array, cropped, frame_of, place, scaled
from lenet_exp.tracking.models.load import TrainedModel

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pbm"}
SIDE = 320  # longer side, in pixels, to which a picture is scaled before its drawing is found
INK, STROKE = 0.25, 0.35  # minimum fraction of the contrast for a pixel to count as part of a thing or a drawing


@dataclass(frozen=True)
class Picture:
    """A picture, in the form of the network's input.

    Attributes:
        path: path of the picture.
        frame: gray image with shape (28, 28) or another size, light on dark, or color image with shape (3, height,
            width); uint8.
        inverted: whether the drawing was dark on light.
    """

    path: Path
    frame: Tensor
    inverted: bool


@dataclass(frozen=True)
class Classification:
    """The network's prediction for a picture: the predicted class and the probability of each class."""

    picture: Picture
    label: int
    probabilities: list[float]


def find_pictures(name: str) -> list[Path]:
    """Return the pictures that a name refers to: a single file, those in a folder, or those that match a pattern.

    Raises:
        DataError: no file was found.
    """
    path = user_path(name)
    found = [path]
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
    elif not path.exists():
        found = sorted(Path(p) for p in glob.glob(str(path)))
    if not found:
        what = "no pictures in this folder" if path.is_dir() else "not found"
        several = "," in name and all(user_path(part).exists() for part in name.split(","))
        hint = f"; did you mean 'images=[{name}]'?" if several else ""
        raise DataError(f"images={name}: {what}; must be a picture, a folder of pictures, or a pattern (*.png){hint}")
    return found


def read_picture(path: Path, dataset: Dataset) -> Picture:
    """Return a picture in the form of the training images.

    A picture that already has this form is used unchanged. A drawing consists of all pixels that stand out from the
    background, except specks.

    Raises:
        DataError: the file was not found, is not a picture, or contains no drawing.
    """
    image = _read(path)
    if dataset.channels == COLOR:
        pixels = np.asarray(image if dataset.image_size is None else fitted(image, dataset.image_size))
        return Picture(path, torch.from_numpy(pixels.transpose(2, 0, 1).copy()), inverted=False)
    size = dataset.image_size if dataset.reader is Reader.pictures and dataset.image_size is not None else FRAME
    dataset = replace(dataset, picture_box=round(dataset.picture_box * size / FRAME))
    asis = _as_trained(image, dataset, size)
    if asis is not None:
        return Picture(path, torch.from_numpy(asis), inverted=False)
    if dataset.shows is PictureContent.things:
        warn_if_colored("images=", image)
        shades, inverted = _shades(path, image)
        return Picture(path, torch.from_numpy(place(cropped(shades, INK), dataset.picture_box, size)), inverted)
    shades, inverted = _shades(path, scaled(image, SIDE / max(image.size)))
    return Picture(path, torch.from_numpy(frame_of(shades > STROKE, dataset.picture_box, size)), inverted)


def classify(model: TrainedModel, pictures: list[Picture]) -> list[Classification]:
    """Classify pictures with a model on the CPU. Afterward, its network is in evaluation mode."""
    size, normalization = model.shape.size, model.normalization
    images = torch.cat([normalize(p.frame[None], 255, size, normalization) for p in pictures])
    with torch.inference_mode():
        probabilities = model.network.cpu().eval()(images).softmax(1)
    return [Classification(p, int(row.argmax()), row.tolist()) for p, row in zip(pictures, probabilities, strict=True)]


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


def _as_trained(image: Image.Image, dataset: Dataset, size: int) -> np.ndarray | None:
    """Return the pixels of a picture if it already has the form of the training images; otherwise, return None.

    Training images are gray, `size` x `size` pixels, and light on black, with drawings of a typical size.
    """
    pixels = np.asarray(image)
    gray = pixels[..., 0]
    if gray.shape != (size, size) or (pixels != gray[..., None]).any():
        return None
    if not gray.any() or np.median(_edge(gray)) > 0:
        return None
    if not dataset.picture_box - 1 <= max(cropped(gray, 0).shape) <= dataset.picture_box:
        return None
    center = [np.average(np.arange(size), weights=gray.sum(axis, dtype=float)) for axis in (1, 0)]
    if dataset.picture_box < size and np.abs(np.array(center) - (size - 1) / 2).max() > 1:
        return None
    return gray.copy()


def _edge(gray: np.ndarray) -> np.ndarray:
    return np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])


def _shades(path: Path, image: Image.Image) -> tuple[Array, bool]:
    """Return a picture's contrast with its background, from 0 to 1, and whether the background is light.

    The edge of the picture is assumed to be background.

    Raises:
        DataError: the picture looks blank.
    """
    gray = np.asarray(image.convert("L"), dtype=np.float64)
    background = float(np.median(_edge(gray)))
    inverted = background > 127.5
    shades = np.clip(background - gray if inverted else gray - background, 0, None)
    if shades.max() < 16:
        raise DataError(f"images={path}: no object found; the picture looks blank")
    return shades / shades.max(), inverted
