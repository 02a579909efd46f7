"""Files with unexpected content are refused by name and never used for training."""

from __future__ import annotations

import gzip
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import samples
from lenet_exp.config.schema import Dataset
from lenet_exp.data.files import find_folder
from lenet_exp.data.readers import read_images
from lenet_exp.errors import DataError
from tests.data.idx import MADE_UP, pictures, write_mnist_like
from tests.tools.configs import compose

TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"


def dataset(*overrides: str) -> Dataset:
    return compose(list(overrides)).dataset


@pytest.fixture
def mnist(real_data, tmp_path) -> Path:
    """A copy of the real files for tests to corrupt; data_root is two folders above."""
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS):
        shutil.copyfile(Path(real_data) / "MNIST" / "raw" / name, raw / name)
    return raw


def truncate(path: Path, left_out: int) -> None:
    path.write_bytes(path.read_bytes()[:-left_out])


def alter(path: Path, position: int, value: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[position : position + len(value)] = value
    path.write_bytes(content)


# The change to the files, the file that the error names, and a text in the error.
DAMAGE: dict[str, tuple[Callable[[Path, Path], object], str, str]] = {
    "truncated": (
        lambda raw, _: truncate(raw / TRAIN_IMAGES, 1000),
        TRAIN_IMAGES,
        "SHA-256",
    ),
    "one byte more": (
        lambda raw, _: (raw / TRAIN_LABELS).open("ab").write(b"\0"),
        TRAIN_LABELS,
        "60,009 bytes",
    ),
    "a pixel altered": (
        lambda raw, _: alter(raw / TRAIN_IMAGES, 20_000_000, b"\x07"),
        TRAIN_IMAGES,
        "SHA-256",
    ),
    "images and labels swapped": (
        lambda raw, _: shutil.copy(raw / TRAIN_LABELS, raw / TRAIN_IMAGES),
        TRAIN_IMAGES,
        f"the {TRAIN_LABELS} file of mnist",
    ),
    "another set's labels": (
        lambda raw, real: shutil.copy(real / "FashionMNIST" / "raw" / TRAIN_LABELS, raw),
        TRAIN_LABELS,
        f"the {TRAIN_LABELS} file of fashion_mnist",
    ),
    "a web page": (
        lambda raw, _: (raw / TRAIN_IMAGES).write_text("<html>Sign in</html>"),
        TRAIN_IMAGES,
        "20 bytes",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_corrupt_or_swapped_file_is_refused_by_name(damage, mnist, real_data):
    change_files, name, expected = DAMAGE[damage]
    change_files(mnist, Path(real_data))

    with pytest.raises(DataError) as caught:
        read_images(dataset("dataset=mnist"), str(mnist.parents[1]), "train")

    message = str(caught.value)
    assert message.startswith(f"dataset=mnist: {mnist / name} ")
    assert expected in message
    assert "\n" not in message


def test_corrupt_test_set_is_refused_only_at_prediction(mnist):
    alter(mnist / TEST_IMAGES, 5_000, b"\x01\x02")
    chosen = dataset("dataset=mnist")
    root = str(mnist.parents[1])

    train = read_images(chosen, root, "train")
    assert len(train.labels) == 60_000
    assert train.files == {name: chosen.sha256[name] for name in chosen.files["train"]}
    with pytest.raises(DataError, match=re.escape(TEST_IMAGES)):
        read_images(chosen, root, "test")


def test_gz_files_are_read_and_a_corrupt_gz_file_is_named(tmp_path):
    kmnist = dataset("dataset=kmnist", MADE_UP)
    raw = write_mnist_like(tmp_path, "KMNIST", *pictures(60))
    plain = read_images(kmnist, str(tmp_path), "train")

    for name in (TRAIN_IMAGES, TRAIN_LABELS):
        (raw / f"{name}.gz").write_bytes(gzip.compress((raw / name).read_bytes(), 1))
        (raw / name).unlink()
    packed = read_images(kmnist, str(tmp_path), "train")
    assert packed.files == plain.files
    assert packed.images.equal(plain.images)

    truncate(raw / f"{TRAIN_LABELS}.gz", 10)
    with pytest.raises(DataError, match=re.escape(f"{TRAIN_LABELS}.gz ")):
        read_images(kmnist, str(tmp_path), "train")


def test_dataset_is_found_in_folders_of_also_in(real_data, tmp_path):
    missing = tmp_path / "gone"
    folder = Path(real_data) / "FashionMNIST" / "raw"
    chosen = dataset("dataset=fashion_mnist", f"dataset.also_in=[{missing},{folder}]")
    assert find_folder(chosen, tmp_path, chosen.files["train"]) == folder


CLASSES = f"dataset.class_names=[{','.join(samples.CLASSES)}]"
SHAPES = ("dataset=folder", CLASSES, "dataset.val_size=40")


def test_folder_of_images_with_three_classes_trains_and_predicts(main, ready, tmp_path):
    folder = samples.own_set(tmp_path / "shapes")
    shapes = (*SHAPES, f"dataset.folder={folder}", "dataset.name=shapes")
    main(*shapes, "num_epoch=1", "batch_size=16", "tracking.plots=false", status=0)

    done = main(*shapes, program="predict", status=0)
    assert re.search(r"accuracy [01]\.\d{4} \(\d+/30\)", done.stdout)
    assert all(f"\n {name} " in done.stdout for name in samples.CLASSES)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda folder: shutil.rmtree(folder / "train" / "cross"), "cross"),
        (lambda folder: (folder / "train" / "cow").mkdir(), "cow"),
        (shutil.rmtree, "/shapes/train"),
    ],
)
def test_wrong_content_of_image_folder_is_named(spoil, expected, tmp_path):
    folder = samples.own_set(tmp_path / "shapes")
    spoil(folder)
    with pytest.raises(DataError, match=re.escape(expected)):
        read_images(dataset(*SHAPES, f"dataset.folder={folder}"), "anywhere", "train")


def test_color_images_in_gray_dataset_cause_one_warning(tmp_path, caplog):
    def warnings_of(tint: int) -> int:
        """Read images with slightly yellow pixels twice, and count the warnings."""
        folder = samples.own_set(tmp_path / str(tint))
        colored = sorted((folder / "train" / "square").iterdir())[:2]
        gray = np.asarray(Image.open(colored[0]))
        blue = np.where(gray > 128, gray - tint, gray)
        pixels = np.stack([gray, gray, blue], -1).astype(np.uint8)
        for path in colored:
            Image.fromarray(pixels).save(path)
        caplog.clear()
        of_tint = dataset(*SHAPES, f"dataset.folder={folder}", f"dataset.name=c{tint}")
        for _ in range(2):
            read_images(of_tint, "anywhere", "train")
        return sum("gray" in message for message in caplog.messages)

    assert warnings_of(tint=0) == 0
    assert warnings_of(tint=5) == 0
    assert warnings_of(tint=100) == 1
