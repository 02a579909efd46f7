"""Checkpoints are complete or absent, and training resumes from the newest intact checkpoint."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lenet_exp.config.typed_json import read_as
from lenet_exp.files import write_json
from lenet_exp.folders import checkpoints as checkpoints_module
from lenet_exp.folders.checkpoints import Checkpoints, read_history
from lenet_exp.folders.digests import with_digest
from lenet_exp.folders.records import History
from lenet_exp.training.epoch import EpochResult
from lenet_exp.training.execution import choose_device
from lenet_exp.training.fit import fit
from lenet_exp.training.state import TrainingState, new_training_state
from lenet_exp.training.trained.weights import load_weights
from tests.training.small import configure, digest, start

SMALL = ("dataset.train_size=120", "dataset.val_size=100", "batch_size=40", "optimizer.lr=0.01")
CONFIG = configure("num_epoch=6", *SMALL, "activation=rrelu", "optimizer=adam")


@pytest.fixture(autouse=True)
def _log_is_read(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("lenet_exp"), "propagate", True)
    caplog.set_level(logging.INFO, "lenet_exp")


def train(state: TrainingState, checkpoints: Checkpoints, epochs: int = 6) -> Iterator[EpochResult]:
    """Train until an epoch, and add the results to the checkpoints."""
    _, data = start(CONFIG)
    for result in fit(state, data):
        checkpoints.add(result)
        yield result
        if result.epoch == epochs:
            return


def with_checkpoints(path: Path, epochs: int) -> TrainingState:
    """Train some epochs with a checkpoint after each, and then stop without cleanup."""
    state, checkpoints = fresh(), Checkpoints(path)
    for result in train(state, checkpoints, epochs):
        checkpoints.write(state, float(result.epoch))
    return state


def fresh() -> TrainingState:
    return new_training_state(CONFIG, choose_device(CONFIG.device))


def content(path: Path) -> set[str]:
    return {file.name for file in path.iterdir()}


def weights_to_the_end(state: TrainingState, checkpoints: Checkpoints) -> str:
    """Train to the end, and return the digest of the best weights."""
    list(train(state, checkpoints))
    assert state.position.epoch == 7
    return digest(state)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> str:
    return weights_to_the_end(fresh(), Checkpoints(tmp_path_factory.mktemp("whole")))


def damage(file: Path) -> None:
    """Remove half of a file, as on a full disk."""
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def test_training_resumes_from_newest_checkpoint(tmp_path, uninterrupted):
    with_checkpoints(tmp_path, 3)
    state, checkpoints = fresh(), Checkpoints(tmp_path)
    assert checkpoints.restore(state)
    assert (state.position.epoch, state.position.steps) == (4, 0)
    assert (checkpoints.seconds, checkpoints.resumed) == (3.0, 1)
    assert weights_to_the_end(state, checkpoints) == uninterrupted
    checkpoints.write_results(state.best)
    assert [e.epoch for e in read_history(tmp_path).epochs] == [1, 2, 3, 4, 5, 6]
    assert read_history(tmp_path).resumed == 1


def test_two_checkpoints_are_kept_and_finally_only_best_weights(tmp_path):
    best = with_checkpoints(tmp_path, 4).best
    history = read_history(tmp_path)
    assert [c.state for c in history.commits] == ["state-5-0.safetensors", "state-4-0.safetensors"]
    weights = {c.best.weights for c in history.commits}
    assert (
        content(tmp_path)
        == {"history.json", "state-5-0.safetensors", "state-4-0.safetensors"} | weights
    )
    accuracies = [e.val_accuracy for e in history.epochs]
    assert history.best.epoch == best.epoch == accuracies.index(max(accuracies)) + 1
    assert history.best.val_accuracy == max(accuracies)
    stored = load_file(tmp_path / history.best.weights)
    assert all(torch.equal(stored[name], tensor) for name, tensor in best.weights.items())
    Checkpoints(tmp_path).clean()
    assert content(tmp_path) == {"history.json", history.best.weights}
    after = read_history(tmp_path)
    assert (after.epochs, after.best, after.commits) == (history.epochs, history.best, [])


def test_checkpoints_are_due_by_time_rather_than_by_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints_module, "CHECKPOINT_SECONDS", 1e9)
    state, checkpoints = fresh(), Checkpoints(tmp_path)
    checkpoints.write(state, 0.0)
    for _ in train(state, checkpoints, 3):
        assert not checkpoints.due()
    assert read_history(tmp_path).epochs == []
    monkeypatch.setattr(checkpoints_module, "CHECKPOINT_SECONDS", 0.0)
    assert checkpoints.due()
    checkpoints.write_results(state.best)
    assert [e.epoch for e in read_history(tmp_path).epochs] == [1, 2, 3]
    assert read_history(tmp_path).best.epoch == state.best.epoch


@pytest.mark.parametrize("where", ["save_weights", "write_json"])
def test_crash_while_writing_checkpoint_keeps_previous_checkpoint(
    tmp_path, monkeypatch, uninterrupted, where
):
    """The crash happens before the state is written, or between state and history."""
    with_checkpoints(tmp_path, 2)
    state, checkpoints = fresh(), Checkpoints(tmp_path)
    assert checkpoints.restore(state)
    list(train(state, checkpoints, 3))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints_module, where, killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.write(state, 3.0)
    assert [e.epoch for e in read_history(tmp_path).epochs] == [1, 2]
    again, after = fresh(), Checkpoints(tmp_path)
    assert after.restore(again)
    assert again.position.epoch == 3
    assert weights_to_the_end(again, after) == uninterrupted


@pytest.mark.parametrize(
    "how", [damage, Path.unlink, lambda file: file.write_bytes(file.read_bytes()[:-1] + b"!")]
)
def test_corrupt_checkpoint_falls_back_to_previous_checkpoint(tmp_path, caplog, uninterrupted, how):
    with_checkpoints(tmp_path, 4)
    how(tmp_path / "state-5-0.safetensors")
    times = [e.time_ms for e in read_history(tmp_path).epochs]
    state, checkpoints = fresh(), Checkpoints(tmp_path)
    assert checkpoints.restore(state)
    assert state.position.epoch == 4
    assert "state-5-0.safetensors" in caplog.text
    list(train(state, checkpoints, 4))
    checkpoints.write(state, 4.0)  # replaces the corrupt state
    state, checkpoints = fresh(), Checkpoints(tmp_path)
    assert checkpoints.restore(state)
    assert state.position.epoch == 5
    assert weights_to_the_end(state, checkpoints) == uninterrupted
    checkpoints.write_results(state.best)
    history = read_history(tmp_path)
    assert ([e.epoch for e in history.epochs], history.resumed) == ([1, 2, 3, 4, 5, 6], 2)
    assert [e.time_ms for e in history.epochs[:4]] == times  # MLflow may already have these points


def test_checkpoint_with_corrupt_best_weights_is_not_used(tmp_path, caplog):
    with_checkpoints(tmp_path, 2)
    newest, before = read_history(tmp_path).commits
    assert newest.best != before.best  # the second epoch was better
    damage(tmp_path / newest.best.weights)
    state = fresh()
    assert Checkpoints(tmp_path).restore(state)
    assert (state.position.epoch, state.best.epoch) == (2, 1)
    assert newest.best.weights in caplog.text


def test_run_without_usable_checkpoint_starts_over_with_warning(tmp_path, caplog, uninterrupted):
    with_checkpoints(tmp_path, 3)
    states = sorted(tmp_path.glob("state-*"))
    for file in states:
        damage(file)
    state, checkpoints = fresh(), Checkpoints(tmp_path)
    assert not checkpoints.restore(state)
    assert all(file.name in caplog.text for file in states)
    assert "starts over" in caplog.text
    assert (state.position.epoch, checkpoints.resumed) == (1, 0)
    assert weights_to_the_end(state, checkpoints) == uninterrupted
    checkpoints.write_results(state.best)
    assert [e.epoch for e in read_history(tmp_path).epochs] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("how", [damage, lambda path: path.write_text("[" * 100_000)])
def test_run_with_corrupt_history_starts_over_with_warning(tmp_path, caplog, how):
    with_checkpoints(tmp_path, 2)
    how(tmp_path / "history.json")
    assert read_history(tmp_path) == History()
    state, checkpoints = fresh(), Checkpoints(tmp_path)
    assert not checkpoints.restore(state)
    assert (state.position.epoch, "history.json" in caplog.text) == (1, True)
    checkpoints.clean()
    list(train(state, checkpoints, 1))
    checkpoints.write(state, 1.0)
    assert [e.epoch for e in read_history(tmp_path).epochs] == [1]
    assert len(list(tmp_path.glob("state-*"))) == 1  # earlier states are removed


@pytest.mark.parametrize("name", ["/dev/zero", "../best-1.safetensors", ""])
def test_history_may_name_only_files_in_same_folder(tmp_path, name):
    with_checkpoints(tmp_path, 1)
    history = json.loads((tmp_path / "history.json").read_text())
    for changed in (
        history | {"commits": [c | {"state": name} for c in history["commits"]]},
        history | {"best": history["best"] | {"weights": name}},
    ):
        with pytest.raises(ValueError, match="not a file name"):
            read_as(History, changed)


@pytest.mark.parametrize("other", ["network", "release"])
def test_state_of_other_program_is_not_restored(tmp_path, caplog, uninterrupted, other):
    with_checkpoints(tmp_path, 1)
    history = json.loads((tmp_path / "history.json").read_text())
    (commit,) = history["commits"]
    file = tmp_path / commit["state"]
    tensors, metadata = load_weights(file)
    if other == "network":
        tensors["model.conv1.weight"] = tensors["model.conv1.weight"][:1].contiguous()
    else:  # a value is missing, which is noticed after the network was restored
        values = json.loads(metadata["values"])
        del values["progress"]
        metadata = {"values": json.dumps(values)}
    save_file(tensors, file, metadata)
    commit["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    write_json(tmp_path / "history.json", with_digest(history))
    state, checkpoints = fresh(), Checkpoints(tmp_path)
    assert not checkpoints.restore(state)
    assert "different program" in caplog.text
    assert weights_to_the_end(state, checkpoints) == uninterrupted


def test_run_without_result_leaves_only_history(tmp_path):
    state, checkpoints = fresh(), Checkpoints(tmp_path)
    checkpoints.write(state, 0.0)
    checkpoints.clean()
    assert content(tmp_path) == {"history.json"}
    assert read_history(tmp_path).best is None
