"""Weights out of a pt2 archive without running what it holds."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lenet_exp.training.lenet5 import LeNet5
from lenet_exp.training.trained.ancestor import ACTIVATIONS
from lenet_exp.training.trained.exported import MAX_BYTES, read_exported

SMALL = "m/data/weights"


@pytest.mark.parametrize(("activation", "channels_last"), [("SELU", False), ("PReLU", True)])
def test_it_reads_what_torch_export_saved(activation, channels_last, tmp_path):
    network = LeNet5({"_target_": ACTIVATIONS[activation][0]}, 0.0).eval()
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
    torch.export.save(torch.export.export(network, (torch.zeros(2, 1, 32, 32),)), tmp_path / "model.pt2")
    read = read_exported(tmp_path / "model.pt2")
    assert list(read) == list(network.state_dict())
    assert all(torch.equal(read[name], tensor) for name, tensor in network.state_dict().items())


def entry(size: list[int], stride: list[int], **more: Any) -> dict[str, Any]:
    meta = {
        "dtype": 7,
        "layout": 7,
        "sizes": [{"as_int": n} for n in size],
        "strides": [{"as_int": n} for n in stride],
        "storage_offset": {"as_int": 0},
    }
    return {"path_name": "weight_0", "use_pickle": False, "tensor_meta": meta | more}


def archive(path: Path, config: Any, content: bytes = bytes(16), how: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", how) as written:
        text = config if isinstance(config, str) else json.dumps({"config": config})
        written.writestr(f"{SMALL}/model_weights_config.json", text, compress_type=zipfile.ZIP_STORED)
        written.writestr(f"{SMALL}/weight_0", content)
    return path


def two_configs(path: Path) -> Path:
    archive(path, {})
    with zipfile.ZipFile(path, "a") as written:
        written.writestr("other/data/weights/model_weights_config.json", "{}")
    return path


def damaged(path: Path) -> Path:
    content = archive(path, {"w": entry([4], [1])}, b"abcd" * 4).read_bytes()
    path.write_bytes(content.replace(b"abcd" * 4, b"abcd" * 3 + b"abce"))
    return path


def written(content: bytes) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return write


HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "empty": (written(b""), "not a zip file"),
    "large": (written(bytes(MAX_BYTES + 1)), "larger than 16 MiB"),
    "two configs": (two_configs, "must hold one"),
    "deep config": (lambda p: archive(p, "[" * 100_000), "as torch writes"),
    "long config": (lambda p: archive(p, " " * (2**20 + 1)), "unpacks to more"),
    "no such file": (lambda p: archive(p, {"w": entry([4], [1]) | {"path_name": "../x"}}), "as torch writes"),
    "pickled": (lambda p: archive(p, {"w": entry([4], [1]) | {"use_pickle": True}}), "w is pickled; refused"),
    "compressed": (lambda p: archive(p, {"w": entry([4], [1])}, how=zipfile.ZIP_DEFLATED), "is compressed; refused"),
    "spread": (lambda p: archive(p, {"w": entry([10**12], [0])}), "refused"),
    "often": (lambda p: archive(p, {str(n): entry([2**20], [0]) for n in range(9)}), "refused|unpacks to more"),
    "out of bounds": (lambda p: archive(p, {"w": entry([5], [1])}), "out of bounds"),
    "negative": (lambda p: archive(p, {"w": entry([4], [-1])}), "refused"),
    "symbolic": (lambda p: archive(p, {"w": entry([4], [1], strides=[{"as_expr": "s0"}])}), "as torch writes"),
    "other type": (lambda p: archive(p, {"w": entry([4], [1], dtype=99)}), "type 99"),
    "odd bytes": (lambda p: archive(p, {"w": entry([1], [1])}, bytes(3)), "."),
    "damaged": (damaged, "CRC"),
}


@pytest.mark.parametrize("which", HOSTILE)
def test_what_torch_did_not_write_is_one_line(which, tmp_path):
    make, says = HOSTILE[which]
    with pytest.raises(ValueError, match=says) as caught:
        read_exported(make(tmp_path / "model.pt2"))
    assert "\n" not in str(caught.value)
