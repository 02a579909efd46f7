"""Image tensors for training, which are created once per process and shared by all runs in the
process.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache

import torch
from torch import Tensor

from lenet_exp.config.image_shape import LENET5_SHAPE, STANDARD, ImageShape, Normalization
from lenet_exp.config.schema import Config, Dataset, EngineName
from lenet_exp.data.files import find_folder
from lenet_exp.data.normalization import measure_normalization, normalize
from lenet_exp.data.readers import RawImages, find_class_names, read_images
from lenet_exp.data.resize import normalize_exactly
from lenet_exp.data.shared_memory import SharedTensor, from_shared_memory, to_shared_memory
from lenet_exp.data.split import Split, split_indices, split_of
from lenet_exp.errors import ConfigError, DataError
from lenet_exp.files import user_path


@dataclass(frozen=True)
class TrainingData:
    """Images and labels of a dataset and their split into training and validation images.

    Attributes:
        name: name of the dataset.
        class_names: names of the classes, by label.
        images: tensor of shape (n, channels, size, size), float32.
        labels: tensor of shape (n,), int64.
        train_index, val_index: indices of the training and validation images, which are disjoint;
            tensors of shape (n_train,) and (n_val,), int64.
        digests: SHA-256 digests of the raw pixels and labels of each split (`train` and
            `validation`), in the order of the split.
        source: folder or function from which the images and labels were read.
        files: SHA-256 digest of the uncompressed content of each file that was read.
        shape: shape of the images, and number of the network's outputs.
        normalization: how the pixels were scaled.
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
    shape: ImageShape = LENET5_SHAPE
    normalization: Normalization = STANDARD


def load_training_data(config: Config, device: torch.device) -> TrainingData:
    """Return the training data of a run, on the run's device.

    All runs in the process share the tensors.

    Args:
        config: configuration with the chosen engine instead of `auto`. For the native engine,
            images are resized with lenet_exp's own arithmetic.
        device: device for all tensors.

    Raises:
        DataError: the dataset cannot be read.
        ConfigError: the dataset is too small for `val_size` and `train_size`.
    """
    config = with_class_names(config)
    dataset = config.dataset
    shared = _SHARED.get(_key(config))
    if shared is not None:
        images, labels = shared.tensors(device)
        normalization = shared.normalization
        origin: SharedDataset | RawImages = shared
    else:
        source = _source(dataset)
        images, labels = _tensors(source, config.data_root, device, _exact(config))
        normalization = _normalization(source, config.data_root)
        origin = _raw(source, config.data_root)

    train_index, val_index = split_indices(labels.cpu(), split_of(config))
    return TrainingData(
        name=dataset.name,
        class_names=tuple(dataset.class_names or ()),
        shape=ImageShape.of(dataset),
        normalization=normalization,
        images=images,
        labels=labels,
        train_index=train_index.to(device),
        val_index=val_index.to(device),
        digests=data_digests(config),
        source=origin.source,
        files=origin.files,
    )


def with_class_names(config: Config) -> Config:
    """Return a configuration with the names of the classes, which are read from files if null.

    Raises:
        DataError: the dataset cannot be read.
    """
    if config.dataset.class_names is not None:
        return config
    names = _class_names(_source(config.dataset), config.data_root)
    return replace(config, dataset=replace(config.dataset, class_names=list(names)))


def class_names(config: Config) -> list[str]:
    """Return the names of a configuration's classes.

    Raises:
        DataError: the names are null, and the dataset cannot be read.
    """
    return with_class_names(config).dataset.class_names or []


def image_shape(config: Config) -> ImageShape:
    """Return the shape of a configuration's images.

    Raises:
        DataError: the names of the classes are null, and the dataset cannot be read.
    """
    return ImageShape.of(with_class_names(config).dataset)


def data_digests(config: Config) -> dict[str, str]:
    """Return the SHA-256 digest of the pixels and labels of each split; see `TrainingData.digests`.

    Raises:
        DataError, ConfigError: see `load_training_data`.
    """
    config = with_class_names(config)
    shared = _SHARED.get(_key(config))
    if shared is not None:
        return shared.digests[split_of(config)]
    return _split_digests(_source(config.dataset), config.data_root, split_of(config))


def validation_images(config: Config, digest: str) -> RawImages:
    """Return the raw validation images of a run, in the order of the split.

    The images are read from files on this machine.

    Args:
        digest: digest of the images; see `TrainingData.digests`.

    Raises:
        DataError: the files are missing, cannot be read, or contain other images.
    """
    dataset = config.dataset
    root = config.data_root
    names = dataset.files.get("train", [])
    if names and find_folder(dataset, user_path(root).absolute(), names) is None:
        raise DataError(f"dataset={dataset.name}: not found in {root}")

    raw = _raw(_source(dataset), root)
    _, val_index = split_indices(raw.labels, split_of(config))
    validation = replace(raw, images=raw.images[val_index], labels=raw.labels[val_index])
    if pixels_digest(validation.images, validation.labels, validation.white) != digest:
        raise DataError(
            f"dataset={dataset.name}: the validation images in {raw.source} are different"
        )
    return validation


