"""Readers for the file formats of datasets. Only `lenet-predict` reads test sets."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lenet_exp.config.schema import Dataset, Reader
from lenet_exp.data.download import download
from lenet_exp.data.files import find_folder, read_file
from lenet_exp.data.idx import parse_idx
from lenet_exp.data.pictures import open_picture, warn_if_colored
from lenet_exp.errors import DataError
from lenet_exp.files import user_path

log = logging.getLogger("lenet_exp")

DIGITS_TEST_SIZE = 297
QMNIST_COLUMNS = 8
PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
Part = Literal["train", "test"]


@dataclass(frozen=True)
class RawImages:
    """Images and labels as read from the files of a dataset.

    Attributes:
        images: tensor of shape (n, height, width), uint8, in [0, white], light on dark.
        labels: tensor of shape (n,), int64, in [0, 9].
        white: pixel value of white.
        source: folder or function from which the images were read.
        files: SHA-256 digest of the content of each file that was read.
    """

    images: Tensor
    labels: Tensor
    white: int
    source: str
    files: dict[str, str] = field(default_factory=dict)


def read_images(dataset: Dataset, data_root: str, part: Part) -> RawImages:
    """Return the images and labels in one part of a dataset.

    Args:
        data_root: folder that contains all datasets.
        part: `train`, which contains the images for training and validation, or `test`.

    Raises:
        DataError: files are missing, cannot be read, or have unexpected content.
    """
    raw = READERS[dataset.reader](dataset, user_path(data_root).absolute(), part)
    if raw.labels.numel() == 0 or len(raw.images) != len(raw.labels):
        raise DataError(
            f"dataset={dataset.name}: {len(raw.images)} images but {len(raw.labels)} labels in {raw.source}"
        )
    low, high, classes = int(raw.labels.min()), int(raw.labels.max()), len(dataset.class_names)
    if low < 0 or high >= classes:
        raise DataError(
            f"dataset={dataset.name}: labels in {raw.source} range from {low} to {high}; "
            f"labels must be from 0 to {classes - 1}"
        )
    return raw


def _read_idx(dataset: Dataset, root: Path, part: Part) -> RawImages:
    names = dataset.files[part]
    folder = find_folder(dataset, root, names) or download(dataset, root, names)
    tensors, files = [], {}
    for name, dimensions in zip(names, ((3,), (1, 2)), strict=True):
        content, files[name] = read_file(dataset, folder, name)
        try:
            tensors.append(parse_idx(content, dimensions))
        except ValueError as e:
            raise DataError(f"dataset={dataset.name}: cannot use {folder / name}: {e}") from e
    images, labels = tensors
    if images.dtype != torch.uint8:
        raise DataError(f"dataset={dataset.name}: cannot use {folder / names[0]}: its pixels must be bytes")
    if not all(dataset.sha256.get(name) for name in names):
        _tell_unchecked(dataset.name, str(folder))
    if labels.ndim == 2 and labels.shape[1] != QMNIST_COLUMNS:
        raise DataError(f"dataset={dataset.name}: cannot use {folder / names[1]}: its labels must be one-dimensional")
    labels = labels[:, 0] if labels.ndim == 2 else labels  # QMNIST: column 0 is the class
    return RawImages(images, labels.to(torch.int64), 255, str(folder), files)


def _read_pictures(dataset: Dataset, root: Path, part: Part) -> RawImages:
    """Read the pictures in <folder>/<part>/<class name>/, which must all have the same size and be light on dark."""
    folder = (root / dataset.folder / part).resolve()
    if not folder.is_dir():
        raise DataError(
            f"dataset={dataset.name}: {folder} not found; set dataset.folder to a folder with train/ and test/"
        )
    found = {p.name for p in folder.iterdir() if p.is_dir()}
    if found != set(dataset.class_names):
        raise DataError(
            f"dataset={dataset.name}: {folder} has the classes {', '.join(sorted(found)) or 'none'}, but "
            f"dataset.class_names contains {', '.join(dataset.class_names)}"
        )
    digest = hashlib.sha256()
    images: list[np.ndarray] = []
    labels: list[int] = []
    for label, name in enumerate(dataset.class_names):
        for path in sorted(p for p in (folder / name).iterdir() if p.suffix.lower() in PICTURES):
            try:
                with open_picture(path) as picture:
                    pixels = np.asarray(picture.convert("L"))
                    warn_if_colored(f"dataset={dataset.name}", picture)
            except (OSError, ValueError) as e:
                raise DataError(f"dataset={dataset.name}: cannot read {path} as a picture: {e}") from e
            if images and pixels.shape != images[0].shape:
                raise DataError(
                    f"dataset={dataset.name}: {path} has {pixels.shape[1]}x{pixels.shape[0]} pixels, but other "
                    f"pictures have {images[0].shape[1]}x{images[0].shape[0]}; all pictures must have the same size"
                )
            digest.update(f"{name}/{path.name}".encode() + pixels.tobytes())
            images.append(pixels)
            labels.append(label)
    if not images:
        raise DataError(f"dataset={dataset.name}: no pictures found in {folder}")
    pixels_tensor = torch.from_numpy(np.stack(images))
    return RawImages(pixels_tensor, torch.tensor(labels), 255, str(folder), {part: digest.hexdigest()})


def _read_digits(dataset: Dataset, root: Path, part: Part) -> RawImages:
    """Read the digits from scikit-learn's data file, because importing scikit-learn would take longer than training."""
    package = find_spec("sklearn")
    file = Path(str(package and package.origin)).parent / "datasets" / "data" / "digits.csv.gz"
    try:
        table = torch.from_numpy(np.loadtxt(file, delimiter=",", dtype=np.uint8))
    except (OSError, ValueError) as e:
        raise DataError(f"dataset={dataset.name}: cannot read scikit-learn's {file}: {e}") from e
    rows = slice(None, -DIGITS_TEST_SIZE) if part == "train" else slice(-DIGITS_TEST_SIZE, None)
    images, labels = table[rows, :-1].reshape(-1, 8, 8), table[rows, -1].long()
    return RawImages(images.contiguous(), labels, 16, "sklearn.datasets.load_digits")


READERS: dict[Reader, Callable[[Dataset, Path, Part], RawImages]] = {
    Reader.idx: _read_idx,
    Reader.pictures: _read_pictures,
    Reader.digits: _read_digits,
}


@cache
def _tell_unchecked(name: str, folder: str) -> None:
    log.info("dataset=%s: no digests are known for the files in %s; only their structure is checked", name, folder)
