"""The best model as a file in `model_path`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

import lenet_exp
from lenet_exp.api import load, train
from lenet_exp.data.images import load_training_data
from lenet_exp.errors import ConfigError, UserError
from lenet_exp.folders.model_file import ModelFile
from lenet_exp.folders.records import Outcome, Record, record_json, record_of
from lenet_exp.folders.results import RunResult
from lenet_exp.training.evaluate import evaluate
from lenet_exp.training.weights import load_weights, save_weights, weights_digest
from tests.commands import start
from tests.conftest import SETTINGS
from tests.records import a_record
from tests.training.small import configure

RUN_ID = "0123456789abcdef0123456789abcdef"
NO_EXTRAS = ["tracking.models=none", "tracking.plots=false"]
WEIGHTS = {"w": torch.arange(4.0)}


def of_epoch(epoch: int, accuracy: float, outcome: Outcome = Outcome.running) -> Record:
    return a_record(outcome=outcome, best_epoch=epoch, best_val_accuracy=accuracy)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_its_name_tells_data_set_epoch_accuracy_and_run(tmp_path):
    path = ModelFile(str(tmp_path), "digits", RUN_ID).replace(WEIGHTS, of_epoch(7, 0.99134))
    assert path == tmp_path / "digits_epoch7_acc0.9913_01234567.safetensors"
    weights, metadata = load_weights(path)
    assert torch.equal(weights["w"], WEIGHTS["w"])
    assert record_of(json.loads(metadata["record"])) == of_epoch(7, 0.99134)


def test_each_improvement_replaces_the_runs_own_file_and_no_other(tmp_path):
    theirs = ModelFile(str(tmp_path), "digits", "f" * 32).replace(WEIGHTS, of_epoch(1, 0.5))
    (tmp_path / "notes.txt").write_text("mine")
    mine = ModelFile(str(tmp_path), "digits", RUN_ID)
    for epoch in (1, 2, 10):
        path = mine.replace(WEIGHTS, of_epoch(epoch, epoch / 10))
        assert names(tmp_path) == sorted([theirs.name, "notes.txt", path.name])


def test_replacing_with_the_same_name_brings_the_new_record(tmp_path):
    file = ModelFile(str(tmp_path), "digits", RUN_ID)
    file.replace(WEIGHTS, of_epoch(1, 0.5))
    path = file.replace(WEIGHTS, of_epoch(1, 0.5, Outcome.finished))
    assert json.loads(load_weights(path)[1]["record"])["outcome"] == "finished"
    assert names(tmp_path) == [path.name]


def test_the_folder_is_made_and_not_littered(tmp_path):
    ModelFile(str(tmp_path / "a" / "b"), "digits", RUN_ID)
    assert names(tmp_path / "a" / "b") == []


def test_a_path_that_can_be_no_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"model_path=.*file: can't be written .*; allowed is a folder"):
        ModelFile(str(tmp_path / "file"), "digits", RUN_ID)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[RunResult, Path]:
    """A run of four epochs with `model_path`, and that folder."""
    base = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        for name in SETTINGS:
            patch.delenv(name, raising=False)
        patch.setenv("LENET_EXP_OUTPUTS", str(base / "outputs"))
        config = configure("num_epoch=4", "activation=prelu", f"model_path={base / 'models'}", *NO_EXTRAS)
        return train(config), base / "models"


def only_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def test_a_run_leaves_one_file_of_its_best_epoch(trained):
    result, folder = trained
    found = re.fullmatch(r"digits_epoch(\d+)_acc(0\.\d{4}|1\.0000)_([0-9a-f]{8})\.safetensors", only_file(folder).name)
    assert int(found[1]) == result.record.best_epoch
    assert found[2] == f"{result.record.best_val_accuracy:.4f}"
    assert found[3] == result.folder.name[:8]


def test_its_metadata_is_the_runs_record(trained):
    result, folder = trained
    record = json.loads(load_weights(only_file(folder))[1]["record"])
    assert record == record_json(result.record) == json.loads((result.folder / "record.json").read_text())
    assert record["outcome"] == "finished"


def test_loaded_it_has_the_validation_accuracy_of_its_record(trained):
    result, folder = trained
    network = load(str(only_file(folder)))
    assert not network.training
    assert weights_digest(network.state_dict()) == result.record.weights_digest
    data = load_training_data(configure(), torch.device("cpu"))
    _, predictions = evaluate(network, data.images, data.labels, data.val_index)
    right = (predictions == data.labels[data.val_index]).double().mean()
    assert float(right) == result.record.best_val_accuracy


def test_weights_that_are_not_those_of_the_record_are_refused(trained, tmp_path):
    weights, metadata = load_weights(only_file(trained[1]))
    weights["fc3.bias"] = weights["fc3.bias"] + 1e-6
    save_weights(tmp_path / "other.safetensors", weights, metadata)
    with pytest.raises(UserError, match="its weights are not those of its record"):
        lenet_exp.load(str(tmp_path / "other.safetensors"))


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "no such file"), (b"PK\x03\x04 a torch.save of somebody", "not a model file of lenet_exp")],
)
def test_what_is_no_model_file_is_one_line(content, says, tmp_path):
    path = tmp_path / "m.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=says) as caught:
        lenet_exp.load(str(path))
    assert "\n" not in str(caught.value)


def test_a_file_of_weights_without_a_record_is_one_line(tmp_path):
    save_weights(tmp_path / "m.safetensors", WEIGHTS, {})
    with pytest.raises(UserError, match="not a model file of lenet_exp"):
        lenet_exp.load(str(tmp_path / "m.safetensors"))


@pytest.mark.parametrize("model", ["model.pt", "runs:abc", "models:/digits/1", ""])
def test_other_kinds_of_models_are_refused(model):
    with pytest.raises(UserError, match=r"allowed is a registered name, name@alias, runs:/|can't be read"):
        lenet_exp.load(model)


def test_a_finished_run_asked_for_again_writes_its_file_without_training(trained, tmp_path, monkeypatch):
    result, _ = trained
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(result.folder.parent.parent))
    again = train(configure("num_epoch=4", "activation=prelu", f"model_path={tmp_path / 'm'}", *NO_EXTRAS))
    assert again.repeated
    weights, metadata = load_weights(only_file(tmp_path / "m"))
    assert json.loads(metadata["record"])["ended_ms"] == result.record.ended_ms
    assert weights_digest(load(str(only_file(tmp_path / "m"))).state_dict()) == result.record.weights_digest
    assert set(weights) >= {"conv1.weight", "fc3.bias", "act1.weight"}


@pytest.mark.slow(seconds=6)
def test_a_run_that_is_killed_leaves_its_best_model_so_far(outputs, tmp_path):
    folder = tmp_path / "models"
    small = ["dataset=digits", "batch_size=32", "num_epoch=100000", "num_threads=1", f"model_path={folder}"]
    process = start(*small, *NO_EXTRAS, outputs=outputs)
    best = set()
    for line in process.stderr:
        found = re.search(r"epoch (\d+)/.* validation [\d.]+%( \(best\))?", line)
        if found and found[2]:
            best.add(int(found[1]))
        if found and int(found[1]) == 12:  # the files of the epochs before are written
            break
    process.kill()
    process.wait()
    (file,) = (p for p in folder.iterdir() if not p.name.startswith("."))
    record = json.loads(load_weights(file)[1]["record"])
    assert record["outcome"] == "running"
    assert record["best_epoch"] in best or record["best_epoch"] > 12
    assert record["best_epoch"] >= max(best - {12})
    network = load(str(file))
    data = load_training_data(configure(), torch.device("cpu"))
    _, predictions = evaluate(network, data.images, data.labels, data.val_index)
    assert float((predictions == data.labels[data.val_index]).double().mean()) == record["best_val_accuracy"]
