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
            f"dataset={dataset.name}: {len(raw.images)} images "
            f"but {len(raw.labels)} labels in {raw.source}"
        )

    # Labels as in the files, in which the first class can have another label than 0.
    lowest = int(raw.labels.min()) + dataset.first_label
    highest = int(raw.labels.max()) + dataset.first_label
    classes = MOST_CLASSES
    if dataset.class_names:
        classes = len(dataset.class_names)
    last_label = dataset.first_label + classes - 1
    if lowest < dataset.first_label or highest > last_label:
        raise DataError(
            f"dataset={dataset.name}: labels in {raw.source} range from {lowest} to {highest}; "
            f"labels must be from {dataset.first_label} to {last_label}"
        )
    return raw


def find_class_names(dataset: Dataset, data_root: str) -> list[str]:
    """Return the names of a dataset's classes if they are not set.

    They are the names of its folders, the names in its file, or its labels as text.

    Raises:
        DataError: the training set was not found, or has too many classes.
    """
    root = user_path(data_root).absolute()
    names: Sequence[object]
    if dataset.reader is Reader.pictures:
        names = sorted(_class_folders(dataset, root, "train"))
    else:
        # If all images of a class in an .npz file are test images, the class also has a name.
        part: Part = "all" if dataset.reader is Reader.arrays else "train"
        raw = READERS[dataset.reader](dataset, root, part)
        names = raw.class_names or _labels_of_classes(raw.labels, dataset.first_label)

    if not 1 <= len(names) <= MOST_CLASSES:
        raise DataError(
            f"dataset={dataset.name}: the training set has {len(names):,} classes; "
            f"must have 1 to {MOST_CLASSES:,}"
        )
    return list(map(str, names))


def _labels_of_classes(labels: Tensor, first_label: int) -> range:
    """Return the labels from the first to the last, as in the files.

    Args:
        labels: tensor of shape (n,), from 0.
    """
    last = -1
    if len(labels):
        last = min(int(labels.max()), 2**32)  # so that the range has a length, even if corrupt
    return range(first_label, first_label + last + 1)


def _read_files(
    dataset: Dataset, root: Path, part: Part
) -> tuple[Path, list[bytes], dict[str, str]]:
    """Return the folder of a dataset, the content of each file of a part, and the files' digests.

    The digests are keyed by the names of the files.
    """
    names = dataset.files[part]
    folder = find_folder(dataset, root, names) or download(dataset, root, names)
    contents: dict[str, bytes] = {}
    digests: dict[str, str] = {}
    for name in names:
        contents[name], digests[name] = read_file(dataset, folder, name)
    return folder, list(contents.values()), digests


def _read_idx(dataset: Dataset, root: Path, part: Part) -> RawImages:
    folder, contents, digests = _read_files(dataset, root, part)
    names = dataset.files[part]
    allowed_dimensions = ((3,), (1, 2))  # of images and of labels
    tensors = []
    for name, content, dimensions in zip(names, contents, allowed_dimensions, strict=True):
        try:
            tensors.append(parse_idx(content, dimensions))
        except ValueError as e:
            raise DataError(f"dataset={dataset.name}: cannot use {folder / name}: {e}") from e

    images, labels = tensors
    if images.dtype != torch.uint8:
        raise DataError(
            f"dataset={dataset.name}: cannot use {folder / names[0]}: its pixels must be bytes"
        )
    if labels.ndim == 2:
        if labels.shape[1] != QMNIST_COLUMNS:
            raise DataError(
                f"dataset={dataset.name}: cannot use {folder / names[1]}: "
                "its labels must be one-dimensional"
            )
        labels = labels[:, 0]  # QMNIST: column 0 is the class
    labels = labels.to(torch.int64) - dataset.first_label

    if dataset.transposed:
        images = images.transpose(1, 2).contiguous()
    return RawImages(images, labels, 255, str(folder), files=digests)


def _read_cifar(dataset: Dataset, root: Path, part: Part) -> RawImages:
    """Read the binary version of CIFAR-10 (Krizhevsky 2009).

    A record is one byte for the label, and then the red, green, and blue pixels of a 32x32 image.
    """
    folder, contents, digests = _read_files(dataset, root, part)
    for name, content in zip(dataset.files[part], contents, strict=True):
        if len(content) % CIFAR_RECORD:
            raise DataError(
                f"dataset={dataset.name}: cannot use {folder / name}: {len(content):,} bytes, "
                f"which is no multiple of {CIFAR_RECORD:,} bytes per image"
            )

    joined = np.concatenate([np.frombuffer(content, np.uint8) for content in contents])
    records = torch.from_numpy(joined).reshape(-1, CIFAR_RECORD)
    images = records[:, 1:].reshape(-1, 3, 32, 32).contiguous()
    labels = records[:, 0].long()
    return RawImages(images, labels, 255, str(folder), files=digests)


