"""An artifact that somebody changed runs no code: each attack works where MLflow loads it, and not here."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient, pytorch

import lenet_exp
from lenet_exp.api import compose
from lenet_exp.errors import UserError
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.runs.jobs import lone_job
from lenet_exp.tracking.adopt import take_over_one
from lenet_exp.tracking.logged import MAX_BYTES
from lenet_exp.tracking.model import WEIGHTS
from lenet_exp.tracking.model_files import EXPORTED
from lenet_exp.tracking.store import open_store
from lenet_exp.training.weights import load_weights, save_weights, weights_digest
from tests.commands import SMALL, lenet_train
from tests.stores import client, models, runs
from tests.training.test_ancestor import Call

LINE = [*SMALL, "num_epoch=1", "num_threads=1", "activation=prelu", "tracking.plots=false"]


@dataclass(frozen=True)
class Logged:
    """A run with its model in a store: where its artifacts lie."""

    outputs: Path
    run_id: str
    run_files: Path
    model_files: Path

    @property
    def exported(self) -> Path:
        return self.model_files / EXPORTED


@pytest.fixture(scope="module")
def untouched(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Logged:
    """A run of PReLU, whose activation has weights of its own."""
    outputs = Path(shutil.copytree(empty_store, tmp_path_factory.mktemp("tampering") / "outputs"))
    assert lenet_train(*LINE, outputs=outputs).returncode == 0
    (run,), (model,) = runs(client(outputs)), models(client(outputs))
    files = (Path(uri.removeprefix("file://")) for uri in (run.info.artifact_uri, model.artifact_location))
    return Logged(outputs, run.info.run_id, *files)


@pytest.fixture
def logged(untouched: Logged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Logged]:
    """That run, to be changed; MLflow keeps paths, so its files are put back afterwards."""
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(untouched.outputs))
    for name in ("runs", "mlartifacts"):
        shutil.copytree(untouched.outputs / name, tmp_path / "kept" / name)
    yield untouched
    for name in ("runs", "mlartifacts"):
        shutil.rmtree(untouched.outputs / name)
        shutil.copytree(tmp_path / "kept" / name, untouched.outputs / name)


def predict(main, logged: Logged, name: str = "") -> tuple[int, str, str]:
    """Status, the accuracy's line and stderr."""
    done = main("dataset=digits", f"trained_model={name or f'runs:/{logged.run_id}'}", program="predict")
    return done.returncode, next((x for x in done.stdout.splitlines() if x.startswith("accuracy")), ""), done.stderr


def pickled(marker: Path) -> bytes:
    """A file of torch.save that creates `marker` when it is unpickled."""
    content = io.BytesIO()
    torch.save(Call(open, str(marker), "w"), content)
    return content.getvalue()


def change_archive(path: Path, name: str, content: bytes | None, **more: int) -> None:
    """Replaces the file of a pt2 archive whose name ends so; None leaves it out."""
    with zipfile.ZipFile(path) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for member, held in members.items():
            if not member.endswith(name):
                archive.writestr(member, held)
            elif content is not None:
                archive.writestr(member, content, **more)


def a_pickle_beside(logged: Logged, marker: Path) -> None:
    (logged.model_files / "data" / "model.pth").write_bytes(pickled(marker))
    (logged.model_files / "data" / "pickle_module_info.txt").write_text("mlflow.pytorch.pickle_module")


def sample_inputs(logged: Logged, marker: Path) -> None:
    change_archive(logged.exported, "sample_inputs/model.pt", pickled(marker))


def code_of_its_own(logged: Logged, marker: Path) -> None:
    described = logged.model_files / "MLmodel"
    described.write_text(described.read_text().replace("code: null", "code: code"))
    (logged.model_files / "code").mkdir()
    (logged.model_files / "code" / "evil_pickle.py").write_text(f"open({str(marker)!r}, 'w')\nfrom pickle import *\n")
    (logged.model_files / "data" / "model.pth").write_bytes(b"")
    (logged.model_files / "data" / "pickle_module_info.txt").write_text("evil_pickle")


ATTACKS: list[Callable[[Logged, Path], None]] = [a_pickle_beside, sample_inputs, code_of_its_own]


@pytest.mark.parametrize("older", [False, True], ids=["now", "older release"])
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.__name__)
def test_a_changed_artifact_runs_nothing_and_predicts_as_the_untouched_one(attack, older, logged, main, tmp_path):
    if older:
        (logged.model_files / WEIGHTS).unlink()
    expected = predict(main, logged)
    assert expected[0] == 0
    assert expected[1].startswith("accuracy 0.")
    ran = tmp_path / "ran"
    attack(logged, ran)
    for name in (f"runs:/{logged.run_id}", "null"):
        assert predict(main, logged, name)[:2] == expected[:2]
    assert not ran.exists()
    assert "evil_pickle" not in sys.modules


