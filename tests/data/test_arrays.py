"""Datasets from arrays: .npz files, and arrays that a Python program passes to `train` or
`sweep`.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import lenet_exp
from lenet_exp.config.schema import Config
from lenet_exp.data.images import load_training_data, with_class_names
from lenet_exp.data.readers import read_images
from lenet_exp.errors import ConfigError, DataError, UserError
from lenet_exp.runs.jobs import lone_job
from lenet_exp.sweeps.checks import check_one_sweep
from tests.tools.configs import compose

GENERATOR = np.random.default_rng(0)
GRAY = GENERATOR.integers(0, 256, (100, 6, 9), dtype=np.uint8)
COLOR = GENERATOR.integers(0, 256, (100, 6, 9, 3), dtype=np.uint8)
LABELS = np.arange(100) % 7


def config(path: object, *overrides: str) -> Config:
    return compose(
        [
            "dataset=arrays",
            f"dataset.file={path}",
            "dataset.val_size=20",
            "engine=torch",
            *overrides,
        ]
    )


def images_of(config: Config, part: str) -> np.ndarray:
    return read_images(with_class_names(config).dataset, "anywhere", part).images.numpy()


def test_one_file_is_split_into_training_and_test_images_that_never_change(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", images=GRAY, labels=LABELS)
    mine = config(tmp_path / "x.npz")

    train = images_of(mine, "train")
    test = images_of(mine, "test")

    assert len(train) == 90
    assert len(test) == 10
    assert {image.tobytes() for image in [*train, *test]} == {image.tobytes() for image in GRAY}
    assert (images_of(replace(mine, split_seed=5), "test") == test).all()

    np.savez(tmp_path / "y.npz", images=255 - GRAY, labels=LABELS)
    assert (images_of(config(tmp_path / "y.npz"), "test") == 255 - test).all()


@pytest.mark.parametrize("engine", ["torch", "native"])
def test_gray_images_of_any_shape_are_resized(engine, tmp_path):
    np.savez(
        tmp_path / "x.npz",
        images=np.asfortranarray(GRAY[..., None]),
        labels=(LABELS + 1).astype(">i2"),
    )
    from_1 = config(tmp_path / "x.npz", "dataset.first_label=1", f"engine={engine}")

    data = load_training_data(from_1, torch.device("cpu"))

    assert data.images.shape == (90, 1, 32, 32)
    assert data.labels.min() == 0
    assert data.labels.max() == 6
    assert data.class_names[0] == "1"


def test_separate_test_arrays_and_colors_are_used(tmp_path):
    np.savez(
        tmp_path / "x.npz",
        images=COLOR[:60],
        labels=LABELS[:60],
        test_images=COLOR[60:],
        test_labels=LABELS[60:],
    )
    mine = config(tmp_path / "x.npz", "dataset.channels=3")
    assert (images_of(mine, "train") == COLOR[:60].transpose(0, 3, 1, 2)).all()
    assert (images_of(mine, "test") == COLOR[60:].transpose(0, 3, 1, 2)).all()


def test_file_can_name_its_classes(tmp_path):
    names = [f"class {letter}" for letter in "gfedcba"]
    np.savez(tmp_path / "x.npz", images=GRAY, labels=LABELS, class_names=names)
    assert with_class_names(config(tmp_path / "x.npz")).dataset.class_names == names

    np.savez(tmp_path / "y.npz", images=GRAY, labels=LABELS + 1, class_names=names)
    from_1 = config(tmp_path / "y.npz", "dataset.first_label=1")
    assert images_of(from_1, "train").shape == (90, 6, 9)
    with pytest.raises(DataError, match="from 1 to 7; labels must be from 0 to 6"):
        images_of(config(tmp_path / "y.npz"), "train")


def test_order_of_named_classes_is_printed(workdir, main, ready):
    names = ("zero", "one", "two", "three", "four", "five", "six")
    np.savez(workdir / "x.npz", images=GRAY, labels=LABELS, class_names=names)
    line = (
        "dataset=arrays",
        "dataset.file=x.npz",
        "dataset.val_size=20",
        "num_epoch=1",
        "tracking.plots=false",
    )
    done = main(*line, status=0)
    order = ", ".join(names)
    assert f"classes of arrays, in the order of their labels: {order}\n" in done.stderr


def saved(**arrays: object) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for key, content in members.items():
            archive.writestr(f"{key}.npy", content)
    return file.getvalue()


def flipped(content: bytes) -> bytes:
    """Return the content of a file with one bit of a pixel changed."""
    changed = bytearray(content)
    changed[content.index(GRAY.tobytes()) + 50] ^= 1
    return bytes(changed)


def header_of(n: int, shape: tuple[int, ...]) -> bytes:
    """Return the header of an array of bytes, and `n` bytes."""
    file = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + bytes(n)


# Content of a file, and texts in the error.
BAD: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "numpy.savez"),
    ".npy file": (npy(GRAY), "numpy.savez"),
    "truncated": (saved(images=GRAY, labels=LABELS)[:-300], "numpy.savez"),
    "one pixel changed": (flipped(saved(images=GRAY, labels=LABELS)), "CRC"),
    "other keys": (saved(x_train=GRAY, y_train=LABELS), "'x_train', 'y_train'"),
    "half a test set": (saved(images=GRAY, labels=LABELS, test_images=GRAY), "test_images"),
    "object images": (saved(images=np.array([None] * 100), labels=LABELS), "allow_pickle"),
    "numbers as class names": (
        saved(images=GRAY, labels=LABELS, class_names=range(7)),
        "one text for each class",
    ),
    "equal class names": (saved(images=GRAY, labels=LABELS, class_names=["a"] * 7), "distinct"),
    "floats": (saved(images=GRAY / 255, labels=LABELS), "(x * 255).astype('uint8')"),
    "int64": (saved(images=GRAY.astype(int), labels=LABELS), "images is int64"),
    "flat images": (saved(images=GRAY.reshape(100, -1), labels=LABELS), "(100, 54)"),
    "channels first": (saved(images=COLOR.transpose(0, 3, 1, 2), labels=LABELS), "(100, 3, 6, 9)"),
    "color": (saved(images=COLOR, labels=LABELS), "dataset.channels=3"),
    "no images": (saved(images=GRAY[:0], labels=LABELS[:0]), "(0, 6, 9)"),
    "one image": (saved(images=GRAY[:1], labels=LABELS[:1]), "0 images"),
    "fewer labels": (saved(images=GRAY, labels=LABELS[1:]), "(99,)"),
    "table of labels": (saved(images=GRAY, labels=LABELS[:, None]), "(100, 1)"),
    "negative label": (saved(images=GRAY, labels=LABELS - 1), "-1"),
    "largest label": (saved(images=GRAY, labels=np.where(LABELS > 0, LABELS, 2**63 - 1)), "1,000"),
    "too many classes": (saved(images=GRAY, labels=LABELS + 1000), "1,000"),
    "20 GB in the header": (
        zipped(images=header_of(10, (2 * 10**9, 10)), labels=npy(LABELS)),
        "x.npz",
    ),
    "larger than its file": (
        zipped(images=header_of(10, (100, 9, 9)), labels=npy(LABELS)),
        "8100 bytes",
    ),
    "broken header": (
        zipped(images=b"\x93NUMPY\x01\x00\x10\x00{'a': (((((", labels=npy(LABELS)),
        "x.npz",
    ),
}


@pytest.mark.parametrize("content", BAD)
def test_unusable_file_is_refused_in_one_line(content, tmp_path):
    data, cause = BAD[content]
    path = tmp_path / "x.npz"
    path.write_bytes(data)

    with pytest.raises(DataError) as caught:
        images_of(config(path), "train")

    message = str(caught.value)
    assert message.startswith("dataset=arrays: ")
    assert cause in message
    assert str(path) in message or "training set" in message
    assert "\n" not in message


def test_file_that_runs_code_when_unpickled_runs_none(tmp_path):
    class Evil:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    np.savez(tmp_path / "x.npz", images=np.array([Evil()]), labels=LABELS)
    with pytest.raises(DataError):
        images_of(config(tmp_path / "x.npz"), "train")
    assert not (tmp_path / "ran").exists()


def test_missing_file_pipe_and_folder_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    for path in (tmp_path / "none.npz", tmp_path / "pipe.npz", tmp_path):
        with pytest.raises(DataError, match=str(path)):
            images_of(config(path), "train")


def test_labels_beyond_given_class_names_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", images=GRAY, labels=LABELS)
    with pytest.raises(DataError, match="from 0 to 1"):
        images_of(config(tmp_path / "x.npz", "dataset.class_names=[a,b]"), "train")


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["dataset=arrays", "dataset.val_size=5"], "dataset.file"),
        (["dataset=digits", "dataset.file=x.npz"], "dataset=arrays"),
    ],
)
def test_dataset_and_file_require_each_other(overrides, named):
    with pytest.raises(UserError, match=named):
        compose(overrides)


def test_job_has_absolute_path_that_survives_change_of_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    np.savez("x.npz", images=GRAY, labels=LABELS)
    jobs = [lone_job(config(path)) for path in ("x.npz", "'~/x.npz'", tmp_path / "x.npz")]
    assert {job.config.dataset.file for job in jobs} == {str(tmp_path / "x.npz")}
    assert len({job.run for job in jobs}) == 1


def test_two_files_in_one_sweep_need_two_names():
    one = compose(["dataset=arrays", "dataset.file=a.npz", "dataset.class_names=[a]"])
    two = replace(one, dataset=replace(one.dataset, file="b.npz"))
    two_named_b = replace(one, dataset=replace(one.dataset, file="b.npz", name="b"))
    check_one_sweep([one, two_named_b])
    with pytest.raises(ConfigError, match=r"dataset\.file,dataset\.name"):
        check_one_sweep([one, two])


MASK = np.arange(100) < 3


@pytest.mark.parametrize(
    ("overrides", "images", "labels", "named"),
    [
        (["dataset.file=x.npz"], GRAY, LABELS, "dataset.file=x.npz: "),
        ([], np.ma.array(GRAY, mask=GRAY > 200), LABELS, "images.filled(0)"),
        ([], GRAY, np.ma.array(LABELS, mask=MASK), "labels.filled(0)"),
    ],
)
def test_arrays_with_a_file_or_a_mask_are_refused(overrides, images, labels, named, outputs):
    with pytest.raises(ConfigError) as caught:
        lenet_exp.train(overrides, images=images, labels=labels)
    assert named in str(caught.value)
    assert not outputs.exists()


BRIEF = (
    "dataset.val_size=200",
    "batch_size=32",
    "num_epoch=1",
    "tracking.plots=false",
    "num_threads=1",
)


@pytest.mark.slow(seconds=18)
def test_arrays_are_trained_predicted_and_reproduced(main, cli, ready, workdir):
    digits = load_digits()
    pixels = (digits.images * 15).astype("uint8")
    np.savez(workdir / "x.npz", images=pixels, labels=digits.target)

    main("dataset=arrays", "dataset.file=x.npz", *BRIEF, status=0)
    (record,) = [json.loads(path.read_text()) for path in ready.glob("runs/*/record.json")]
    assert list(record["data_files"]) == ["x.npz"]
    tested = main("trained_model=lenet5-arrays", program="predict", status=0)
    assert "/179)" in tested.stdout
    (folder,) = ready.glob("runs/*")
    run = f"run={folder.name}"
    main(run, program="reproduce", status=0)

    (workdir / "x.npz").rename(workdir / "moved.npz")
    lost = cli(run, program="reproduce", status=3)  # this process keeps the images in memory
    assert "x.npz" in lost.stdout
    assert "dataset.file=" in lost.stdout
    main(run, "dataset.file=moved.npz", program="reproduce", status=0)
    main(run, "dataset.file=moved.npz", "check=true", program="reproduce", status=0)

    darker = (digits.images * 7).astype("uint8")
    np.savez(workdir / "other.npz", images=darker, labels=digits.target)
    other = main(run, "dataset.file=other.npz", program="reproduce", status=3)
    assert str(workdir / "other.npz") in other.stdout

    missing = main(run, "dataset.file=none.npz", program="reproduce", status=2)
    assert "dataset.file=none.npz: not found" in missing.stderr


def test_arrays_from_python_are_saved_once_and_trained(ready, monkeypatch, workdir):
    monkeypatch.chdir(workdir)
    line = [
        "dataset.val_size=20",
        "num_epoch=1",
        "tracking.plots=false",
        "tracking.models=none",
        "num_threads=1",
    ]
    labels = LABELS.tolist()

    from_tensor = lenet_exp.train(line, images=torch.from_numpy(COLOR), labels=labels)
    from_array = lenet_exp.train(line, images=COLOR, labels=labels)

    assert from_array.folder == from_tensor.folder
    (file,) = (ready / "arrays").iterdir()
    stored = from_tensor.record.config.dataset
    assert stored.file == str(file)
    assert stored.channels == 3
    assert stored.name == "arrays"
    assert (np.load(file)["images"] == COLOR).all()


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (GRAY / 255, LABELS),
        (GRAY, LABELS[1:]),
        (GRAY, None),
        (None, LABELS),
        ([[1], [1, 2]], LABELS),
    ],
)
def test_unusable_arrays_from_python_are_refused_and_not_saved(images, labels, outputs):
    for call in (lenet_exp.train, lenet_exp.sweep):
        with pytest.raises(ConfigError) as caught:
            call(["num_epoch=1"], images=images, labels=labels)
        message = str(caught.value)
        assert message.startswith("images, labels: ")
        assert "\n" not in message
    assert not (outputs / "arrays").exists()


def test_arrays_require_overrides_instead_of_configuration():
    with pytest.raises(ConfigError, match="overrides"):
        lenet_exp.train(compose(["dataset=digits"]), images=GRAY, labels=LABELS)
