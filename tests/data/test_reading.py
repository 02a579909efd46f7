"""Files that are corrupt, read-only, missing, or not for training."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from lenet_exp.config.schema import Config
from lenet_exp.data.images import TrainingData, load_training_data
from lenet_exp.errors import DataError
from tests.data.idx import MADE_UP, pictures, write_idx, write_mnist_like, write_qmnist
from tests.tools.configs import compose
from tests.tools.stores import client, runs

IMAGES, LABELS = pictures(60)
IMAGE_FILE = "train-images-idx3-ubyte"
LABEL_FILE = "train-labels-idx1-ubyte"


@cache
def config_of(dataset: str) -> Config:
    overrides = [f"dataset={dataset}", "dataset.val_size=20"]
    if dataset == "kmnist":
        overrides.append(MADE_UP)
    return compose(overrides)


def load(root: Path, dataset: str = "kmnist") -> TrainingData:
    config = replace(config_of(dataset), data_root=str(root))
    return load_training_data(config, torch.device("cpu"))


def header(code: int, *shape: int) -> bytes:
    return struct.pack(f">HBB{len(shape)}I", 0, code, len(shape), *shape)


DAMAGE = {
    "empty": lambda whole: b"",
    "cut in the header": lambda whole: whole[:6],
    "nothing but the header": lambda whole: whole[: 4 * (1 + whole[3])],
    "one byte short": lambda whole: whole[:-1],
    "one byte too long": lambda whole: whole + b"\0",
    "of floats": lambda whole: header(13, 15, 28, 28) + bytes(4 * 15 * 28 * 28),
    "with too many dimensions": lambda whole: header(8, 60, 28, 28, 1) + bytes(60 * 28 * 28),
    "larger than memory, it says": lambda whole: header(8, 2**31, 2**31, 2**31) + whole[16:],
    "of no images": lambda whole: header(8, 0, 28, 28),
    "of images without pixels": lambda whole: header(8, 60, 0, 28) + whole[16:],
}


def write(dataset: str, root: Path, labels: np.ndarray = LABELS) -> Path:
    if dataset == "kmnist":
        return write_mnist_like(root, "KMNIST", IMAGES, labels)
    return write_qmnist(root, IMAGES, labels)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    ("dataset", "file"),
    [("kmnist", IMAGE_FILE), ("kmnist", LABEL_FILE), ("qmnist", "qmnist-train-labels-idx2-int")],
)
def test_corrupt_file_is_one_line_naming_dataset_and_folder(dataset, file, damage, tmp_path):
    raw = write(dataset, tmp_path)
    damaged = DAMAGE[damage]((raw / file).read_bytes())
    (raw / file).write_bytes(damaged)

    with pytest.raises(DataError) as caught:
        load(tmp_path, dataset)

    message = str(caught.value)
    assert message.startswith(f"dataset={dataset}: ")
    assert str(raw) in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("dataset", "wrong"), [("kmnist", 10), ("kmnist", 255), ("qmnist", -1), ("qmnist", 2**31 - 1)]
)
def test_label_outside_0_to_9_is_refused(dataset, wrong, tmp_path):
    labels = LABELS.astype(np.uint8 if dataset == "kmnist" else np.int32)
    labels[59] = wrong
    write(dataset, tmp_path, labels)
    message = rf"^dataset={dataset}: labels .*{wrong}.*; labels must be from 0 to 9$"
    with pytest.raises(DataError, match=message):
        load(tmp_path, dataset)


def test_fewer_labels_than_images_are_refused(tmp_path):
    raw = write_mnist_like(tmp_path, "KMNIST", IMAGES, LABELS)
    write_idx(raw / LABEL_FILE, LABELS[:59])
    with pytest.raises(DataError, match=r"^dataset=kmnist: 60 images .* 59 labels"):
        load(tmp_path)


CLASS_NAMES = {
    "kmnist": ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"],
    "qmnist": [str(digit) for digit in range(10)],
}


@pytest.mark.parametrize("dataset", CLASS_NAMES)
def test_kmnist_and_qmnist_train_without_test_files(dataset, main, ready, tmp_path):
    raw = write(dataset, tmp_path / "data")
    for test_file in (*raw.glob("t10k*"), *raw.glob("qmnist-test-*")):
        test_file.unlink()
    times = {path: path.stat().st_mtime_ns for path in (raw, *raw.iterdir())}
    line = [
        f"dataset={dataset}",
        f"data_root={tmp_path / 'data'}",
        "dataset.val_size=20",
        "batch_size=5",
        "num_epoch=1",
        "tracking.models=none",
        "tracking.plots=false",
    ]
    if dataset == "kmnist":
        line.append(MADE_UP)

    main(*line, status=0)

    assert {path: path.stat().st_mtime_ns for path in (raw, *raw.iterdir())} == times
    (file,) = ready.glob("runs/*/record.json")
    record = json.loads(file.read_text())
    assert record["config"]["dataset"]["class_names"] == CLASS_NAMES[dataset]
    assert sum(map(sum, record["confusion_matrix"])) == 20

    (run,) = runs(client(ready))
    inputs = {entry.tags[0].value: entry.dataset for entry in run.inputs.dataset_inputs}
    assert inputs.keys() == {"training", "validation"}
    assert inputs["training"].digest == record["data_digests"]["train"][:36]
    assert inputs["validation"].digest == record["data_digests"]["validation"][:36]
    for logged in inputs.values():
        assert logged.name == dataset
        assert str(raw) in logged.source
