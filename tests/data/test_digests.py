"""The digests that name the data, and the tensors that runs share."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lenet_exp.api import compose
from lenet_exp.data.images import TrainingData, load_training_data
from tests.data.idx import MADE_UP, as_tensors, pictures, write_mnist_like

CPU = torch.device("cpu")
IMAGES, LABELS = pictures(60)


def load(root: Path, *overrides: str) -> TrainingData:
    small = ["dataset=kmnist", MADE_UP, "dataset.val_size=20"]
    return load_training_data(compose([*small, f"data_root={root}", *overrides]), CPU)


@pytest.fixture
def original(tmp_path) -> TrainingData:
    write_mnist_like(tmp_path / "original", "KMNIST", IMAGES, LABELS)
    return load(tmp_path / "original")


def changed(what: str, index: int, root: Path) -> dict[str, str]:
    images, labels = IMAGES.copy(), LABELS.copy()
    if what == "pixel":
        images[index, 27, 27] ^= 1
    else:
        labels[index] = (labels[index] + 1) % 10
    write_mnist_like(root, "KMNIST", images, labels)
    return load(root).digests


@pytest.mark.parametrize("what", ["pixel", "label"])
@pytest.mark.parametrize(("split", "other"), [("train", "validation"), ("validation", "train")])
def test_one_changed_pixel_or_label_changes_its_splits_digest_only(split, other, what, original, tmp_path):
    index = int((original.train_index if split == "train" else original.val_index)[3])
    digests = changed(what, index, tmp_path / "changed")
    assert digests[split] != original.digests[split]
    assert digests[other] == original.digests[other]


def test_two_images_in_exchanged_places_change_the_digest(original, tmp_path):
    a, b = original.train_index[:2].tolist()
    images, labels = IMAGES.copy(), LABELS.copy()
    images[[a, b]], labels[[a, b]] = images[[b, a]], labels[[b, a]]
    write_mnist_like(tmp_path / "changed", "KMNIST", images, labels)
    assert load(tmp_path / "changed").digests["train"] != original.digests["train"]


def test_only_what_is_used_counts(original, tmp_path):
    few = load(tmp_path / "original", "dataset.train_size=10")
    assert few.digests["train"] != original.digests["train"]
    assert few.digests["validation"] == original.digests["validation"]
    images = IMAGES.copy()
    images[original.train_index[10:]] = 0
    write_mnist_like(tmp_path / "changed", "KMNIST", images, LABELS)
    assert load(tmp_path / "changed", "dataset.train_size=10").digests == few.digests


def test_digests_do_not_depend_on_the_folder_or_on_what_was_loaded_before(original, tmp_path):
    questions = ["split_seed=0", "split_seed=1", "dataset.val_size=5", "dataset.train_size=7"]
    shutil.copytree(tmp_path / "original", tmp_path / "copy")
    forward = {q: load(tmp_path / "original", q).digests for q in questions}
    backward = {q: load(tmp_path / "copy", q).digests for q in reversed(questions)}
    assert forward == backward
    assert len({tuple(d.values()) for d in forward.values()}) == len(questions)


def test_files_are_read_as_they_were_written(original):
    images, labels = as_tensors(IMAGES, LABELS)
    assert torch.equal(original.labels, labels)
    means = original.images.mean((1, 2, 3))
    expected = images.float().mean((1, 2)) / 255 * 2 - 1
    torch.testing.assert_close(means, expected, rtol=0, atol=0.02)


def test_runs_of_a_process_share_one_tensor(tmp_path):
    write_mnist_like(tmp_path, "KMNIST", IMAGES, LABELS)
    first, second = load(tmp_path, "seed=1"), load(tmp_path, "activation=relu", "split_seed=3", "dataset.val_size=10")
    assert first.images.data_ptr() == second.images.data_ptr()
    assert first.labels.data_ptr() == second.labels.data_ptr()
    assert not np.array_equal(first.val_index, second.val_index[:20])


def test_two_data_sets_do_not_share_anything(tmp_path):
    write_mnist_like(tmp_path, "KMNIST", IMAGES, LABELS)
    digits = load_training_data(compose(["dataset=digits"]), CPU)
    assert digits.images.data_ptr() != load(tmp_path).images.data_ptr()


def test_digits_have_the_digests_they_always_had():
    digits = load_training_data(compose(["dataset=digits"]), CPU)
    assert digits.digests == {
        "train": "3cd42a652988028dd5550222f00ef9cdf3ebbff6dba02e10a22972248d52f177",
        "validation": "271ca838388c25f5b1ce69e3d70f7cc832707110495d6ce331c3134ccb999125",
    }


def test_mnist_has_the_digests_it_always_had(real_data):
    mnist = load_training_data(compose(["dataset=mnist", f"data_root={real_data}"]), CPU)
    assert mnist.digests == {
        "train": "3a2bc8f4bddca8c641119cb32b121be7f9a53f78e2edcf69a5a1f39c2b4a827a",
        "validation": "36129fe15a2096963653b402db4bc4ab13986796b1e75e4223c5eeddd41e2782",
    }
