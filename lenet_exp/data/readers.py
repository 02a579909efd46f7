"""Readers for the file formats of datasets. Only `lenet-predict` reads test sets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lenet_exp.amounts import first_of
from lenet_exp.config.image_shape import MOST_CLASSES
from lenet_exp.config.schema import Dataset, Reader
from lenet_exp.data.arrays import read_arrays
from lenet_exp.data.download import download
from lenet_exp.data.files import find_folder, read_file
from lenet_exp.data.idx import parse_idx
from lenet_exp.data.pictures import read_picture
from lenet_exp.errors import DataError, first_line
from lenet_exp.files import check_regular, user_path

DIGITS_TEST_SIZE = 297
QMNIST_COLUMNS = 8
CIFAR_RECORD = 1 + 3 * 32 * 32  # bytes per image
MOST_NAMED = 12  # maximum number of classes in a message
PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
Part = Literal["train", "test", "all"]


@dataclass(frozen=True)
class RawImages:
    """Images and labels as read from the files of a dataset.

    Attributes:
        images: tensor of shape (n, height, width) or, in color, (n, 3, height, width); uint8, in
            [0, white].
        labels: tensor of shape (n,), int64, from 0 to the number of classes - 1.
        white: pixel value of white.
        source: folder or function from which the images were read.
        files: SHA-256 digest of the content of each file that was read.
        class_names: names of the classes, by label, if the files contain them; otherwise, empty.
    """

    images: Tensor
    labels: Tensor
    white: int
    source: str
    files: dict[str, str] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()


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
    low, high = (int(label) + dataset.first_label for label in (raw.labels.min(), raw.labels.max()))
    last = len(dataset.class_names or [""] * MOST_CLASSES) - 1 + dataset.first_label
    if low < dataset.first_label or high > last:
        raise DataError(
            f"dataset={dataset.name}: labels in {raw.source} range from {low} to {high}; "
            f"labels must be from {dataset.first_label} to {last}"
        )
    return raw


def find_class_names(dataset: Dataset, data_root: str) -> list[str]:
    """Return the names of a dataset's classes if they are not set: the names of its folders, the
    names in its file, or its labels as text.

    Raises:
        DataError: the training set was not found, or has too many classes.
    """
    root = user_path(data_root).absolute()
    names: Sequence[object]
    if dataset.reader is Reader.pictures:
        names = sorted(_class_folders(dataset, root, "train"))
    else:
        # If all images of a class in an .npz file are test images, the class also has a name.
        raw = READERS[dataset.reader](
            dataset, root, "all" if dataset.reader is Reader.arrays else "train"
        )
        last = min(int(raw.labels.max()), 2**32) if len(raw.labels) else -1
        names = raw.class_names or range(dataset.first_label, dataset.first_label + last + 1)
    if not 1 <= len(names) <= MOST_CLASSES:
        raise DataError(
            f"dataset={dataset.name}: the training set has {len(names):,} classes; must have 1 to {MOST_CLASSES:,}"
        )
    return list(map(str, names))


def _read_files(
    dataset: Dataset, root: Path, part: Part
) -> tuple[Path, list[bytes], dict[str, str]]:
    """Return the folder of a dataset, the content of each file of a part, and the files' digests by
    name.
    """
    names = dataset.files[part]
    folder = find_folder(dataset, root, names) or download(dataset, root, names)
    read = {name: read_file(dataset, folder, name) for name in names}
    return (
        folder,
        [content for content, _ in read.values()],
        {name: digest for name, (_, digest) in read.items()},
    )


def _read_idx(dataset: Dataset, root: Path, part: Part) -> RawImages:
    folder, contents, files = _read_files(dataset, root, part)
    names, tensors = dataset.files[part], []
    for name, content, dimensions in zip(names, contents, ((3,), (1, 2)), strict=True):
        try:
            tensors.append(parse_idx(content, dimensions))
        except ValueError as e:
            raise DataError(f"dataset={dataset.name}: cannot use {folder / name}: {e}") from e
    images, labels = tensors
    if images.dtype != torch.uint8:
        raise DataError(
            f"dataset={dataset.name}: cannot use {folder / names[0]}: its pixels must be bytes"
        )
    if labels.ndim == 2 and labels.shape[1] != QMNIST_COLUMNS:
        raise DataError(
            f"dataset={dataset.name}: cannot use {folder / names[1]}: its labels must be one-dimensional"
        )
    labels = labels[:, 0] if labels.ndim == 2 else labels  # QMNIST: column 0 is the class
    if dataset.transposed:
        images = images.transpose(1, 2).contiguous()
    return RawImages(
        images, labels.to(torch.int64) - dataset.first_label, 255, str(folder), files=files
    )


def _read_cifar(dataset: Dataset, root: Path, part: Part) -> RawImages:
    """Read the binary version of CIFAR-10 (Krizhevsky 2009): one byte for the label, then the red,
    green, and blue pixels of 32x32 images."""
    folder, contents, files = _read_files(dataset, root, part)
    for name, content in zip(dataset.files[part], contents, strict=True):
        if len(content) % CIFAR_RECORD:
            raise DataError(
                f"dataset={dataset.name}: cannot use {folder / name}: {len(content):,} bytes, which is no multiple of "
                f"{CIFAR_RECORD:,} bytes per image"
            )
    table = torch.from_numpy(
        np.concatenate([np.frombuffer(c, np.uint8) for c in contents])
    ).reshape(-1, CIFAR_RECORD)
    return RawImages(
        table[:, 1:].reshape(-1, 3, 32, 32).contiguous(),
        table[:, 0].long(),
        255,
        str(folder),
        files=files,
    )


def _read_pictures(dataset: Dataset, root: Path, part: Part) -> RawImages:
    """Read the pictures in <folder>/<part>/<class name>/, light on dark.

    If `image_size` is not set, all pictures must have the same size.
    """
    found = _class_folders(dataset, root, part)
    names = dataset.class_names or sorted(found)
    folder = _part_folder(dataset, root, part)
    for what, some in (
        ("unknown class", found.keys() - names),
        ("no folder for class", set(names) - found.keys()),
    ):
        if some:
            raise DataError(
                f"dataset={dataset.name}: {what} {first_of(sorted(some), MOST_NAMED)} in {folder}; "
                f"expected one of: {first_of(sorted(names), MOST_NAMED)}"
            )
    digest = hashlib.sha256()
    images: list[np.ndarray] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        paths = sorted(p for p in found[name].iterdir() if p.suffix.lower() in PICTURES)
        if not paths:
            raise DataError(f"dataset={dataset.name}: no pictures found in {found[name]}")
        for path in paths:
            try:
                pixels = read_picture(path, dataset)
            except (OSError, ValueError) as e:
                raise DataError(f"dataset={dataset.name}: cannot use {path}: {e}") from e
            if images and pixels.shape != images[0].shape:
                sizes = [
                    "x".join(map(str, shape[:-3:-1])) for shape in (pixels.shape, images[0].shape)
                ]
                raise DataError(
                    f"dataset={dataset.name}: {path} has {sizes[0]} pixels, but other pictures have {sizes[1]}; set "
                    "dataset.image_size to resize all pictures"
                )
            digest.update(f"{name}/{path.name}".encode() + pixels.tobytes())
            images.append(pixels)
            labels.append(label)
    pixels_tensor = torch.from_numpy(np.stack(images))
    return RawImages(
        pixels_tensor, torch.tensor(labels), 255, str(folder), files={part: digest.hexdigest()}
    )


def _class_folders(dataset: Dataset, root: Path, part: Part) -> dict[str, Path]:
    """Return the folder of each class in a folder of pictures. Hidden folders are ignored."""
    folder = _part_folder(dataset, root, part)
    if not folder.is_dir():
        raise DataError(
            f"dataset={dataset.name}: {folder} not found; set dataset.folder to a folder with train/ and test/"
        )
    found = {p.name: p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")}
    if odd := next((name for name in found if not name.isprintable()), None):
        raise DataError(
            f"dataset={dataset.name}: the name of the folder {odd!a} in {folder} must be printable text"
        )
    return found


def _part_folder(dataset: Dataset, root: Path, part: Part) -> Path:
    return (root / dataset.folder / part).resolve()


def _read_arrays(dataset: Dataset, _: Path, part: Part) -> RawImages:
    if dataset.file is None:
        raise DataError(f"dataset={dataset.name}: requires dataset.file, the path of an .npz file")
    path = user_path(dataset.file).absolute()
    try:
        check_regular(path)
        with path.open("rb") as file:
            arrays = read_arrays(file, part, dataset.channels)
            file.seek(0)
            files = {path.name: hashlib.file_digest(file, "sha256").hexdigest()}
    except Exception as e:  # see read_arrays
        problem = getattr(e, "strerror", None) or first_line(e)
        raise DataError(f"dataset={dataset.name}: cannot use dataset.file={path}: {problem}") from e
    images = torch.from_numpy(arrays.images)
    labels = torch.from_numpy(arrays.labels) - dataset.first_label
    return RawImages(images, labels, 255, str(path), files=files, class_names=arrays.class_names)


def _read_digits(dataset: Dataset, root: Path, part: Part) -> RawImages:
    """Read the digits from scikit-learn's data file, because importing scikit-learn would take
    longer than training.
    """
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
    Reader.cifar: _read_cifar,
    Reader.arrays: _read_arrays,
    Reader.digits: _read_digits,
}
