"""A manipulated artifact runs no code in lenet_exp, although each attack works where MLflow loads the model."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from mlflow import pytorch
from safetensors import safe_open

import lenet_exp
from benchmarks import samples
from lenet_exp.errors import UserError
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.runs.jobs import lone_job
from lenet_exp.tracking.delivery.adopt import take_over
from lenet_exp.tracking.delivery.deliver import deliver
from lenet_exp.tracking.delivery.remaining import remaining_uploads
from lenet_exp.tracking.delivery.restored import reset_lost
from lenet_exp.tracking.models.logged import MAX_BYTES
from lenet_exp.tracking.models.model import EXPORTED, WEIGHTS
from lenet_exp.tracking.models.shipped import shipped_file
from lenet_exp.tracking.stores.store import Store, open_store
from lenet_exp.training.trained.weights import load_weights, save_weights, weights_digest
from tests.data.test_download import serve
from tests.tools.commands import SMALL, lenet_train
from tests.tools.configs import compose
from tests.tools.stores import client, models, runs
from tests.training.trained.test_ancestor import Call

LINE = [*SMALL, "num_epoch=1", "num_threads=1", "activation=prelu", "tracking.plots=false"]
SERVER = "http://shared"


@dataclass(frozen=True)
class Logged:
    """A run with its model in a store, and the folders of their artifacts."""

    outputs: Path
    run_id: str
    run_files: Path
    model_files: Path


@pytest.fixture(scope="module")
def untouched(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Logged:
    """Return a run with PReLU, an activation with weights."""
    outputs = Path(shutil.copytree(empty_store, tmp_path_factory.mktemp("tampering") / "outputs"))
    assert lenet_train(*LINE, outputs=outputs).returncode == 0
    (run,), (model,) = runs(client(outputs)), models(client(outputs))
    files = (Path(uri.removeprefix("file://")) for uri in (run.info.artifact_uri, model.artifact_location))
    return Logged(outputs, run.info.run_id, *files)


@pytest.fixture
def logged(untouched: Logged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Logged]:
    """Yield the run for manipulation and restore its files afterward, because MLflow stores their paths."""
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(untouched.outputs))
    for name in ("runs", "mlartifacts"):
        shutil.copytree(untouched.outputs / name, tmp_path / "kept" / name)
    yield untouched
    for name in ("runs", "mlartifacts"):
        shutil.rmtree(untouched.outputs / name)
        shutil.copytree(tmp_path / "kept" / name, untouched.outputs / name)


def predict(main, logged: Logged, name: str = "") -> tuple[int, str, str]:
    """Return the exit status, the line with the accuracy, and stderr."""
    done = main("dataset=digits", f"trained_model={name or f'runs:/{logged.run_id}'}", program="predict")
    return done.returncode, next((x for x in done.stdout.splitlines() if x.startswith("accuracy")), ""), done.stderr


def pickled(marker: Path) -> bytes:
    """Return the content of a torch.save file that creates `marker` when unpickled."""
    content = io.BytesIO()
    torch.save(Call(open, str(marker), "w"), content)
    return content.getvalue()


def sample_inputs(logged: Logged, marker: Path) -> None:
    with zipfile.ZipFile(logged.model_files / EXPORTED) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(logged.model_files / EXPORTED, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, pickled(marker) if name.endswith("sample_inputs/model.pt") else content)


def code_of_its_own(logged: Logged, marker: Path) -> None:
    described = logged.model_files / "MLmodel"
    described.write_text(described.read_text().replace("code: null", "code: code"))
    (logged.model_files / "code").mkdir()
    (logged.model_files / "code" / "evil_pickle.py").write_text(f"open({str(marker)!r}, 'w')\nfrom pickle import *\n")
    (logged.model_files / "data" / "model.pth").write_bytes(b"")
    (logged.model_files / "data" / "pickle_module_info.txt").write_text("evil_pickle")


@pytest.mark.parametrize("attack", [code_of_its_own, sample_inputs])
def test_manipulated_artifact_runs_no_code_and_predicts_as_before(attack, logged, main, tmp_path):
    expected = predict(main, logged)
    assert expected[0] == 0
    assert expected[1].startswith("accuracy 0.")
    attack(logged, tmp_path / "ran")
    assert predict(main, logged)[:2] == expected[:2]
    assert not (tmp_path / "ran").exists()
    assert "evil_pickle" not in sys.modules


@pytest.mark.parametrize(("attack", "pickle"), [(sample_inputs, "true"), (code_of_its_own, "false")])
def test_attacks_succeed_if_mlflow_loads_model(attack, pickle, logged, tmp_path, monkeypatch):
    attack(logged, tmp_path / "ran")
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", pickle)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with contextlib.suppress(Exception):  # only the execution of the code matters
        pytorch.load_model(str(logged.model_files))
    sys.modules.pop("evil_pickle", None)
    assert (tmp_path / "ran").exists()


def refused(main, logged: Logged, *names: str, model: str = "") -> None:
    """Check that lenet-predict refuses the model in one line that contains these names."""
    status, _, stderr = predict(main, logged, model)
    assert (status, stderr.count("\n")) == (2, 1)
    assert all(name in stderr for name in names), stderr


def test_replaced_weights_are_refused_even_if_record_matches(logged, main):
    weights, metadata = load_weights(logged.model_files / WEIGHTS)
    weights["fc3.bias"] = weights["fc3.bias"] + 1e-6
    save_weights(logged.model_files / WEIGHTS, weights, metadata)
    refused(main, logged, "weights")
    with pytest.raises(UserError, match="weights"):
        lenet_exp.load(f"runs:/{logged.run_id}")
    path = logged.run_files / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"weights_digest": weights_digest(weights)}))
    refused(main, logged, "record.json")  # the run's tag has another digest


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (WEIGHTS, b""),
        (WEIGHTS, (8).to_bytes(8, "little") + b'{"a": 1}'),
        (WEIGHTS, None),
        ("record.json", b"{"),
        ("record.json", b"[" * 100_000),
        ("record.json", b"{}"),
        ("record.json", None),
    ],
    ids=["empty", "no tensor", "too large", "cut", "deep", "no keys", "too large"],
)
def test_invalid_model_file_gives_one_line_error(name, content, logged, main):
    path = (logged.model_files if name == WEIGHTS else logged.run_files) / name
    if content is None:
        os.truncate(path, MAX_BYTES + 1)  # a sparse file uses no disk space
    else:
        path.write_bytes(content)
    refused(main, logged, name, *(["64 MiB"] if content is None else []))


@pytest.mark.parametrize("where", ["local", "logged"])
def test_named_pipe_as_weights_gives_one_line_error(where, logged, main, workdir):
    path = (logged.model_files if where == "logged" else workdir) / WEIGHTS
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    refused(main, logged, model="" if where == "logged" else str(path))


def test_model_without_weights_file_gives_one_line_error(logged, main):
    expected = predict(main, logged)
    assert predict(main, logged, str(logged.model_files / WEIGHTS))[:2] == expected[:2]
    (logged.model_files / WEIGHTS).unlink()
    refused(main, logged, WEIGHTS)


def shared(outputs: Path) -> Store:
    """Return the store of an outputs folder under a server's address."""
    return replace(open_store(replace(compose(LINE).tracking, uri=f"sqlite:///{outputs / 'mlflow.db'}")), uri=SERVER)


