"""Files that are damaged, read-only, missing, or not for training."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lenet_exp.api import compose
from lenet_exp.data.images import load_training_data
from lenet_exp.errors import DataError
from tests.data.idx import MADE_UP, pictures, write_idx, write_mnist_like, write_qmnist

IMAGES, LABELS = pictures(60)
IMAGE_FILE, LABEL_FILE = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def load(root: Path, dataset: str = "kmnist"):
    known = [MADE_UP] if dataset == "kmnist" else []
    config = compose([f"dataset={dataset}", *known, "dataset.val_size=20", f"data_root={root}"])
    return load_training_data(config, torch.device("cpu"))


def header(code: int, *shape: int) -> bytes:
    return struct.pack(f">HBB{len(shape)}I", 0, code, len(shape), *shape)


DAMAGE = {
    "empty": lambda whole: b"",
    "cut in the header": lambda whole: whole[:6],
    "nothing but the header": lambda whole: whole[: 4 * (1 + whole[3])],
    "cut in the middle": lambda whole: whole[: len(whole) // 2],
    "one byte short": lambda whole: whole[:-1],
    "one byte too long": lambda whole: whole + b"\0",
    "text": lambda whole: b"<html><body>404 not here</body></html>\n" * 40,
    "gzip": lambda whole: b"\x1f\x8b\x08\x00" + whole[4:],
    "zeros": lambda whole: bytes(len(whole)),
    "of an unknown type": lambda whole: whole[:2] + bytes([10]) + whole[3:],
    "of floats": lambda whole: header(13, 15, 28, 28) + bytes(4 * 15 * 28 * 28),
    "with too many dimensions": lambda whole: header(8, 60, 28, 28, 1) + bytes(60 * 28 * 28),
    "with one dimension": lambda whole: header(8, 60 * 28 * 28) + bytes(60 * 28 * 28),
    "with two dimensions": lambda whole: header(8, 60, 28 * 28) + bytes(60 * 28 * 28),
    "larger than memory, it says": lambda whole: header(8, 2**31, 2**31, 2**31) + whole[16:],
    "fewer than it says": lambda whole: header(8, 61, 28, 28) + whole[16:],
    "of no images": lambda whole: header(8, 0, 28, 28),
    "of images without pixels": lambda whole: header(8, 60, 0, 28) + whole[16:],
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", [IMAGE_FILE, LABEL_FILE])
def test_a_damaged_file_is_one_line_that_names_the_data_set_and_the_folder(file, damage, tmp_path):
    raw = write_mnist_like(tmp_path, "KMNIST", IMAGES, LABELS)
    (raw / file).write_bytes(DAMAGE[damage]((raw / file).read_bytes()))
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    message = str(caught.value)
    assert message.startswith("dataset=kmnist: ")
    assert str(raw) in message
    assert "\n" not in message


@pytest.mark.parametrize("damage", [d for d in DAMAGE if d != "with two dimensions"])  # its labels have two
@pytest.mark.parametrize("file", ["qmnist-train-images-idx3-ubyte", "qmnist-train-labels-idx2-int"])
def test_a_damaged_file_of_qmnist_is_one_line_too(file, damage, tmp_path):
    raw = write_qmnist(tmp_path, IMAGES, LABELS)
    (raw / file).write_bytes(DAMAGE[damage]((raw / file).read_bytes()))
    with pytest.raises(DataError) as caught:
        load(tmp_path, "qmnist")
    assert str(caught.value).startswith("dataset=qmnist: ")
    assert str(raw) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [10, 255])
def test_a_label_above_9_is_refused(wrong, tmp_path):
    labels = LABELS.copy()
    labels[59] = wrong
    write_mnist_like(tmp_path, "KMNIST", IMAGES, labels)
    with pytest.raises(DataError, match=rf"dataset=kmnist: labels from 0 to {wrong} .*; allowed is 0 to 9"):
        load(tmp_path)


@pytest.mark.parametrize("wrong", [-1, 10, 2**31 - 1, -(2**31)])
def test_a_label_of_qmnist_outside_0_to_9_is_refused(wrong, tmp_path):
    labels = LABELS.astype(np.int32)
    labels[0] = wrong
    write_qmnist(tmp_path, IMAGES, labels)
    with pytest.raises(DataError, match=rf"dataset=qmnist: labels from .*{wrong}.*; allowed is 0 to 9"):
        load(tmp_path, "qmnist")


def test_fewer_labels_than_images_are_refused(tmp_path):
    raw = write_mnist_like(tmp_path, "KMNIST", IMAGES, LABELS)
    write_idx(raw / LABEL_FILE, LABELS[:59])
    with pytest.raises(DataError, match="dataset=kmnist: 60 images but 59 labels"):
        load(tmp_path)


@pytest.mark.parametrize("content", [b"garbage", None])
def test_pickles_of_an_old_torchvision_are_left_alone(content, tmp_path):
    write_mnist_like(tmp_path, "KMNIST", IMAGES, LABELS)
    processed = tmp_path / "KMNIST" / "processed"
    processed.mkdir()
    for name in ("training.pt", "test.pt"):
        torch.save((torch.zeros(60, 28, 28, dtype=torch.uint8), torch.zeros(60).long()), processed / name)
        if content is not None:
            (processed / name).write_bytes(content)
    assert torch.equal(load(tmp_path).labels, torch.from_numpy(LABELS.astype(np.int64)))


@pytest.mark.parametrize("file", [IMAGE_FILE, LABEL_FILE])
def test_through_the_command_line_it_is_status_2_and_no_run(file, main, outputs, tmp_path):
    raw = write_mnist_like(tmp_path / "data", "KMNIST", IMAGES, LABELS)
    (raw / file).write_bytes((raw / file).read_bytes()[:-30])
    done = main("dataset=kmnist", MADE_UP, f"data_root={tmp_path / 'data'}", "dataset.val_size=20")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("lenet-train: dataset=kmnist: ")
    assert str(raw) in line
    assert not outputs.exists()


@pytest.mark.slow(seconds=2)
def test_a_data_set_that_can_not_be_had_says_where_to_put_it(cli, outputs, tmp_path):
    nobody = "http://127.0.0.1:9"
    no_network = {
        name: nobody for proxy in ("http_proxy", "https_proxy", "all_proxy") for name in (proxy, proxy.upper())
    }
    nowhere = tmp_path / "nowhere"
    done = cli(
        "dataset=fashion_mnist",
        "dataset.also_in=[]",
        f"data_root={nowhere}",
        env={**no_network, "no_proxy": "", "NO_PROXY": ""},
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"lenet-train: dataset=fashion_mnist: not found in {nowhere}/FashionMNIST/raw, and")
    assert str(nowhere / "FashionMNIST" / "raw") in last
    assert not nowhere.exists()
    assert not outputs.exists()


# Runs lenet-train and writes down what Python opens, makes, moves or removes.
SPY = """
import json, runpy, sys
seen = []
WATCHED = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.chmod", "os.utime", "os.link"}
def hook(event, args):
    if event in WATCHED and args and isinstance(args[0], (str, bytes)):
        path = args[0] if isinstance(args[0], str) else args[0].decode("utf-8", "replace")
        mode, flags = (args[1], args[2]) if event == "open" else (None, 0)
        seen.append([event, path, mode if isinstance(mode, str) else None, flags if isinstance(flags, int) else 0])
