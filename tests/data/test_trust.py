"""Files that are not what their names say are refused by name and never trained on."""

from __future__ import annotations

import gzip
import re
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lenet_exp.api import compose
from lenet_exp.config.schema import Dataset
from lenet_exp.data.files import find_folder
from lenet_exp.data.readers import read_images
from lenet_exp.errors import DataError
from tests.data.idx import pictures, write_idx

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def dataset(*overrides: str) -> Dataset:
    return compose(list(overrides)).dataset


@pytest.fixture
def mnist(real_data, tmp_path) -> Path:
    """A copy of the real files, to be damaged; data_root is its parent's parent."""
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS):
        shutil.copyfile(Path(real_data) / "MNIST" / "raw" / name, raw / name)
    return raw


def alter(path: Path, position: int, value: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[position : position + len(value)] = value
    path.write_bytes(content)


def swap(raw: Path, one: str, two: str) -> None:
    content = (raw / one).read_bytes()
    (raw / one).write_bytes((raw / two).read_bytes())
    (raw / two).write_bytes(content)


def fashion(real: Path, raw: Path, name: str) -> None:
    shutil.copyfile(real / "FashionMNIST" / "raw" / name, raw / name)


# What is done to the files -> the file that has to be named, and what has to be said of it.
DAMAGE: dict[str, tuple[Callable[[Path, Path], object], str, str]] = {
    "truncated": (lambda raw, _: (raw / TRAIN_IMAGES).write_bytes((raw / TRAIN_IMAGES).read_bytes()[:-1000]),
                  TRAIN_IMAGES, "SHA-256"),
    "one byte more": (lambda raw, _: (raw / TRAIN_LABELS).open("ab").write(b"\0"), TRAIN_LABELS, "60,009 bytes"),
    "empty": (lambda raw, _: (raw / TRAIN_LABELS).write_bytes(b""), TRAIN_LABELS, "0 bytes"),
    "a pixel altered": (lambda raw, _: alter(raw / TRAIN_IMAGES, 20_000_000, b"\x07"), TRAIN_IMAGES, "SHA-256"),
    "a label altered": (lambda raw, _: alter(raw / TRAIN_LABELS, 30_000, b"\x09\x09\x09"), TRAIN_LABELS, "SHA-256"),
    "the header altered": (lambda raw, _: alter(raw / TRAIN_IMAGES, 0, b"\x50"), TRAIN_IMAGES, "SHA-256"),
    "images and labels swapped": (lambda raw, _: swap(raw, TRAIN_IMAGES, TRAIN_LABELS), TRAIN_IMAGES,
                                  f"it is mnist's {TRAIN_LABELS}"),
    "training and test swapped": (lambda raw, _: swap(raw, TRAIN_IMAGES, TEST_IMAGES), TRAIN_IMAGES,
                                  f"it is mnist's {TEST_IMAGES}"),
    "another set's images": (lambda raw, real: fashion(real, raw, TRAIN_IMAGES), TRAIN_IMAGES,
                             f"it is fashion_mnist's {TRAIN_IMAGES}"),
    "another set's labels": (lambda raw, real: fashion(real, raw, TRAIN_LABELS), TRAIN_LABELS,
                             f"it is fashion_mnist's {TRAIN_LABELS}"),
    "a valid file of other labels": (lambda raw, _: write_idx(raw / TRAIN_LABELS, pictures(60_000)[1]), TRAIN_LABELS,
                                     "SHA-256"),
    "a web page": (lambda raw, _: (raw / TRAIN_IMAGES).write_text("<html>Sign in</html>"), TRAIN_IMAGES, "20 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_or_mislabelled_file_is_refused_by_name(damage, mnist, real_data):
    do, name, says = DAMAGE[damage]
    do(mnist, Path(real_data))
    with pytest.raises(DataError) as caught:
        read_images(dataset("dataset=mnist"), str(mnist.parents[1]), "train")
    message = str(caught.value)
    assert message.startswith(f"dataset=mnist: {mnist / name} is not mnist's {name}")
    assert says in message
    assert "\n" not in message


def test_a_damaged_test_set_is_refused_at_prediction_and_does_not_disturb_training(mnist):
    alter(mnist / TEST_IMAGES, 5_000, b"\x01\x02")
    chosen, root = dataset("dataset=mnist"), str(mnist.parents[1])
    assert len(read_images(chosen, root, "train").labels) == 60_000
    with pytest.raises(DataError, match=re.escape(TEST_IMAGES)):
        read_images(chosen, root, "test")


def test_a_damaged_gz_file_is_named(mnist):
    content = gzip.compress((mnist / TRAIN_LABELS).read_bytes())
    (mnist / TRAIN_LABELS).unlink()
    (mnist / f"{TRAIN_LABELS}.gz").write_bytes(content[:-100])
    with pytest.raises(DataError, match=re.escape(f"{TRAIN_LABELS}.gz can't be read")):
        read_images(dataset("dataset=mnist"), str(mnist.parents[1]), "train")


def test_a_gz_file_that_unpacks_to_too_much_is_named_and_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("lenet_exp.data.files.MAX_BYTES", 2**20)
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    for name in (TRAIN_IMAGES, TRAIN_LABELS):
        (tmp_path / "MNIST" / "raw" / f"{name}.gz").write_bytes(gzip.compress(bytes(2**26)))
    tracemalloc.start()
    with pytest.raises(DataError, match=re.escape(f"{TRAIN_IMAGES}.gz can't be read: it unpacks to more than 1 MiB")):
        read_images(dataset("dataset=mnist"), str(tmp_path), "train")
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()


def test_gz_files_serve_as_they_are(mnist):
    plain = read_images(dataset("dataset=mnist"), str(mnist.parents[1]), "train")
    for name in (TRAIN_IMAGES, TRAIN_LABELS):
        (mnist / f"{name}.gz").write_bytes(gzip.compress((mnist / name).read_bytes(), 1))
        (mnist / name).unlink()
    packed = read_images(dataset("dataset=mnist"), str(mnist.parents[1]), "train")
    assert packed.files == plain.files
    assert packed.images.equal(plain.images)


def test_the_digests_of_the_files_are_measured_either_way(mnist):
    known = dataset("dataset=mnist")
    assert read_images(known, str(mnist.parents[1]), "train").files == {
        n: known.sha256[n] for n in known.files["train"]
    }


DEBIAN = Path("/usr/share/datasets/fashion-mnist")


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_debians_package_is_found_without_any_setting(tmp_path):
    chosen = dataset("dataset=fashion_mnist")
    assert find_folder(chosen, tmp_path, chosen.files["train"]) == DEBIAN
    assert len(read_images(chosen, str(tmp_path), "test").labels) == 10_000


def test_ones_own_idx_files_go_by_dataset_folder(tmp_path):
    images, labels = pictures(50)
    write_idx(tmp_path / "own" / TRAIN_IMAGES, images)
    write_idx(tmp_path / "own" / TRAIN_LABELS, labels)
    chosen = dataset("dataset=folder", "dataset.reader=idx", f"dataset.folder={tmp_path / 'own'}")
    raw = read_images(chosen, "anywhere", "train")
    assert np.array_equal(raw.images.numpy(), images)
    assert np.array_equal(raw.labels.numpy(), labels)


def write_pictures(folder: Path, classes: list[str], n: int, side: int = 28) -> None:
    images, labels = pictures(n)
    for part in ("train", "test"):
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            name = classes[label % len(classes)]
            (folder / part / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).resize((side, side)).save(folder / part / name / f"{i:04}.png")


CATS = ("dataset=folder", "dataset.class_names=[cat,dog,owl]", "dataset.val_size=40")


def test_a_folder_of_pictures_with_fewer_classes_trains_and_predicts(main, outputs, tmp_path):
    write_pictures(tmp_path / "pets", ["cat", "dog", "owl"], 300)
    pets = (*CATS, f"dataset.folder={tmp_path / 'pets'}", "dataset.name=pets")
    assert main(*pets, "num_epoch=2", "batch_size=16").returncode == 0
    done = main(*pets, program="predict")
    assert done.returncode == 0, done.stderr
    assert re.search(r"accuracy [01]\.\d{4} \(\d+/300\)", done.stdout)
    assert all(f"\n {name} " in done.stdout for name in ("cat", "dog", "owl"))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda pets: shutil.rmtree(pets / "train" / "owl"), "dataset.class_names says cat, dog, owl"),
        (lambda pets: (pets / "train" / "cow").mkdir(), "has the classes cat, cow, dog, owl"),
        (lambda pets: shutil.rmtree(pets), "no folder"),
        (lambda pets: (pets / "train" / "cat" / "x.png").write_text("no picture"), "x.png can't be read as a picture"),
        (lambda pets: Image.new("L", (20, 28)).save(pets / "train" / "dog" / "x.png"), "x.png has 20x28 pixels"),
    ],
)
def test_a_folder_that_is_not_as_it_should_be_is_named(spoil, says, tmp_path):
    write_pictures(tmp_path / "pets", ["cat", "dog", "owl"], 12)
    spoil(tmp_path / "pets")
    with pytest.raises(DataError, match=re.escape(says)):
        read_images(dataset(*CATS, f"dataset.folder={tmp_path / 'pets'}"), "anywhere", "train")


def test_labels_beyond_the_classes_are_refused(tmp_path):
    images, labels = pictures(50)
    write_idx(tmp_path / TRAIN_IMAGES, images)
    write_idx(tmp_path / TRAIN_LABELS, labels)
    with pytest.raises(DataError, match="allowed is 0 to 2"):
        read_images(dataset(*CATS, "dataset.reader=idx", f"dataset.folder={tmp_path}"), "anywhere", "train")