@pytest.mark.parametrize(("attack", "pickle"), [*((a, "true") for a in ATTACKS), (code_of_its_own, "false")])
def test_the_attacks_work_where_mlflow_loads_the_model(attack, pickle, logged, tmp_path, monkeypatch):
    attack(logged, tmp_path / "ran")
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", pickle)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with contextlib.suppress(Exception):  # what comes after the code does not matter
        pytorch.load_model(str(logged.model_files))
    sys.modules.pop("evil_pickle", None)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("program", ["predict", "export", "python"])
def test_replaced_weights_are_refused_in_one_line(program, logged, main, workdir):
    weights, metadata = load_weights(logged.model_files / WEIGHTS)
    weights["fc3.bias"] = weights["fc3.bias"] + 1e-6
    save_weights(logged.model_files / WEIGHTS, weights, metadata)
    name = f"runs:/{logged.run_id}"
    if program == "python":
        with pytest.raises(UserError, match="its weights are not those of its record"):
            lenet_exp.load(name)
        return
    flags = ["format=safetensors"] if program == "export" else []
    done = main("dataset=digits", f"trained_model={name}", *flags, program=program)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "its weights are not those of its record" in done.stderr
    assert not list(workdir.glob("*.safetensors"))


def test_a_record_changed_with_the_weights_is_refused_since_the_run_names_others(logged, main):
    weights, metadata = load_weights(logged.model_files / WEIGHTS)
    weights["fc3.bias"] = weights["fc3.bias"] + 1
    save_weights(logged.model_files / WEIGHTS, weights, metadata)
    path = logged.run_files / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"weights_digest": weights_digest(weights)}))
    status, _, said = predict(main, logged)
    assert (status, said.count("\n")) == (2, 1)
    assert "its record.json does not name the weights that the run has" in said


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 100, (8).to_bytes(8, "little") + b'{"a": 1}'], ids=["empty", "ff", "no tensor"]
)
def test_weights_that_are_none_are_one_line(content, logged, main):
    (logged.model_files / WEIGHTS).write_bytes(content)
    status, _, said = predict(main, logged)
    assert (status, said.count("\n")) == (2, 1)
    assert f"its {WEIGHTS} can't be read" in said


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[" * 100_000, b"[]", b"{}"], ids=["empty", "cut", "deep", "list", "no keys"]
)
def test_a_record_that_is_none_is_one_line(content, logged, main):
    (logged.run_files / "record.json").write_bytes(content)
    status, _, said = predict(main, logged)
    assert (status, said.count("\n")) == (2, 1)
    assert "its record.json can't be read" in said


def test_files_that_are_too_large_are_one_line(logged, main):
    for path in (logged.model_files / WEIGHTS, logged.run_files / "record.json"):
        with path.open("r+b") as file:
            file.truncate(MAX_BYTES + 1)  # a hole: it takes no disk
        status, _, said = predict(main, logged)
        assert (status, said.count("\n")) == (2, 1)
        assert f"its {path.name} can't be read (larger than 64 MiB)" in said


@pytest.mark.parametrize("where", ["local", "logged"])
def test_a_pipe_is_one_line_and_blocks_nothing(where, logged, main, workdir):
    path = (logged.model_files if where == "logged" else workdir) / WEIGHTS
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    status, _, said = predict(main, logged, "" if where == "logged" else str(path))
    assert (status, said.count("\n")) == (2, 1)


def test_a_model_file_with_a_long_name_is_scored(logged, main, workdir):
    path = workdir / f"{'x' * 230}.{WEIGHTS}"
    shutil.copy(logged.model_files / WEIGHTS, path)
    status, _, said = predict(main, logged, str(path))
    assert status == 0, said
    pictures = (logged.outputs / "predictions").iterdir()
    assert any(picture.name.endswith(f"x.{WEIGHTS}_confusion_matrix.png") for picture in pictures)


def test_a_file_where_the_folder_of_predictions_should_be_is_one_line(logged, main):
    predictions = logged.outputs / "predictions"
    shutil.rmtree(predictions, ignore_errors=True)  # of another test on the same model
    predictions.write_text("")
    status, _, said = predict(main, logged)
    predictions.unlink()
    assert (status, said.count("\n")) == (2, 1)
    assert "can't be written (File exists)" in said