report = sys.argv.pop(1)
sys.argv.insert(1, "train")
sys.addaudithook(hook)
try:
    runpy.run_module("lenet_exp", run_name="__main__", alter_sys=True)
finally:
    json.dump(list(seen), open(report, "w"))
"""


def spied(root: Path, outputs: Path, tmp_path: Path, *arguments: str) -> list[tuple[str, str, bool]]:
    """(what, path below root, whether it writes) of everything that a run did in the data folder."""
    report = tmp_path / "seen.json"
    environment = os.environ | {"LENET_EXP_OUTPUTS": str(outputs)}
    command = [sys.executable, "-c", SPY, str(report), f"data_root={root}", "num_epoch=1", "num_threads=1", *arguments]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(outputs.glob("runs/*/record.json"))
    here = [e for e in json.loads(report.read_text()) if Path(e[1]).is_relative_to(root)]
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    return [
        (event, str(Path(path).relative_to(root)), event != "open" or bool(flags & writing))
        for event, path, mode, flags in here
    ]


@pytest.mark.slow(seconds=5)
@pytest.mark.parametrize("dataset", ["kmnist", "qmnist"])
def test_training_reads_the_training_files_and_nothing_else_and_writes_nothing(dataset, outputs, tmp_path):
    root = tmp_path / "data"
    if dataset == "kmnist":
        raw = write_mnist_like(root, "KMNIST", IMAGES, LABELS)
    else:
        raw = write_qmnist(root, IMAGES, LABELS)
    before = {p: (p.stat().st_mtime_ns, p.stat().st_mode) for p in root.rglob("*")}
    known = [MADE_UP] if dataset == "kmnist" else []
    small = [f"dataset={dataset}", *known, "dataset.val_size=20", "tracking.models=none", "tracking.plots=false"]
    seen = spied(root, outputs, tmp_path, *small)
    folder = raw.relative_to(root)
    names = {p.name for p in raw.iterdir() if "train" in p.name}
    assert {path for _, path, _ in seen} == {str(folder / name) for name in names}
    assert not [entry for entry in seen if entry[2]]
    assert {p: (p.stat().st_mtime_ns, p.stat().st_mode) for p in root.rglob("*")} == before


def test_qmnist_trains_without_its_test_files(tmp_path):
    raw = write_qmnist(tmp_path, IMAGES, LABELS)
    for test_file in raw.glob("qmnist-test-*"):
        test_file.unlink()
    assert torch.equal(load(tmp_path, "qmnist").labels, torch.from_numpy(LABELS.astype(np.int64)))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_serves(tmp_path):
    raw = write_mnist_like(tmp_path, "KMNIST", IMAGES, LABELS)
    folders = [raw, raw.parent, tmp_path]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert len(load(tmp_path).labels) == 60
    finally:
        for folder in folders:
            folder.chmod(0o755)


@pytest.mark.slow(seconds=7)
def test_training_on_real_mnist_never_opens_its_test_files(real_data, outputs, tmp_path):
    small = ["dataset=mnist", "dataset.train_size=2000", "tracking.models=none", "tracking.plots=false"]
    seen = spied(Path(real_data), outputs, tmp_path, *small)
    assert {Path(path).name for _, path, _ in seen} == {IMAGE_FILE, LABEL_FILE}
    assert not [entry for entry in seen if entry[2]]