def _read_pictures(dataset: Dataset, root: Path, part: Part) -> RawImages:
    """Read the pictures in <folder>/<part>/<class name>/, light on dark.

    If `image_size` is not set, all pictures must have the same size.
    """
    class_folders = _class_folders(dataset, root, part)
    names = dataset.class_names or sorted(class_folders)
    folder = _part_folder(dataset, root, part)
    _check_classes(dataset, folder, set(class_folders), set(names))

    digest = hashlib.sha256()
    images: list[np.ndarray] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        for path in _pictures_in(dataset, class_folders[name]):
            try:
                pixels = read_picture(path, dataset)
            except (OSError, ValueError) as e:
                raise DataError(f"dataset={dataset.name}: cannot use {path}: {e}") from e
            if images and pixels.shape != images[0].shape:
                raise DataError(
                    f"dataset={dataset.name}: {path} has {_size_of(pixels)} pixels, but other "
                    f"pictures have {_size_of(images[0])}; "
                    "set dataset.image_size to resize all pictures"
                )
            digest.update(f"{name}/{path.name}".encode() + pixels.tobytes())
            images.append(pixels)
            labels.append(label)

    files: dict[str, str] = {part: digest.hexdigest()}
    pixels_of_all = torch.from_numpy(np.stack(images))
    return RawImages(pixels_of_all, torch.tensor(labels), 255, str(folder), files=files)


def _check_classes(dataset: Dataset, folder: Path, folders: set[str], classes: set[str]) -> None:
    """Check that a folder contains a folder for each class, and no others.

    Args:
        folders: names of the folders in `folder`.
        classes: names of the classes.
    """
    unknown = sorted(folders - classes)
    missing = sorted(classes - folders)
    if unknown:
        problem = f"unknown class {first_of(unknown, MOST_NAMED)}"
    elif missing:
        problem = f"no folder for class {first_of(missing, MOST_NAMED)}"
    else:
        return
    raise DataError(
        f"dataset={dataset.name}: {problem} in {folder}; "
        f"expected one of: {first_of(sorted(classes), MOST_NAMED)}"
    )


def _pictures_in(dataset: Dataset, folder: Path) -> list[Path]:
    """Return the picture files in the folder of a class, sorted by name."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    if not paths:
        raise DataError(f"dataset={dataset.name}: no pictures found in {folder}")
    return paths


def _size_of(pixels: np.ndarray) -> str:
    """Return the size of a picture: `32x24` for 32 columns and 24 rows."""
    *_, height, width = pixels.shape
    return f"{width}x{height}"


def _class_folders(dataset: Dataset, root: Path, part: Part) -> dict[str, Path]:
    """Return the folder of each class in a folder of pictures. Hidden folders are ignored."""
    folder = _part_folder(dataset, root, part)
    if not folder.is_dir():
        raise DataError(
            f"dataset={dataset.name}: {folder} not found; "
            "set dataset.folder to a folder with train/ and test/"
        )

    class_folders: dict[str, Path] = {}
    for path in folder.iterdir():
        if path.is_dir() and not path.name.startswith("."):
            class_folders[path.name] = path

    for name in class_folders:
        if not name.isprintable():
            raise DataError(
                f"dataset={dataset.name}: the name of the folder {name!a} in {folder} "
                "must be printable text"
            )
    return class_folders


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
    """Read the digits from scikit-learn's data file.

    To import scikit-learn would take longer than training.
    """
    package = find_spec("sklearn")
    package_file = package.origin if package is not None else None
    file = Path(str(package_file)).parent / "datasets" / "data" / "digits.csv.gz"
    try:
        table = torch.from_numpy(np.loadtxt(file, delimiter=",", dtype=np.uint8))
    except (OSError, ValueError) as e:
        raise DataError(f"dataset={dataset.name}: cannot read scikit-learn's {file}: {e}") from e

    rows = table[:-DIGITS_TEST_SIZE] if part == "train" else table[-DIGITS_TEST_SIZE:]
    images = rows[:, :-1].reshape(-1, 8, 8).contiguous()
    labels = rows[:, -1].long()
    return RawImages(images, labels, 16, "sklearn.datasets.load_digits")


READERS: dict[Reader, Callable[[Dataset, Path, Part], RawImages]] = {
    Reader.idx: _read_idx,
    Reader.pictures: _read_pictures,
    Reader.cifar: _read_cifar,
    Reader.arrays: _read_arrays,
    Reader.digits: _read_digits,
}
