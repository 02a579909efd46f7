"""Arrays of images and labels in NumPy's .npz files, which are never unpickled."""

from __future__ import annotations

import hashlib
import io
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
        keys = sorted(set(archive.files) - {NAMES})
        pairs = PAIRS[: len(keys) // 2]
        if not pairs or keys != sorted(key for pair in pairs for key in pair):
            allowed = (
                f"must contain images, labels, and optionally test_images, test_labels, {NAMES}"
            )
            raise ValueError(f"contains {sorted(archive.files)}; {allowed}")
        x, y = pairs[-1 if part == "test" else 0]
        images, labels = archive[x], archive[y]
        class_names = _class_names(archive[NAMES]) if NAMES in archive.files else ()
    kind, shape, color = images.dtype, images.shape, images.shape[3:] == (COLOR,)
    if kind != np.uint8:
        raise ValueError(
            f"{x} is {kind}; must be uint8, such as (x * 255).astype('uint8') for x from 0 to 1"
        )
    if images.size == 0 or len(shape) not in (3, 4) or shape[3:] not in ((), (GRAY,), (COLOR,)):
        raise ValueError(f"{x} has the shape {shape}; must be (n, height, width[, 3]), not empty")
    if color != (channels == COLOR):
        raise ValueError(
            f"{x} has the shape {shape}; set dataset.channels={COLOR if color else GRAY}"
        )
    if labels.dtype.kind not in "iu" or labels.shape != shape[:1]:
        raise ValueError(
            f"{y} is {labels.dtype}, {labels.shape}; must be integers of shape {shape[:1]}"
        )
    images = images.transpose(0, 3, 1, 2) if channels == COLOR else images.reshape(images.shape[:3])
    if len(pairs) == 1 and part != "all":
        order = torch.randperm(len(labels), generator=generator(0, "test images")).numpy()
        count = max(1, len(labels) // TEST_SHARE)
        chosen = np.sort(order[:count] if part == "test" else order[count:])
        images, labels = images[chosen], labels[chosen]
    return Arrays(np.array(images, order="C"), labels.astype(np.int64), class_names)


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
    if len(set(texts)) < len(texts) or not all(
        text.strip() and text.isprintable() for text in texts
    ):
        raise ValueError(f"{NAMES} must be distinct, printable texts that are not empty")
    return texts


def save_arrays(images: object, labels: object) -> tuple[Path, int]:
    """Check arrays, write them to a file in the outputs folder, and return the file and the number
    of channels.

    The name of the file is the digest of its content, so equal arrays are written only once.

    Raises:
        Exception: the arrays cannot be used; see `read_arrays`.
    """
    for name, array in (("images", images), ("labels", labels)):
        if np.ma.is_masked(array):  # numpy.savez would write the values behind the mask
            raise ValueError(f"{name} has masked values; fill them first, such as {name}.filled(0)")
    file, pixels = io.BytesIO(), np.asarray(images)
    channels = COLOR if pixels.shape[3:] == (COLOR,) else GRAY
    np.savez(file, images=pixels, labels=np.asarray(labels))
    read_arrays(file, "all", channels)
    content = file.getvalue()
    path = outputs_dir() / "arrays" / f"{hashlib.sha256(content).hexdigest()[:16]}.npz"
    if not path.is_file() or read_regular(path) != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)
    return path, channels
