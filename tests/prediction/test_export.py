"""lenet-export: exported files compute what the model computes, and a failed export leaves no
file.
"""

from __future__ import annotations

import json
import re
import resource
import sys
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lenet_exp.commands import export
from lenet_exp.errors import UserError
from lenet_exp.folders.records import record_to_json
from lenet_exp.prediction import portable
from lenet_exp.prediction.portable import write_portable
from lenet_exp.tracking.models.load import TrainedModel, load_file
from lenet_exp.tracking.models.shipped import shipped_file
from lenet_exp.training.network import build_network
from lenet_exp.training.trained.ancestor import ACTIVATIONS
from lenet_exp.training.trained.weights import load_weights
from tests.tools.commands import ROOT, SMALL, end, refused, start
from tests.tools.disks import fill, small_disk
from tests.tools.stores import client, runs

needs_onnx = pytest.mark.skipif(
    not all(find_spec(package) for package in portable.ONNX_PACKAGES),
    reason="lenet_exp[onnx] is not installed",
)
EVERY = [pytest.param("onnx", marks=needs_onnx), "pt2", "safetensors"]


def onnx_answers(path: Path, images: Tensor) -> Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (graph_input,) = session.get_inputs()
    assert graph_input.name == "images"
    assert graph_input.shape[1:] == list(images.shape[1:])
    assert graph_input.type == "tensor(float)"
    (graph_output,) = session.get_outputs()
    assert graph_output.name == "logits"
    assert len(graph_output.shape) == 2
    (logits,) = session.run(None, {"images": images.numpy()})
    return torch.from_numpy(logits)


READERS: dict[str, Callable[[Path, Tensor], Tensor]] = {
    "onnx": onnx_answers,
    "pt2": lambda path, images: torch.export.load(path).module()(images),
    "safetensors": lambda path, images: load_file(path).network(images),
}


def onnx_metadata(path: Path) -> dict[str, str]:
    import onnx

    return {p.key: p.value for p in onnx.load(path).metadata_props}


def pt2_metadata(path: Path) -> dict[str, str]:
    extra = {"metadata.json": ""}
    torch.export.load(path, extra_files=extra)
    return json.loads(extra["metadata.json"])


METADATA = {
    "onnx": onnx_metadata,
    "pt2": pt2_metadata,
    "safetensors": lambda path: load_weights(path)[1],
}


def without_record(*activations: str) -> TrainedModel:
    """Return a model as loaded from the original script's file, with these activations after its
    layers.
    """
    values = {"negative_slope": 0.2, "num_parameters": 1, "lower": 0.1, "upper": 0.4, "alpha": 0.7}
    networks = []
    for activation in activations or ("Tanh",):
        target, names = ACTIVATIONS[activation]
        option: dict[str, Any] = {"_target_": target, "monotone": False}
        for name in names:
            option[name] = values[name]
        networks.append(build_network(option, 0.0, weights=torch.Generator().manual_seed(3)))
    for n, network in enumerate(networks[1:], 2):
        setattr(networks[0], f"act{n}", getattr(network, f"act{n}"))
    return TrainedModel(networks[0].eval(), "some.pkl")