def test_the_logged_file_is_a_model_file_with_the_runs_record(logged, main):
    _, metadata = load_weights(logged.model_files / WEIGHTS)
    assert json.loads(metadata["record"]) == json.loads((logged.run_files / "record.json").read_text())
    assert predict(main, logged, str(logged.model_files / WEIGHTS))[:2] == predict(main, logged)[:2]


def test_an_older_model_whose_archive_is_gone_is_found_in_its_run_folder_or_said(logged, main):
    expected = predict(main, logged)
    (logged.model_files / WEIGHTS).unlink()
    logged.exported.unlink()
    assert predict(main, logged)[:2] == expected[:2]
    (folder,) = (RunFolder(p) for p in (logged.outputs / "runs").iterdir())
    (folder.path / folder.history().best.weights).unlink()
    status, _, said = predict(main, logged)
    assert (status, said.count("\n")) == (2, 1)
    assert f"its model has no {WEIGHTS}, its {EXPORTED} can't be fetched" in said


def test_only_the_weights_and_the_record_are_fetched(logged, main, monkeypatch):
    opened: list[str] = []
    watching = True
    sys.addaudithook(lambda event, args: opened.append(str(args[0])) if watching and event == "open" else None)
    assert predict(main, logged)[0] == 0
    watching = False
    fetched = {Path(p).name for p in opened if p.startswith(str(logged.outputs / "mlartifacts"))}
    assert fetched >= {WEIGHTS, "record.json"}
    assert not fetched & {"MLmodel", "model.pt2", "conda.yaml"}
    assert (
        MlflowClient(f"sqlite:///{logged.outputs / 'mlflow.db'}").get_run(logged.run_id).data.metrics["test_accuracy"]
    )


def adopt(logged: Logged, outputs: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """The run's folder in another outputs folder, after a look at the store as if it were a server that both share."""
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(outputs))
    tracking = replace(compose(LINE).tracking, uri=f"sqlite:///{logged.outputs / 'mlflow.db'}")
    job = lone_job(compose(LINE))
    take_over_one(job, replace(open_store(tracking), uri="http://shared"))
    return job.folder


def test_what_is_adopted_has_the_weights_of_its_record(logged, tmp_path, monkeypatch):
    folder = adopt(logged, tmp_path / "mine", monkeypatch)
    assert weights_digest(folder.best_weights()) == folder.result().weights_digest


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.__name__)
def test_adopting_a_changed_artifact_runs_nothing(attack, logged, tmp_path, monkeypatch):
    (logged.model_files / WEIGHTS).unlink()
    attack(logged, tmp_path / "ran")
    folder = adopt(logged, tmp_path / "mine", monkeypatch)
    assert weights_digest(folder.best_weights()) == folder.result().weights_digest
    assert not (tmp_path / "ran").exists()


def test_replaced_weights_are_not_adopted(logged, tmp_path, monkeypatch, caplog):
    weights, metadata = load_weights(logged.model_files / WEIGHTS)
    save_weights(logged.model_files / WEIGHTS, weights | {"fc3.bias": weights["fc3.bias"] + 1}, metadata)
    folder = adopt(logged, tmp_path / "mine", monkeypatch)
    assert folder.result() is not None
    assert folder.best_weights() is None
    assert "its weights are not those of its record, and are not kept" in caplog.text


@pytest.mark.parametrize("gone", ["record.json", "model"])
def test_a_run_whose_files_are_gone_is_said_or_adopted_without_weights(gone, logged, tmp_path, monkeypatch, caplog):
    if gone == "model":
        shutil.rmtree(logged.model_files)
    else:
        (logged.run_files / gone).unlink()
    folder = adopt(logged, tmp_path / "mine", monkeypatch)
    assert (folder.result() is None) == (gone == "record.json") == ("record.json can't be read" in caplog.text)
    assert folder.best_weights() is None


def test_an_edited_record_is_not_adopted(logged, tmp_path, monkeypatch, caplog):
    path = logged.run_files / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"best_val_accuracy": 0.999}))
    assert adopt(logged, tmp_path / "mine", monkeypatch).begun() is None
    assert "record.json can't be read (it was changed after it had been written); it is not taken over" in caplog.text


def test_a_record_that_names_another_class_is_not_adopted(logged, tmp_path, monkeypatch, caplog):
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nfrom torch.nn import SELU\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = logged.run_files / "record.json"
    record = json.loads(path.read_text())
    record["config"]["activation"]["_target_"] = "evil.SELU"
    del record["digest"]  # as in an older release: it is no guard against who can leave it out
    path.write_text(json.dumps(record))
    assert adopt(logged, tmp_path / "mine", monkeypatch).begun() is None
    assert "its record names another activation; it is not taken over" in caplog.text
    assert not (tmp_path / "ran").exists()
