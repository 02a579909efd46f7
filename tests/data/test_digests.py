"""Digests that identify the data, and tensors that runs share."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lenet_exp.data.images import TrainingData, load_training_data
from tests.data.idx import MADE_UP, pictures, write_mnist_like
from tests.tools.configs import compose

CPU = torch.device("cpu")
DIGITS = compose(["dataset=digits"])
IMAGES, LABELS = pictures(60)


CONFIG = compose(["dataset=kmnist", MADE_UP, "dataset.val_size=20"])


def load(root: Path, split_seed: int = 0, **sizes: int) -> TrainingData:
    dataset = replace(CONFIG.dataset, **sizes)
    config = replace(CONFIG, data_root=str(root), split_seed=split_seed, dataset=dataset)
    return load_training_data(config, CPU)


@pytest.fixture
def original(tmp_path) -> TrainingData:
    write_mnist_like(tmp_path / "original", "KMNIST", IMAGES, LABELS)
    return load(tmp_path / "original")


def invert_pixel(images: np.ndarray, labels: np.ndarray, a: int, b: int) -> None:
    images[a, 27, 27] ^= 1


def change_label(images: np.ndarray, labels: np.ndarray, a: int, b: int) -> None:
    labels[a] = (labels[a] + 1) % 10


def exchange(images: np.ndarray, labels: np.ndarray, a: int, b: int) -> None:
    images[[a, b]] = images[[b, a]]
    labels[[a, b]] = labels[[b, a]]


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("change", [invert_pixel, change_label, exchange])
def test_any_change_changes_only_digest_of_same_split(change, split, original, tmp_path):
    index = original.train_index if split == "train" else original.val_index
    images = IMAGES.copy()
    labels = LABELS.copy()
    change(images, labels, *index[2:4].tolist())
    write_mnist_like(tmp_path / "changed", "KMNIST", images, labels)

    digests = load(tmp_path / "changed").digests

    assert [part for part in digests if digests[part] != original.digests[part]] == [split]


def test_unused_images_do_not_change_the_digest(original, tmp_path):
    few = load(tmp_path / "original", train_size=10)
    assert few.digests["train"] != original.digests["train"]
    assert few.digests["validation"] == original.digests["validation"]

    images = IMAGES.copy()
    images[original.train_index[10:]] = 0
    write_mnist_like(tmp_path / "changed", "KMNIST", images, LABELS)
    assert load(tmp_path / "changed", train_size=10).digests == few.digests


def test_digests_do_not_depend_on_folder_or_earlier_datasets(original, tmp_path):
    splits = [{"split_seed": 0}, {"split_seed": 1}, {"val_size": 5}, {"train_size": 7}]
    shutil.copytree(tmp_path / "original", tmp_path / "copy")

    forward = [load(tmp_path / "original", **split).digests for split in splits]
    backward = [load(tmp_path / "copy", **split).digests for split in reversed(splits)]

    assert forward == backward[::-1]
    assert len({tuple(digests.values()) for digests in forward}) == len(splits)


def test_runs_in_one_process_share_tensors_of_dataset(original, tmp_path):
    other = load(tmp_path / "original", split_seed=3, val_size=10)
    assert original.images.data_ptr() == other.images.data_ptr()
    assert original.labels.data_ptr() == other.labels.data_ptr()
    assert not np.array_equal(original.val_index[:10], other.val_index)
    assert load_training_data(DIGITS, CPU).images.data_ptr() != original.images.data_ptr()


DIGESTS = {  # training and validation set
    "digits": [
        "3cd42a652988028dd5550222f00ef9cdf3ebbff6dba02e10a22972248d52f177",
        "271ca838388c25f5b1ce69e3d70f7cc832707110495d6ce331c3134ccb999125",
    ],
    "mnist": [
        "3a2bc8f4bddca8c641119cb32b121be7f9a53f78e2edcf69a5a1f39c2b4a827a",
        "36129fe15a2096963653b402db4bc4ab13986796b1e75e4223c5eeddd41e2782",
    ],
}


@pytest.mark.parametrize("dataset", DIGESTS)
def test_digests_of_datasets_never_change(dataset, request):
    overrides = [f"dataset={dataset}"]
    if dataset != "digits":
        data_root = request.getfixturevalue("real_data")
        overrides.append(f"data_root={data_root}")
    data = load_training_data(compose(overrides), CPU)
    assert [data.digests["train"], data.digests["validation"]] == DIGESTS[dataset]