def train_count(config: Config) -> int:
    """Return the number of training images in a run.

    Raises:
        DataError: see `load_training_data`.
    """
    dataset = with_class_names(config).dataset
    if dataset.train_size:
        return dataset.train_size
    raw = _raw(_source(dataset), config.data_root)
    return len(raw.labels) - dataset.val_size


def share_datasets(configs: Iterable[Config]) -> list[SharedDataset]:
    """Load the datasets of several configurations into memory that other processes can map.

    A process that inherits the file descriptors of the datasets can pass them to
    `use_shared_datasets`. The kernel frees the memory when the last process that maps it ends, even
    on kill -9.
    """
    datasets: dict[tuple[str, str, bool], SharedDataset] = {}
    for config in map(with_class_names, configs):
        key = _key(config)
        if key not in datasets:
            datasets[key] = _to_shared_dataset(config)
        datasets[key].digests[split_of(config)] = data_digests(config)
    return list(datasets.values())


def _to_shared_dataset(config: Config) -> SharedDataset:
    source = _source(config.dataset)
    raw = _raw(source, config.data_root)
    normalization = _normalization(source, config.data_root)
    images = _normalized(raw, source.dataset, normalization, _exact(config))
    return SharedDataset(
        key=_key(config),
        images=to_shared_memory(images),
        labels=to_shared_memory(raw.labels),
        source=raw.source,
        files=raw.files,
        normalization=normalization,
        digests={},
    )


def use_shared_datasets(sets: Iterable[SharedDataset]) -> None:
    """Let this process use datasets in shared memory instead of reading their files."""
    _SHARED.update({dataset.key: dataset for dataset in sets})


def pixels_digest(images: Tensor, labels: Tensor, white: int) -> str:
    """Return the SHA-256 digest (hex) of raw pixels and labels.

    Args:
        images: tensor of shape (n, height, width) or (n, 3, height, width), with values in [0,
            white].
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
        normalization: how the pixels were scaled.
        digests: SHA-256 digests of the raw pixels and labels for training and for validation, keyed
            by split.
    """

    key: tuple[str, str, bool]
    images: SharedTensor
    labels: SharedTensor
    source: str
    files: dict[str, str]
    normalization: Normalization
    digests: dict[Split, dict[str, str]]

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


# Flags that do not change how a dataset's files are read.
_HOW_USED = ("val_size", "train_size", "stratified", "exact_classes", "picture_box")
_DOWNLOAD = ("mirrors", "archive", "archive_md5")


@dataclass(frozen=True)
class _Source:
    """A dataset on disk.

    Two sources are equal if they have the same files and the same options for reading them.
    """

    key: str
    dataset: Dataset = field(compare=False)


def _source(dataset: Dataset) -> _Source:
    values = asdict(dataset)
    for flag in (*_HOW_USED, *_DOWNLOAD):
        del values[flag]
    return _Source(json.dumps(values, sort_keys=True), dataset)


def _key(config: Config) -> tuple[str, str, bool]:
    """Return a key that is equal for runs with bit-identical images and labels."""
    return _source(config.dataset).key, config.data_root, _exact(config)


def _exact(config: Config) -> bool:
    return config.engine is EngineName.native


@lru_cache(maxsize=32)
def _class_names(source: _Source, data_root: str) -> tuple[str, ...]:
    return tuple(find_class_names(source.dataset, data_root))


@lru_cache(maxsize=8)
def _raw(source: _Source, data_root: str) -> RawImages:
    return read_images(source.dataset, data_root, "train")


@lru_cache(maxsize=8)
def _tensors(
    source: _Source, data_root: str, device: torch.device, exact: bool
) -> tuple[Tensor, Tensor]:
    raw = _raw(source, data_root)
    # The labels of QMNIST are a column of a table, but the native engine needs contiguous labels.
    images = _normalized(raw, source.dataset, _normalization(source, data_root), exact)
    return images.to(device), raw.labels.contiguous().to(device)


@lru_cache(maxsize=8)
def _normalization(source: _Source, data_root: str) -> Normalization:
    """Return how pixels are scaled.

    They are scaled to [-1, 1] or, for color and for sizes other than 32x32, by their mean and
    standard deviation.
    """
    if ImageShape.of(source.dataset).is_standard:
        return STANDARD
    raw = _raw(source, data_root)
    return measure_normalization(raw.images, raw.white)


def _normalized(
    raw: RawImages, dataset: Dataset, normalization: Normalization, exact: bool
) -> Tensor:
    scaled = normalize_exactly if exact else normalize
    return scaled(raw.images, raw.white, ImageShape.of(dataset).size, normalization)


@lru_cache(maxsize=64)
def _split_digests(source: _Source, data_root: str, split: Split) -> dict[str, str]:
    raw = _raw(source, data_root)
    n = len(raw.labels)
    val_size, train_size, *_ = split
    if val_size + (train_size or 1) > n:
        train = "the training set" if train_size is None else f"dataset.train_size={train_size}"
        raise ConfigError(
            f"dataset.val_size={val_size}: must leave images for {train}; "
            f"{source.dataset.name} has {n:,} for both"
        )

    train_index, val_index = split_indices(raw.labels, split)
    return {
        "train": _digest_of(raw, train_index),
        "validation": _digest_of(raw, val_index),
    }


def _digest_of(raw: RawImages, index: Tensor) -> str:
    return pixels_digest(raw.images[index], raw.labels[index], raw.white)
