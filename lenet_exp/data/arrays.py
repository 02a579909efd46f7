"""Arrays of images and labels in NumPy's .npz files, which are never unpickled."""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from zipfile import is_zipfile

import numpy as np
import torch

from lenet_exp.config.image_shape import COLOR, GRAY
from lenet_exp.files import read_regular, write_atomic
from lenet_exp.outputs import outputs_dir
from lenet_exp.seeds import generator

PAIRS = (("images", "labels"), ("test_images", "test_labels"))
NAMES = "class_names"
TEST_SHARE = 10  # if a file has no test images, one in this many images is a test image


@dataclass(frozen=True)
class Arrays:
    """The content of an .npz file.

    Attributes:
        images: array of shape (n, height, width) or (n, 3, height, width), uint8.
        labels: array of shape (n,), int64.
        class_names: names of the classes, by label; empty if the file has none.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]


def read_arrays(file: IO[bytes], part: str, channels: int) -> Arrays:
    """Return the images and labels in a part of an .npz file, and the names of the classes.

    Args:
        file: an opened .npz file.
        part: `train`, `test`, or, for both if the file has no test arrays, `all`. In such a file,
            the test images depend only on the number of images, so that no run can train on them.
        channels: number of channels that the images must have.

    Raises:
        ValueError: the content cannot be used; the message is a single line.
        Exception: the file is corrupt. NumPy and the modules for archives raise exceptions of many
            classes.
    """
    if not is_zipfile(file):
        raise ValueError("must be an .npz file, as written by numpy.savez")
    file.seek(0)
    with np.load(file, allow_pickle=False) as archive:
        pairs = _pairs_in(archive.files)
        image_key, label_key = pairs[-1 if part == "test" else 0]
        images = archive[image_key]
        labels = archive[label_key]
        class_names = _class_names(archive[NAMES]) if NAMES in archive.files else ()

    _check_images(image_key, images, channels)
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{label_key} is {labels.dtype}, {labels.shape}; "
            f"must be integers of shape {images.shape[:1]}"
        )
    images = _channels_first(images)

    has_test_images = len(pairs) > 1
    if not has_test_images and part != "all":
        chosen = _chosen_for(part, len(labels))
        images = images[chosen]
        labels = labels[chosen]
    return Arrays(np.array(images, order="C"), labels.astype(np.int64), class_names)


def _pairs_in(keys: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return the names of the arrays of images and labels in a file, for each part.

    Raises:
        ValueError: an array is missing or unknown.
    """
    names = sorted(set(keys) - {NAMES})
    pairs = PAIRS[: len(names) // 2]
    if not pairs or names != sorted(itertools.chain.from_iterable(pairs)):
        raise ValueError(
            f"contains {sorted(keys)}; must contain images, labels, "
            f"and optionally test_images, test_labels, {NAMES}"
        )
    return pairs


def _check_images(key: str, images: np.ndarray, channels: int) -> None:
    """Check the type and the shape of an array of images.

    Raises:
        ValueError: they are not allowed, or differ from the number of channels.
    """
    if images.dtype != np.uint8:
        raise ValueError(
            f"{key} is {images.dtype}; "
            "must be uint8, such as (x * 255).astype('uint8') for x from 0 to 1"
        )
    shape = images.shape
    last_axis = shape[3:]  # the channels, if the array has this axis
    is_of_images = len(shape) in (3, 4) and last_axis in ((), (GRAY,), (COLOR,))
    if images.size == 0 or not is_of_images:
        raise ValueError(f"{key} has the shape {shape}; must be (n, height, width[, 3]), not empty")

    file_channels = COLOR if last_axis == (COLOR,) else GRAY
    is_color = file_channels == COLOR
    if is_color != (channels == COLOR):
        raise ValueError(f"{key} has the shape {shape}; set dataset.channels={file_channels}")


def _channels_first(images: np.ndarray) -> np.ndarray:
    """Move the channels in front of the height, or remove the axis of a single channel."""
    if images.shape[3:] == (COLOR,):
        return images.transpose(0, 3, 1, 2)
    return images.reshape(images.shape[:3])


def _chosen_for(part: str, n: int) -> np.ndarray:
    """Return the sorted indices of the images in a part, if all `n` are in the same array."""
    order = torch.randperm(n, generator=generator(0, "test images")).numpy()
    test_size = max(1, n // TEST_SHARE)
    chosen = order[:test_size] if part == "test" else order[test_size:]
    return np.sort(chosen)


def _class_names(names: np.ndarray) -> tuple[str, ...]:
    """Check and return the names of the classes.

    Raises:
        ValueError: they are not a one-dimensional array of distinct, printable texts.
    """
    if names.dtype.kind != "U" or names.ndim != 1:
        raise ValueError(
            f"{NAMES} is {names.dtype}, {names.shape}; must be one text for each class"
        )
    texts = tuple(map(str, names))
    are_printable = all(text.strip() and text.isprintable() for text in texts)
    if len(set(texts)) < len(texts) or not are_printable:
        raise ValueError(f"{NAMES} must be distinct, printable texts that are not empty")
    return texts


def save_arrays(images: object, labels: object) -> tuple[Path, int]:
    """Check arrays, and write them to a file in the outputs folder.

    The name of the file is the digest of its content, so equal arrays are written only once.

    Returns:
        The file and the number of channels.

    Raises:
        Exception: the arrays cannot be used; see `read_arrays`.
    """
    for name, array in (("images", images), ("labels", labels)):
        if np.ma.is_masked(array):  # numpy.savez would write the values behind the mask
            raise ValueError(f"{name} has masked values; fill them first, such as {name}.filled(0)")

    pixels = np.asarray(images)
    channels = COLOR if pixels.shape[3:] == (COLOR,) else GRAY
    file = io.BytesIO()
    np.savez(file, images=pixels, labels=np.asarray(labels))
    read_arrays(file, "all", channels)

    content = file.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    path = outputs_dir() / "arrays" / f"{digest[:16]}.npz"
    if not path.is_file() or read_regular(path) != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)
    return path, channels
