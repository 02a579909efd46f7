"""Datasets of other image shapes: color, any size, up to 1,000 classes, EMNIST, and CIFAR-10."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.samples import COLOR_CLASSES, own_set
from lenet_exp.api import compose
from lenet_exp.config.image_shape import ImageShape
from lenet_exp.config.schema import Config
from lenet_exp.data.images import load_training_data, with_class_names
from lenet_exp.data.readers import CIFAR_RECORD, read_images
from lenet_exp.data.split import split_indices
from lenet_exp.errors import DataError
from lenet_exp.prediction.pictures import read_picture
from tests.data.idx import pictures, png, write_idx

COLOR = ("dataset=folder", "dataset.channels=3", "dataset.val_size=100")


@pytest.fixture(scope="module")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return own_set(tmp_path_factory.mktemp("samples") / "colors", COLOR_CLASSES)


def folder(path: Path, *overrides: str) -> Config:
    return compose([*COLOR, f"dataset.folder={path}", *overrides])


def test_classes_of_folder_dataset_are_names_of_subfolders(colors):
    data = load_training_data(folder(colors), torch.device("cpu"))
    assert list(data.class_names) == sorted(COLOR_CLASSES)
    assert data.shape == ImageShape(channels=3, size=32, num_classes=20)
    assert data.images.shape == (800, 3, 32, 32)
    is_red = torch.tensor([name.startswith("red") for name in data.class_names])
    red_images = data.images[is_red[data.labels]]
    assert (red_images.amax(dim=(2, 3)).argmax(1) == 0).all()


def test_color_images_are_standardized_by_mean_and_deviation(colors):
    dataset = with_class_names(folder(colors)).dataset
    raw = read_images(dataset, "anywhere", "train").images.double() / 255

    data = load_training_data(folder(colors, "dataset.image_size=28"), torch.device("cpu"))

    assert np.allclose(data.normalization.mean, raw.mean(dim=(0, 2, 3)))
    assert np.allclose(data.normalization.sd, raw.std(dim=(0, 2, 3), correction=0))
    torch.testing.assert_close(data.images.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    gray = load_training_data(compose(["dataset=digits"]), torch.device("cpu"))
    assert gray.normalization.mean == [0.5]
    assert gray.normalization.sd == [0.5]


def test_images_of_any_size_are_scaled_and_padded_with_black(colors, tmp_path):
    wide = tmp_path / "train" / "a" / "wide.png"
    wide.parent.mkdir(parents=True)
    Image.new("RGB", (60, 30), (255, 0, 0)).save(wide)
    Image.new("RGB", (10, 20), (0, 255, 0)).save(wide.with_name("xhigh.png"))

    dataset = folder(tmp_path, "dataset.image_size=20").dataset
    raw = read_images(dataset, "anywhere", "train").images

    expected = torch.zeros(2, 3, 20, 20, dtype=torch.uint8)
    expected[0, 0, 5:15] = 255
    expected[1, 1, :, 5:15] = 255
    assert torch.equal(raw, expected)


@pytest.mark.parametrize("size", [None, 24])
@pytest.mark.parametrize("channels", [1, 3])
def test_predicted_image_is_prepared_like_a_training_image(channels, size, tmp_path):
    """The image is not square, light in the middle or at the edge, and its EXIF data rotate it."""
    shape = (60, 15) if channels == 1 else (60, 15, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    exif = Image.Exif()
    # releases before 0.3 did not rotate other pictures
    exif[0x0112] = 6 if channels == 3 or size is not None else 1
    path = tmp_path / "train" / "a" / "0.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(pixels).save(path, exif=exif)
    overrides = (f"dataset.image_size={size or 'null'}", f"dataset.channels={channels}")
    dataset = with_class_names(folder(tmp_path, *overrides)).dataset

    raw = read_images(dataset, "anywhere", "train")
    picture = read_picture(path, dataset)

    assert torch.equal(picture.frame, raw.images[0])
    assert picture.inverted is None


@pytest.mark.parametrize(
    ("spoil", "names"),
    [
        (
            lambda folder: Image.new("RGB", (9, 8)).save(folder / "zz.png"),
            ("zz.png", "9x8", "28x28", "dataset.image_size"),
        ),
        (lambda folder: Image.new("L", (28, 28)).save(folder / "zz.png"), ("zz.png", "mode is L")),
        (lambda folder: Image.new("I;16", (28, 28)).save(folder / "zz.png"), ("zz.png", "8 bits")),
        (
            lambda folder: (folder / "zz.png").write_bytes(
                png(28, 28, bytes(28 * (1 + 28 * 6)), depth=16, color=2)
            ),
            ("zz.png", "8 bits"),
        ),
        (lambda folder: os.mkdir(os.fsencode(folder.parent) + b"/\xff"), ("udcff",)),
        (lambda folder: Image.new("P", (28, 28)).save(folder / "zz.png"), ("zz.png", "palette")),
        (lambda folder: (folder / "zz.png").write_bytes(b"\x89PNG\r\n\x1a\n"), ("zz.png",)),
        (lambda folder: (folder / "zz.png").write_bytes(b"II*\x00\x08\x00"), ("zz.png",)),
        (lambda folder: (folder.parent / "empty").mkdir(), ("train/empty",)),
        (lambda folder: [(folder.parent / f"c{i}").mkdir() for i in range(981)], ("1,001",)),
    ],
)
def test_unsuitable_image_or_class_is_named(spoil, names, tmp_path):
    spoil(own_set(tmp_path, COLOR_CLASSES) / "train" / "red_circle")
    with pytest.raises(DataError) as caught:
        load_training_data(folder(tmp_path), torch.device("cpu"))
    message = str(caught.value)
    assert all(name in message for name in names)
    assert len(message.splitlines()) == 1


def test_class_that_only_the_test_set_has_is_named(colors, tmp_path):
    (tmp_path / "train").symlink_to(colors / "train")
    (tmp_path / "test").mkdir()
    for name in (*COLOR_CLASSES, "pink_circle"):
        (tmp_path / "test" / name).mkdir()
    with pytest.raises(DataError, match=r"pink_circle in .*/test;"):
        read_images(with_class_names(folder(tmp_path)).dataset, "anywhere", "test")


def test_idx_files_have_a_class_for_each_label(tmp_path):
    images, _ = pictures(124)
    write_idx(tmp_path / "train-images-idx3-ubyte", images)
    write_idx(tmp_path / "train-labels-idx1-ubyte", (np.arange(124) % 62).astype(np.uint8))
    config = compose(
        [
            "dataset=folder",
            "dataset.reader=idx",
            f"dataset.folder={tmp_path}",
            "dataset.val_size=62",
        ]
    )

    data = load_training_data(changed(config, stratified=True), torch.device("cpu"))
    assert data.shape.num_classes == 62
    assert data.class_names[-1] == "61"
    assert data.labels[data.val_index].sort().values.tolist() == list(range(62))

    from_5 = with_class_names(changed(config, first_label=5))
    assert from_5.dataset.class_names == [str(label) for label in range(5, 62)]

    three_classes = changed(config, class_names=["cat", "dog", "owl"])
    with pytest.raises(DataError, match="0 to 2"):
        load_training_data(three_classes, torch.device("cpu"))

    write_idx(tmp_path / "train-labels-idx1-ubyte", np.full(124, 10**9, np.int32))
    with pytest.raises(DataError, match="1,000,000,001"):
        with_class_names(changed(config, also_in=["another"]))


def changed(config: Config, **fields: object) -> Config:
    """Return a configuration with other fields of its dataset."""
    return replace(config, dataset=replace(config.dataset, **fields))


def test_emnist_is_transposed_and_letters_are_labeled_from_1(tmp_path):
    images, labels = pictures(60)
    raw = tmp_path / "EMNIST" / "raw"
    write_idx(raw / "emnist-letters-train-images-idx3-ubyte", images.transpose(0, 2, 1))
    write_idx(raw / "emnist-letters-train-labels-idx1-ubyte", labels + np.uint8(1))
    letters = compose(["dataset=emnist_letters"]).dataset

    read = read_images(letters, str(tmp_path), "train")

    assert np.array_equal(read.images.numpy(), images)
    assert np.array_equal(read.labels.numpy(), labels)
    assert ImageShape.of(letters).num_classes == 26

    write_idx(raw / "emnist-letters-train-labels-idx1-ubyte", labels)
    with pytest.raises(DataError, match=r"0 to 9.* 1 to 26"):
        read_images(letters, str(tmp_path), "train")


def test_cifar_10_is_read_from_binary_files(tmp_path):
    draws = np.random.default_rng(0)
    images = draws.integers(0, 256, (50, 3, 32, 32), np.uint8)
    labels = draws.integers(0, 10, 50)
    path = tmp_path / "cifar-10-batches-bin"
    path.mkdir()
    records = np.concatenate([labels[:, None], images.reshape(50, -1)], axis=1).astype(np.uint8)
    for number, part in enumerate(np.array_split(records, 5), 1):
        (path / f"data_batch_{number}.bin").write_bytes(part.tobytes())
    cifar10 = compose(["dataset=cifar10"]).dataset

    read = read_images(cifar10, str(tmp_path), "train")

    assert np.array_equal(read.images.numpy(), images)
    assert np.array_equal(read.labels.numpy(), labels)

    (path / "data_batch_3.bin").write_bytes(bytes(CIFAR_RECORD - 1))
    with pytest.raises(DataError, match=re.escape(str(path / "data_batch_3.bin"))):
        read_images(cifar10, str(tmp_path), "train")


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=20, max_size=200), st.integers(1, 19), st.integers(0, 3)
)
def test_stratified_split_keeps_the_share_of_each_class(labels, val_size, seed):
    every = torch.tensor(labels)

    train, val = split_indices(every, (val_size, None, seed, True))

    assert sorted([*train.tolist(), *val.tolist()]) == list(range(len(labels)))
    assert len(val) == val_size
    count = every[val].bincount(minlength=6)  # of each class
    exact_share = every.bincount(minlength=6) * val_size / len(labels)
    assert (count - exact_share).abs().max() < 1