@pytest.mark.parametrize("name", EVERY)
def test_exported_file_has_outputs_and_record_of_model(name, main, workdir, outputs):
    done = main(f"format={name}", program="export")
    assert done.returncode == 0
    assert done.stderr == ""
    path = workdir / f"lenet5-mnist.{name}"
    assert list(workdir.iterdir()) == [path]
    assert str(path) in done.stdout

    shipped = load_file(shipped_file("mnist"))
    images = torch.rand(64, 1, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    allowed = 0 if name == "safetensors" else 1e-4
    with torch.inference_mode():
        for n in (1, 3, 64):
            logits = READERS[name](path, images[:n])
            expected = shipped.network(images[:n])
            torch.testing.assert_close(logits, expected, rtol=0, atol=allowed)

    content = path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            content = b"".join(archive.read(member) for member in archive.namelist())
    for private_path in (str(ROOT), str(workdir), sys.prefix):
        assert private_path.encode() not in content

    metadata = METADATA[name](path)
    assert json.loads(metadata["record"]) == record_to_json(shipped.record)
    assert metadata["fingerprint"] == shipped.record.fingerprint
    assert metadata["weights_digest"] == shipped.record.weights_digest
    assert float(metadata["best_val_accuracy"]) == shipped.record.best_val_accuracy
    assert json.loads(metadata["class_names"]) == list("0123456789")


def test_lenet_predict_accepts_exported_safetensors(main, workdir, ready):
    line = (*SMALL, "num_epoch=1", "num_threads=1", "tracking.plots=false")
    assert main(*line).returncode == 0
    (run,) = runs(client(ready))
    model = f"runs:/{run.info.run_id}"

    main(f"trained_model={model}", "output=exported.safetensors", program="export", status=0)
    main(
        "trained_model=exported.safetensors",
        "output=again.safetensors",
        program="export",
        status=0,
    )

    accuracies = []
    for name in (model, "exported.safetensors"):
        output = main("dataset=digits", f"trained_model={name}", program="predict").stdout
        accuracies.append(re.search(r"^accuracy 0\..*$", output, re.MULTILINE).group())
    assert accuracies[0] == accuracies[1]
    first_weights, first_metadata = load_weights(workdir / "exported.safetensors")
    second_weights, second_metadata = load_weights(workdir / "again.safetensors")
    assert first_metadata["record"] == second_metadata["record"]
    for name, weights in first_weights.items():
        assert torch.equal(weights, second_weights[name])


def test_default_file_names_of_different_models_differ(main, workdir, ready):
    line = (*SMALL, "num_epoch=1", "num_threads=1", "tracking.plots=false")
    for seed in (0, 1):
        assert main(*line, f"seed={seed}").returncode == 0
    models = ["dataset=digits"]
    for run in runs(client(ready)):
        models.append(f"trained_model=runs:/{run.info.run_id}")

    for model in models:
        done = main(model, "format=safetensors", program="export")
        assert done.returncode == 0, done.stderr
        assert "replaced" not in done.stdout

    assert len([*workdir.glob("lenet5-digits*.safetensors")]) == 3
    assert "replaced" in main("dataset=digits", "format=safetensors", program="export").stdout


@pytest.mark.parametrize("activation", ["Tanh", "PReLU", "RReLU"])
def test_exported_model_without_record_loads_without_record(activation, tmp_path):
    model = without_record(activation)
    for n in range(2):
        path = tmp_path / f"{n}.safetensors"
        difference, _ = write_portable(model, "safetensors", path)
        assert difference == 0
        model = load_file(path)
        assert model.record is None
    images = torch.rand(5, 1, 32, 32) * 2 - 1
    with torch.inference_mode():
        assert torch.equal(model.network(images), without_record(activation).network(images))


@pytest.mark.parametrize(
    "name", [pytest.param("onnx", marks=[needs_onnx, pytest.mark.slow(seconds=5)]), "pt2"]
)
def test_every_activation_can_be_exported(name, tmp_path):
    assert len(ACTIVATIONS) <= 8
    every = [*ACTIVATIONS]
    for n, activations in enumerate((every[:4], every[-4:])):
        model = without_record(*activations)
        path = tmp_path / f"{n}.{name}"

        difference, allowed = write_portable(model, name, path)

        assert difference <= allowed < 1e-3
        images = torch.rand(4, 1, 32, 32) * 2 - 1
        with torch.inference_mode():
            logits = READERS[name](path, images)
            torch.testing.assert_close(logits, model.network(images), rtol=0, atol=1e-4)


WRONG = {
    "": "format=",
    "format=ONNX": "did you mean onnx?",
    "format=pt2 output=x.onnx": "output=x.onnx",
    "format=pt2 output=no/such/x.pt2": "output=no/such/x.pt2",
    "format=pt2 output=/proc/x.pt2": "output=/proc/x.pt2",
    "format=pt2 dataset=digits": "lenet-train dataset=digits",
    "format=pt2 trained_model=lenet5-other dataset=digits": (
        "dataset=digits and trained_model=lenet5-other"
    ),
}


@pytest.mark.parametrize("typed", WRONG)
def test_invalid_export_gives_one_line_error_and_writes_nothing(typed, main, workdir, outputs):
    refused(main(*typed.split(), program="export"), WRONG[typed])
    assert list(workdir.iterdir()) == []
    assert not outputs.exists()


@pytest.mark.parametrize("package", portable.ONNX_PACKAGES)
def test_missing_onnx_package_names_extra_to_install(package, main, workdir, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    refused(main("format=onnx", program="export"), package, "pip install 'lenet_exp[onnx]'\n")
    assert list(workdir.iterdir()) == []


def main() -> None:
    """Run lenet-export with a limit of 100 kB per file, as after `ulimit -f`."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    sys.dont_write_bytecode = True  # other processes would read truncated bytecode
    export.main()


@pytest.mark.parametrize("name", ["pt2", "safetensors"])
def test_export_of_too_large_file_is_one_line_and_leaves_no_file(name, workdir, outputs):
    module = "tests.prediction.test_export"
    done = end(start(f"format={name}", outputs=outputs, cwd=workdir, module=module))
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize("name", ["pt2", "safetensors"])
def test_export_to_full_disk_is_one_line_and_leaves_no_file(name, tmp_path, outputs):
    with small_disk(tmp_path / "disk") as disk:
        other = fill(disk, left_kb=100)
        done = end(start(f"format={name}", outputs=outputs, program="export", cwd=disk))
        assert list(disk.iterdir()) == [other]
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


class Chooses(nn.Module):
    """An activation with control flow that depends on values, which a graph cannot contain."""

    def forward(self, x: Tensor) -> Tensor:
        if float(x.sum()) > 0:
            return x.tanh()
        return x.relu()


DRAWN = np.random.default_rng(0)


class Drifts(nn.Module):
    """An activation that changes with each call, so the exported file differs from the model."""

    def forward(self, x: Tensor) -> Tensor:
        return x + DRAWN.random()


@pytest.mark.parametrize("name", EVERY[:2])
@pytest.mark.parametrize("activation", [Chooses, Drifts])
def test_export_that_differs_from_model_keeps_existing_file(activation, name, tmp_path):
    path = tmp_path / f"model.{name}"
    path.write_text("here before")
    model = without_record()
    model.network.act3 = activation()

    with pytest.raises(UserError) as caught:
        write_portable(model, name, path)

    assert "\n" not in str(caught.value)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["here before"]