def adopt(logged: Logged, outputs: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """Adopt the run into another outputs folder from a shared store, and return its run folder."""
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(outputs))
    job = lone_job(compose(LINE))
    take_over([job], shared(logged.outputs))
    return job.folder


@pytest.mark.parametrize("attack", [None, sample_inputs, code_of_its_own])
def test_adopted_run_has_recorded_weights_and_runs_no_code(attack, logged, tmp_path, monkeypatch):
    if attack is not None:
        attack(logged, tmp_path / "ran")
    folder = adopt(logged, tmp_path / "mine", monkeypatch)
    assert weights_digest(folder.best_weights()) == folder.result().weights_digest
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("gone", ["weights", "model", "record.json"])
def test_run_with_missing_or_changed_files_is_adopted_without_weights(gone, logged, tmp_path, monkeypatch, caplog):
    if gone == "weights":
        weights, metadata = load_weights(logged.model_files / WEIGHTS)
        save_weights(logged.model_files / WEIGHTS, weights | {"fc3.bias": weights["fc3.bias"] + 1}, metadata)
    elif gone == "model":
        shutil.rmtree(logged.model_files)
    else:
        (logged.run_files / gone).unlink()
    folder = adopt(logged, tmp_path / "mine", monkeypatch)
    assert (folder.result() is None) == (gone == "record.json")
    assert gone in caplog.text
    assert folder.best_weights() is None


