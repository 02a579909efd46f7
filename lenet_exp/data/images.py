"""Image tensors for training, which are created once per process and shared by all runs in the process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from lenet_exp.config.schema import Config, Dataset, EngineName
from lenet_exp.data.readers import RawImages, read_images
from lenet_exp.data.resize import SIDE, normalize_exactly
from lenet_exp.data.shared_memory import SharedTensor, from_shared_memory, to_shared_memory
from lenet_exp.errors import ConfigError
from lenet_exp.seeds import generator

CHUNK = 4096  # number of images resized at a time, to limit memory use


@dataclass(frozen=True)
class TrainingData:
    """Images and labels of a dataset and their split into training and validation images.

    Attributes:
        name: name of the dataset.
        class_names: names of the classes, by label.
        images: tensor of shape (n, 1, 32, 32), float32, in [-1, 1].
        labels: tensor of shape (n,), int64.
        train_index, val_index: indices of the training and validation images, which are disjoint; tensors of shape
            (n_train,) and (n_val,), int64.
        digests: SHA-256 digests of the raw pixels and labels of each split (`train` and `validation`), in the order of
            the split.
        source: folder or function from which the images and labels were read.
        files: SHA-256 digest of the uncompressed content of each file that was read.
    """

    name: str
    class_names: tuple[str, ...]
    images: Tensor
    labels: Tensor
    train_index: Tensor
    val_index: Tensor
    digests: dict[str, str]
    source: str
    files: dict[str, str]


def load_training_data(config: Config, device: torch.device) -> TrainingData:
    """Return the training data of a run, on the run's device. All runs in the process share the tensors.

    Args:
        config: configuration with the chosen engine instead of `auto`. For the native engine, images are resized with
            lenet_exp's own arithmetic.
        device: device for all tensors.

    Raises:
        DataError: the dataset cannot be read.
        ConfigError: the dataset is too small for `val_size` and `train_size`.
    """
    d = config.dataset
    source = _source(d)
    known = _SHARED.get(_key(config))
    if known is None:
        images, labels = _tensors(source, config.data_root, device, _exact(config))
        raw = _raw(source, config.data_root)
        where, files = raw.source, raw.files
    else:
        images, labels = known.tensors(device)
        where, files = known.source, known.files
    train_index, val_index = _split(len(labels), d.val_size, d.train_size, config.split_seed)
    return TrainingData(
        name=d.name,
        class_names=tuple(d.class_names),
        images=images,
        labels=labels,
        train_index=train_index.to(device),
        val_index=val_index.to(device),
        digests=data_digests(config),
        source=where,
        files=files,
    )


def data_digests(config: Config) -> dict[str, str]:
    """Return the SHA-256 digest of the raw pixels and labels of each split, as in `TrainingData.digests`.

    Raises:
        DataError, ConfigError: see `load_training_data`.
    """
    d, source = config.dataset, _source(config.dataset)
    split = (d.val_size, d.train_size, config.split_seed)
    known = _SHARED.get(_key(config))
    if known is not None:
        return known.digests[split]
    return _split_digests(source, config.data_root, *split)


def train_count(config: Config) -> int:
    """Return the number of training images in a run.

    Raises:
        DataError: see `load_training_data`.
    """
    d = config.dataset
    return d.train_size or len(_raw(_source(d), config.data_root).labels) - d.val_size


def share_datasets(configs: Iterable[Config]) -> list[SharedDataset]:
    """Load the datasets of several configurations into memory that other processes can map, and return the datasets.

    A process that inherits the file descriptors of the datasets can pass them to `use_shared_datasets`. The kernel
    frees the memory when the last process that maps it ends, even on kill -9.
    """
    sets: dict[tuple[str, str, bool], SharedDataset] = {}
    for config in configs:
        d, key = config.dataset, _key(config)
        if key not in sets:
            raw = _raw(_source(d), config.data_root)
            images = to_shared_memory(_normalized(raw, _exact(config)))
            sets[key] = SharedDataset(key, images, to_shared_memory(raw.labels), raw.source, raw.files, {})
        sets[key].digests[d.val_size, d.train_size, config.split_seed] = data_digests(config)
    return list(sets.values())


def use_shared_datasets(sets: Iterable[SharedDataset]) -> None:
    """Register datasets in shared memory, so that this process uses them instead of reading the datasets' files."""
    _SHARED.update({s.key: s for s in sets})


