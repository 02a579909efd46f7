"""Loading a run without usable weights ends with the reason."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import lenet_exp
from lenet_exp.errors import UserError
from lenet_exp.files import read_json, write_json
from lenet_exp.folders.run_folder import RunFolder
from tests.tools.commands import SMALL
from tests.tools.stores import client, runs


@pytest.fixture(scope="module")
def original(trained_outputs) -> Path:
    return trained_outputs(*SMALL, "tracking.plots=false", "tracking.models=none")


def corrupt(folder: RunFolder) -> None:
    (folder.path / folder.history().best.weights).write_bytes(b"")


def missing(folder: RunFolder) -> None:
    (folder.path / folder.history().best.weights).unlink()


def without_epochs(folder: RunFolder) -> None:
    history_path = folder.path / "history.json"
    write_json(history_path, read_json(history_path) | {"epochs": [], "best": None})

    record_path = folder.path / "record.json"
    record = read_json(record_path)
    for key in list(record):
        if "digest" in key:
            del record[key]
    record["best_epoch"] = None
    record["best_val_accuracy"] = None
    write_json(record_path, record)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (corrupt, ".safetensors is corrupt"),
        (missing, ".safetensors were not found"),
        (without_epochs, "no complete epoch"),
    ],
)
def test_error_names_why_weights_cannot_be_loaded(change, reason, original, outputs):
    shutil.copytree(original, outputs)
    (path,) = (outputs / "runs").iterdir()
    change(RunFolder(path))

    with pytest.raises(UserError, match=reason):
        lenet_exp.load(str(path))


def test_model_that_was_not_uploaded_is_loaded_from_run_folder(original, outputs):
    shutil.copytree(original, outputs)
    (path,) = (outputs / "runs").iterdir()
    (run,) = runs(client(outputs))

    loaded = lenet_exp.load(f"runs:/{run.info.run_id}").state_dict()

    weights = RunFolder(path).best_weights()
    assert loaded.keys() == weights.keys()
    for name in weights:
        assert torch.equal(loaded[name], weights[name])


def test_error_names_what_a_file_without_record_lacks(tmp_path):
    file = tmp_path / "other.safetensors"
    save_file({"weight": torch.ones(3)}, file)
    reason = "contains no record; expected a file that model_path or lenet-export wrote"
    with pytest.raises(UserError, match=reason):
        lenet_exp.load(str(file))
