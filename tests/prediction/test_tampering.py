"""A manipulated artifact runs no code in lenet_exp, although each attack works where MLflow loads
the model.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import pytorch

import lenet_exp
from lenet_exp.errors import UserError
from lenet_exp.tracking.models.logged import MAX_BYTES
from lenet_exp.tracking.models.model import EXPORTED, WEIGHTS
from lenet_exp.tracking.models.shipped import shipped_file
from lenet_exp.training.trained.weights import load_weights, save_weights, weights_digest
from tests.data.test_download import serve
from tests.prediction.drawn import STYLES, draw
from tests.tools.commands import SMALL, Done, refused
from tests.tools.records import changed_model
from tests.tools.stores import client, models, runs
from tests.training.trained.test_ancestor import Call

LINE = [*SMALL, "num_epoch=1", "num_threads=1", "activation=prelu", "tracking.plots=false"]


@dataclass(frozen=True)
class Logged:
    """A run with its model in a store, and the folders of their artifacts."""

    outputs: Path
    run_id: str
    run_files: Path
    model_files: Path


@pytest.fixture(scope="module")
def untouched(trained_outputs: Callable[..., Path]) -> Logged:
    """Return a run with PReLU, an activation with weights."""
    outputs = trained_outputs(*LINE)
    (run,) = runs(client(outputs))
    (model,) = models(client(outputs))
    return Logged(
        outputs,
        run.info.run_id,
        run_files=Path(run.info.artifact_uri.removeprefix("file://")),
        model_files=Path(model.artifact_location.removeprefix("file://")),
    )


@pytest.fixture
def logged(untouched: Logged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Logged]:
    """Yield the run for manipulation and restore its files afterward, because MLflow stores their
    paths.
    """
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(untouched.outputs))
    for name in ("runs", "mlartifacts"):
        shutil.copytree(untouched.outputs / name, tmp_path / "kept" / name)
    yield untouched
    for name in ("runs", "mlartifacts"):
        shutil.rmtree(untouched.outputs / name)
        shutil.copytree(tmp_path / "kept" / name, untouched.outputs / name)


def predict(main, logged: Logged) -> Done:
    return main("dataset=digits", f"trained_model=runs:/{logged.run_id}", program="predict")


def accuracy(done: Done) -> str:
    """Return the line with the accuracy."""
    assert done.returncode == 0, done.stderr
    return next(line for line in done.stdout.splitlines() if line.startswith("accuracy"))


def pickled(marker: Path) -> bytes:
    """Return the content of a torch.save file that creates `marker` when unpickled."""
    content = io.BytesIO()
    torch.save(Call(open, str(marker), "w"), content)
    return content.getvalue()


def sample_inputs(logged: Logged, marker: Path) -> None:
    """Put code into the sample inputs of the exported model."""
    with zipfile.ZipFile(logged.model_files / EXPORTED) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(logged.model_files / EXPORTED, "w") as archive:
        for name, content in members.items():
            if name.endswith("sample_inputs/model.pt"):
                content = pickled(marker)
            archive.writestr(name, content)


def code_of_its_own(logged: Logged, marker: Path) -> None:
    """Add a module to the model, and name it as the one that unpickles the model."""
    described = logged.model_files / "MLmodel"
    described.write_text(described.read_text().replace("code: null", "code: code"))
    (logged.model_files / "code").mkdir()
    (logged.model_files / "code" / "evil_pickle.py").write_text(
        f"open({str(marker)!r}, 'w')\nfrom pickle import *\n"
    )
    (logged.model_files / "data" / "model.pth").write_bytes(b"")
    (logged.model_files / "data" / "pickle_module_info.txt").write_text("evil_pickle")


@pytest.mark.parametrize("attack", [code_of_its_own, sample_inputs])
def test_manipulated_artifact_runs_no_code_and_predicts_as_before(attack, logged, main, tmp_path):
    expected = accuracy(predict(main, logged))
    attack(logged, tmp_path / "ran")
    assert accuracy(predict(main, logged)) == expected
    assert not (tmp_path / "ran").exists()
    assert "evil_pickle" not in sys.modules


@pytest.mark.parametrize(
    ("attack", "pickle"), [(sample_inputs, "true"), (code_of_its_own, "false")]
)
def test_attacks_succeed_if_mlflow_loads_model(attack, pickle, logged, tmp_path, monkeypatch):
    attack(logged, tmp_path / "ran")
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", pickle)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with contextlib.suppress(Exception):  # only the execution of the code matters
        pytorch.load_model(str(logged.model_files))
    sys.modules.pop("evil_pickle", None)
    assert (tmp_path / "ran").exists()


def test_replaced_weights_are_refused_even_if_record_matches(logged, main):
    weights, metadata = load_weights(logged.model_files / WEIGHTS)
    weights["fc3.bias"] = weights["fc3.bias"] + 1e-6
    save_weights(logged.model_files / WEIGHTS, weights, metadata)

    refused(predict(main, logged), "weights")
    with pytest.raises(UserError, match="weights"):
        lenet_exp.load(f"runs:/{logged.run_id}")

    path = logged.run_files / "record.json"
    record = json.loads(path.read_text())
    record["weights_digest"] = weights_digest(weights)
    path.write_text(json.dumps(record))
    refused(predict(main, logged), "record.json")  # the run's tag has another digest


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def enlarge(path: Path) -> None:
    os.truncate(path, MAX_BYTES + 1)  # a sparse file uses no disk space


@pytest.mark.parametrize(
    ("name", "damage", "texts"),
    [
        (WEIGHTS, lambda path: path.write_bytes(b""), [WEIGHTS]),
        (
            WEIGHTS,
            lambda path: path.write_bytes((8).to_bytes(8, "little") + b'{"a": 1}'),
            [WEIGHTS],
        ),
        (WEIGHTS, enlarge, [WEIGHTS, "64 MiB"]),
        (WEIGHTS, make_pipe, ["artifacts"]),
        (WEIGHTS, Path.unlink, [WEIGHTS]),
        ("record.json", lambda path: path.write_bytes(b"{"), ["record.json"]),
        ("record.json", lambda path: path.write_bytes(b"[" * 100_000), ["record.json"]),
        ("record.json", lambda path: path.write_bytes(b"{}"), ["record.json"]),
        ("record.json", enlarge, ["record.json", "64 MiB"]),
    ],
)
def test_invalid_model_file_gives_one_line_error(name, damage, texts, logged, main):
    folder = logged.model_files if name == WEIGHTS else logged.run_files
    damage(folder / name)
    refused(predict(main, logged), *texts)


def changes_of(dataset: dict[str, object]) -> Callable[[dict[str, Any]], None]:
    """Return a change of a record: keys of its dataset, or its normalization."""

    def change(record: dict[str, Any]) -> None:
        keys = dict(dataset)
        record["normalization"] = keys.pop("normalization", None)
        record["config"]["dataset"] |= keys

    return change


@pytest.mark.parametrize(
    "changes",
    [
        {"class_names": None, "folder": ".", "archive": "ADDRESS", "archive_md5": "0" * 32},
        {"class_names": ["a"] * 10},
        {"channels": 2},
        {"image_size": 10**6},
        {"picture_box": 40},
        {"normalization": {"mean": [0.5], "sd": [0.5]}},
        {"channels": 3},
        {"channels": 3, "normalization": {"mean": [0.5, 0.5], "sd": [0.5, 0.5]}},
        {"channels": 3, "normalization": {"mean": [0.5] * 3, "sd": [0.5, 0.5, 0.0]}},
    ],
)
def test_record_with_impossible_dataset_is_refused_without_download(changes, tmp_path):
    (tmp_path / "served").mkdir()
    with serve(tmp_path / "served") as (address, handler):
        dataset = changes | {"data_root": str(tmp_path)}
        if "archive" in changes:
            dataset["archive"] = f"{address}set.zip"
        path = changed_model(tmp_path / "model.safetensors", changes_of(dataset))
        with pytest.raises(UserError, match=r"model\.safetensors") as caught:
            lenet_exp.load(str(path))
        assert handler.requested == []
    assert "\n" not in str(caught.value)
    assert {entry.name for entry in tmp_path.iterdir()} == {"served", "model.safetensors"}


def test_pictures_of_older_model_are_prepared_as_current_dataset_options(main, ready, tmp_path):
    path = draw(7, STYLES["black on white"], tmp_path / "seven")
    _, metadata = load_weights(shipped_file("mnist"))
    record = json.loads(metadata["record"])
    assert "picture_box" in record["config"]["dataset"]
    model = changed_model(tmp_path / "model.safetensors", changes_of({"picture_box": "???"}))
    done = main(f"trained_model={model}", f"images={path}", program="predict")
    assert "seven.png: 7 " in done.stdout, done.stderr