@pytest.mark.parametrize("stored", ["all", "none"])
def test_adopted_run_is_not_uploaded_again(stored, ready, tmp_path, main, monkeypatch):
    assert main(*LINE, f"tracking.models={stored}").returncode == 0
    (run,) = runs(client(ready))
    folder = adopt(Logged(ready, run.info.run_id, ready, ready), tmp_path / "mine", monkeypatch)
    before, store = folder.delivered(), shared(ready)
    reset_lost([folder], store)
    assert deliver(folder, store) == run.info.run_id
    assert folder.delivered() == before
    assert not remaining_uploads(folder, SERVER, model=True)
    assert len(models(client(ready))) == (stored == "all")


def test_edited_record_is_not_adopted(logged, tmp_path, monkeypatch, caplog):
    path = logged.run_files / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"best_val_accuracy": 0.999}))
    assert adopt(logged, tmp_path / "mine", monkeypatch).begun() is None
    assert "record.json" in caplog.text


def test_record_with_another_class_is_not_adopted_or_imported(logged, tmp_path, monkeypatch, caplog):
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nfrom torch.nn import SELU\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = logged.run_files / "record.json"
    record = json.loads(path.read_text())
    record["config"]["activation"]["_target_"] = "evil.SELU"
    del record["digest"]  # as in an older release, so its absence must not bypass the check
    path.write_text(json.dumps(record))
    assert adopt(logged, tmp_path / "mine", monkeypatch).begun() is None
    assert "activation" in caplog.text
    assert not (tmp_path / "ran").exists()


def altered(path: Path, **changes: object) -> Path:
    """Write the bundled MNIST model with changes to its record: keys of the dataset, or `normalization`."""
    with safe_open(str(shipped_file("mnist")), "pt") as file:
        metadata, weights = dict(file.metadata()), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    record = json.loads(metadata["record"])
    record |= {"normalization": changes.pop("normalization", None)}
    record["config"]["dataset"] |= changes
    save_weights(path, weights, metadata | {"record": json.dumps(record)})
    return path


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
        changes = {key: address + "set.zip" if value == "ADDRESS" else value for key, value in changes.items()}
        with pytest.raises(UserError, match=r"model\.safetensors") as caught:
            lenet_exp.load(str(altered(tmp_path / "model.safetensors", data_root=str(tmp_path), **changes)))
        assert handler.requested == []
    assert "\n" not in str(caught.value)
    assert {p.name for p in tmp_path.iterdir()} == {"served", "model.safetensors"}


def test_pictures_of_older_model_are_prepared_as_current_dataset_options(main, ready, tmp_path):
    samples.bill(tmp_path / "bill.jpg")
    with safe_open(str(shipped_file("mnist")), "pt") as file:
        assert "shows" in json.loads(file.metadata()["record"])["config"]["dataset"]
    model = altered(tmp_path / "model.safetensors", shows="???", picture_box="???")
    done = main(f"trained_model={model}", f"images={tmp_path / 'bill.jpg'}", program="predict")
    assert "bill.jpg: 4 0 7 " in done.stdout, done.stderr