def normalize(images: Tensor, white: int) -> Tensor:
    """Resize and scale images to a float32 tensor of shape (n, 1, 32, 32), with values in [-1, 1].

    The resizing is bilinear, and the scaling is (p - 0.5) / 0.5 for p in [0, 1].

    Args:
        images: tensor of shape (n, height, width), with values in [0, white].
        white: pixel value of white.
    """
    out = torch.empty(len(images), 1, SIDE, SIDE)
    for start in range(0, len(images), CHUNK):
        part = images[start : start + CHUNK, None].to(torch.float32) / white
        if part.shape[-2:] != (SIDE, SIDE):
            part = F.interpolate(part, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
        out[start : start + CHUNK] = (part - 0.5) / 0.5
    return out


def pixels_digest(images: Tensor, labels: Tensor, white: int) -> str:
    """Return the SHA-256 digest (hex) of raw pixels and labels.

    Args:
        images: tensor of shape (n, height, width), with values in [0, white].
        labels: tensor of shape (n,).
        white: pixel value of white.
    """
    digest = hashlib.sha256(f"{tuple(images.shape[1:])} {white}".encode())
    digest.update(images.numpy().tobytes())
    digest.update(labels.numpy().astype("<i8").tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class SharedDataset:
    """A dataset in shared memory, with the digests of the splits in use.

    Attributes:
        key: key that identifies the images and labels.
        source: folder or function from which the images and labels were read.
        files: SHA-256 digest of the uncompressed content of each file that was read.
        digests: SHA-256 digests of the raw pixels and labels for training and for validation, keyed by split (val_size,
            train_size, split_seed).
    """

    key: tuple[str, str, bool]
    images: SharedTensor
    labels: SharedTensor
    source: str
    files: dict[str, str]
    digests: dict[tuple[int, int | None, int], dict[str, str]]

    @property
    def exact(self) -> bool:
        """True if the images were resized for the native engine."""
        return self.key[2]

    @property
    def descriptors(self) -> tuple[int, int]:
        """The file descriptors that a process must inherit to use the dataset."""
        return self.images.descriptor, self.labels.descriptor

    def tensors(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the images and labels on a device. Each process creates them once per device."""
        return _mapped(self.images, device), _mapped(self.labels, device)


_SHARED: dict[tuple[str, str, bool], SharedDataset] = {}


@lru_cache(maxsize=32)
def _mapped(shared: SharedTensor, device: torch.device) -> Tensor:
    return from_shared_memory(shared).to(device)


@dataclass(frozen=True)
class _Source:
    """A dataset on disk. Two sources are equal if they have the same files and the same options for reading them."""

    key: str
    dataset: Dataset = field(compare=False)


def _source(dataset: Dataset) -> _Source:
    values = asdict(dataset)
    for how_used in ("val_size", "train_size", "picture_box", "shows", "mirrors"):
        del values[how_used]
    return _Source(json.dumps(values, sort_keys=True), dataset)


def _key(config: Config) -> tuple[str, str, bool]:
    """Return a key that is equal for runs with bit-identical images and labels."""
    return _source(config.dataset).key, config.data_root, _exact(config)


def _exact(config: Config) -> bool:
    return config.engine is EngineName.native


@lru_cache(maxsize=8)
def _raw(source: _Source, data_root: str) -> RawImages:
    return read_images(source.dataset, data_root, "train")


@lru_cache(maxsize=8)
def _tensors(source: _Source, data_root: str, device: torch.device, exact: bool) -> tuple[Tensor, Tensor]:
    raw = _raw(source, data_root)
    # The labels of QMNIST are a column of a table, but the native engine needs contiguous labels.
    return _normalized(raw, exact).to(device), raw.labels.contiguous().to(device)


def _normalized(raw: RawImages, exact: bool) -> Tensor:
    return normalize_exactly(raw.images, raw.white) if exact else normalize(raw.images, raw.white)


@lru_cache(maxsize=64)
def _split_digests(
    source: _Source, data_root: str, val_size: int, train_size: int | None, split_seed: int
) -> dict[str, str]:
    raw = _raw(source, data_root)
    n = len(raw.labels)
    if val_size + (train_size or 1) > n:
        train = "the training set" if train_size is None else f"dataset.train_size={train_size}"
        raise ConfigError(
            f"dataset.val_size={val_size}: {source.dataset.name} has only {n} images; leave enough images for {train}"
        )
    train_index, val_index = _split(n, val_size, train_size, split_seed)
    parts = {"train": train_index, "validation": val_index}
    return {name: pixels_digest(raw.images[i], raw.labels[i], raw.white) for name, i in parts.items()}


@lru_cache(maxsize=64)
def _split(n: int, val_size: int, train_size: int | None, split_seed: int) -> tuple[Tensor, Tensor]:
    """Return the indices of the training images and of the validation images, in random order."""
    order = torch.randperm(n, generator=generator(split_seed, "split"))
    return order[val_size : None if train_size is None else val_size + train_size], order[:val_size]
