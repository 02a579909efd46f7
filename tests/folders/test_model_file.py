"""The best model as a file in `model_path`."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest
import torch

import lenet_exp
from lenet_exp.api import load, train
from lenet_exp.errors import UserError
from lenet_exp.folders.model_file import ModelFile
from lenet_exp.folders.records import Outcome, Record, record_from_json, record_to_json
from lenet_exp.folders.results import RunResult
from lenet_exp.training.epoch import EpochResult
from lenet_exp.training.trained.weights import load_weights, weights_digest
from tests.conftest import SETTINGS
from tests.tools.records import a_record
from tests.training.small import configure

RUN_ID = "0123456789abcdef0123456789abcdef"
NO_EXTRAS = ["tracking.models=none", "tracking.plots=false"]
WEIGHTS = {"w": torch.arange(4.0)}


def of_epoch(epoch: int, accuracy: float, outcome: Outcome = Outcome.running) -> Record:
    return a_record(outcome=outcome, best_epoch=epoch, best_val_accuracy=accuracy)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_improvement_replaces_only_model_file_of_same_run(tmp_path):
    other_path = ModelFile(str(tmp_path), "digits", "f" * 32).replace(WEIGHTS, of_epoch(1, 0.5))
    (tmp_path / "notes.txt").write_text("notes")
    model_file = ModelFile(str(tmp_path), "digits", RUN_ID)
    for record in (of_epoch(1, 0.1), of_epoch(2, 0.2), of_epoch(2, 0.2, Outcome.finished)):
        path = model_file.replace(WEIGHTS, record)
        assert names(tmp_path) == sorted([other_path.name, "notes.txt", path.name])
        weights, metadata = load_weights(path)
        assert torch.equal(weights["w"], WEIGHTS["w"])
        assert record_from_json(json.loads(metadata["record"])) == record


@pytest.fixture(scope="module")
def trained(empty_store, tmp_path_factory) -> tuple[RunResult, Path]:
    """A run of four epochs with `model_path`, and that folder."""
    base = tmp_path_factory.mktemp("trained")
    models = base / "models"
    outputs = shutil.copytree(empty_store, base / "outputs")
    with pytest.MonkeyPatch.context() as patch:
        for name in SETTINGS:
            patch.delenv(name, raising=False)
        patch.setenv("LENET_EXP_OUTPUTS", str(outputs))
        config = configure("num_epoch=4", "activation=prelu", f"model_path={models}", *NO_EXTRAS)
        return train(config), models


def only_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def test_run_leaves_model_file_of_best_epoch_with_record(trained):
    result, folder = trained
    best = result.record
    file = only_file(folder)
    best_epoch = f"epoch{best.best_epoch}_acc{best.best_val_accuracy:.4f}"
    assert file.name == f"digits_{best_epoch}_{result.folder.name[:8]}.safetensors"
    _, metadata = load_weights(file)
    record = json.loads(metadata["record"])
    assert record == record_to_json(best)
    assert record == json.loads((result.folder / "record.json").read_text())
    assert record["outcome"] == "finished"


@pytest.mark.parametrize("model", ["model.pt", "runs:abc", ""])
def test_unsupported_model_name_is_refused(model):
    with pytest.raises(UserError, match=r"must |cannot be read"):
        lenet_exp.load(model)


def test_rerun_of_finished_run_writes_model_file_without_training(trained, tmp_path, monkeypatch):
    result, _ = trained
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(result.folder.parent.parent))
    folder = tmp_path / "m"
    config = configure("num_epoch=4", "activation=prelu", f"model_path={folder}", *NO_EXTRAS)

    rerun = train(config)

    assert rerun.repeated
    file = only_file(folder)
    _, metadata = load_weights(file)
    assert json.loads(metadata["record"])["ended_ms"] == result.record.ended_ms
    weights = load(str(file)).state_dict()
    assert weights_digest(weights) == result.record.weights_digest


def test_best_model_so_far_is_saved_during_training(ready, tmp_path):
    """A killed run therefore leaves its best model."""
    folder = tmp_path / "models"
    accuracies = []  # of each epoch
    saved = []  # the record in the model file after each epoch

    def read_model_file(result: EpochResult) -> bool:
        accuracies.append(result.val_accuracy)
        _, metadata = load_weights(only_file(folder))
        saved.append(json.loads(metadata["record"]))
        return result.epoch == 3  # prunes the run

    train(configure("num_epoch=9", f"model_path={folder}", *NO_EXTRAS), on_epoch=read_model_file)

    assert {record["outcome"] for record in saved} == {"running"}
    best_so_far = list(itertools.accumulate(accuracies, max))
    assert [record["best_val_accuracy"] for record in saved] == best_so_far
