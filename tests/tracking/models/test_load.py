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
    path = folder.path / "history.json"
    write_json(path, read_json(path) | {"epochs": [], "best": None})
    record = {
        key: value
        for key, value in read_json(folder.path / "record.json").items()
        if "digest" not in key
    }
    kept = {"fingerprint": read_json(folder.path / "record.json")["fingerprint"]}
    write_json(
        folder.path / "record.json", record | kept | {"best_epoch": None, "best_val_accuracy": None}
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (corrupt, ".safetensors is corrupt"),
        (missing, ".safetensors were not found"),
        (without_epochs, "no complete epoch"),
    ],
)
def test_error_names_why_weights_cannot_be_loaded(change, named, original, outputs):
    shutil.copytree(original, outputs)
    (path,) = (outputs / "runs").iterdir()
    change(RunFolder(path))
    with pytest.raises(UserError, match=named):
        lenet_exp.load(str(path))


def test_model_that_was_not_uploaded_is_loaded_from_run_folder(original, outputs):
    shutil.copytree(original, outputs)
    (path,) = (outputs / "runs").iterdir()
    (run,) = runs(client(outputs))
    loaded = lenet_exp.load(f"runs:/{run.info.run_id}").state_dict()
    weights = RunFolder(path).best_weights()
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[name], weights[name]) for name in weights)


def test_error_names_what_a_file_without_record_lacks(tmp_path):
    save_file({"weight": torch.ones(3)}, tmp_path / "other.safetensors")
    with pytest.raises(
        UserError, match="contains no record; expected a file that model_path or lenet-export wrote"
    ):
        lenet_exp.load(str(tmp_path / "other.safetensors"))
