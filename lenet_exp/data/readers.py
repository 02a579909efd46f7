"""Reads a data set as it lies on disk. The test part is asked for by prediction alone."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lenet_exp.config.schema import Dataset, Reader
from lenet_exp.errors import DataError

DIGITS_TEST_SIZE = 297


@dataclass(frozen=True)
class RawImages:
    """images (n, height, width) uint8 in [0, white]; labels (n,) int64 in [0, 9]; where they come from."""

    images: Tensor
    labels: Tensor
    white: int
    source: str


Part = Literal["train", "test"]


def read_images(dataset: Dataset, data_root: str, part: Part) -> RawImages:
    """The images of one part; `train` is all that training and validation may use.

    Raises:
        DataError: files are missing, can't be had or can't be read.
    """
    raw = READERS[dataset.reader](dataset, Path(data_root).expanduser().absolute(), part)
    if raw.labels.numel() == 0 or len(raw.images) != len(raw.labels):
        raise DataError(
            f"dataset={dataset.name}: {len(raw.images)} images but {len(raw.labels)} labels in {raw.source}"
        )
    low, high = int(raw.labels.min()), int(raw.labels.max())
    if low < 0 or high > 9:
        raise DataError(f"dataset={dataset.name}: labels from {low} to {high} in {raw.source}; allowed is 0 to 9")
    return raw


def _read_torchvision(dataset: Dataset, root: Path, part: Part) -> RawImages:
    from torchvision import datasets

    cls = getattr(datasets, str(dataset.torchvision_class), None)
    if not (isinstance(cls, type) and issubclass(cls, datasets.MNIST)):
        raise DataError(
            f"dataset.torchvision_class={dataset.torchvision_class}: allowed is MNIST, FashionMNIST, KMNIST or QMNIST"
        )
    which = {"what": part} if issubclass(cls, datasets.QMNIST) else {"train": part == "train"}
    folder = root / cls.__name__ / "raw"
    # torchvision prefers the .pt files that its old releases left in `processed`, if they are there: pickle.
    cls = type(cls.__name__, (cls,), {"_check_legacy_exist": lambda self: False})
    try:
        loaded = cls(str(root), **which)
    except RuntimeError as e:
        if "not found" not in str(e):
            raise DataError(f"dataset={dataset.name}: {folder} can't be read: {_first_line(e)}") from e
        loaded = _download(cls, root, which, dataset.name)
    except Exception as e:  # a damaged file makes torchvision raise almost anything
        raise DataError(f"dataset={dataset.name}: {folder} can't be read: {_first_line(e)}") from e
    labels = loaded.targets[:, 0] if loaded.targets.ndim == 2 else loaded.targets  # QMNIST: column 0 is the class
    return RawImages(loaded.data, labels.to(torch.int64), 255, str(folder))


def _download(cls: type, root: Path, which: dict, name: str):  # type: ignore[no-untyped-def]
    mirrors = ", ".join(getattr(cls, "mirrors", [])) or "its home page"
    print(f"dataset={name}: not in {root}; downloading it", file=sys.stderr)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return cls(str(root), download=True, **which)
    except (RuntimeError, OSError, ValueError, AssertionError, EOFError) as e:
        for empty in (root / cls.__name__ / "raw", root / cls.__name__, root):
            with contextlib.suppress(OSError):
                empty.rmdir()
        raise DataError(
            f"dataset={name}: not found in {root} and the download failed ({_first_line(e)}; tried {mirrors}); "
            f"put its files into {root / cls.__name__ / 'raw'} or set data_root; dataset=digits needs none"
        ) from e


def _read_digits(dataset: Dataset, root: Path, part: Part) -> RawImages:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    rows = slice(None, -DIGITS_TEST_SIZE) if part == "train" else slice(-DIGITS_TEST_SIZE, None)
    images = torch.from_numpy(bunch.images.astype(np.uint8))[rows]
    labels = torch.from_numpy(bunch.target.astype(np.int64))[rows]
    return RawImages(images, labels, 16, "sklearn.datasets.load_digits")


READERS: dict[Reader, Callable[[Dataset, Path, Part], RawImages]] = {
    Reader.torchvision: _read_torchvision,
    Reader.digits: _read_digits,
}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
