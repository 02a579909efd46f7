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
    state = fresh()
    checkpoints = Checkpoints(path)
    for result in train(state, checkpoints, epochs):
        checkpoints.write(state, float(result.epoch))
    return state


def fresh() -> TrainingState:
    return new_training_state(CONFIG, choose_device(CONFIG.device))


def content(path: Path) -> set[str]:
    return {file.name for file in path.iterdir()}


def stored_epochs(path: Path) -> list[int]:
    """Return the numbers of the epochs in a folder's history."""
    return [result.epoch for result in read_history(path).epochs]


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
    state = fresh()
    checkpoints = Checkpoints(tmp_path)

    assert checkpoints.restore(state)

    assert state.position.epoch == 4
    assert state.position.steps == 0
    assert checkpoints.seconds == 3.0
    assert checkpoints.resumed == 1
    assert weights_to_the_end(state, checkpoints) == uninterrupted
    checkpoints.write_results(state.best)
    assert stored_epochs(tmp_path) == [1, 2, 3, 4, 5, 6]
    assert read_history(tmp_path).resumed == 1


def test_two_checkpoints_are_kept_and_finally_only_best_weights(tmp_path):
    best = with_checkpoints(tmp_path, 4).best

    history = read_history(tmp_path)
    states = ["state-5-0.safetensors", "state-4-0.safetensors"]
    assert [commit.state for commit in history.commits] == states
    weights = {commit.best.weights for commit in history.commits}
    assert content(tmp_path) == {"history.json", *states, *weights}
    accuracies = [result.val_accuracy for result in history.epochs]
    assert history.best.val_accuracy == max(accuracies)
    assert history.best.epoch == accuracies.index(max(accuracies)) + 1
    assert history.best.epoch == best.epoch
    stored = load_file(tmp_path / history.best.weights)
    for name, tensor in best.weights.items():
        assert torch.equal(stored[name], tensor)

    Checkpoints(tmp_path).clean()

    assert content(tmp_path) == {"history.json", history.best.weights}
    cleaned = read_history(tmp_path)
    assert cleaned.epochs == history.epochs
    assert cleaned.best == history.best
    assert cleaned.commits == []


def test_checkpoints_are_due_by_time_rather_than_by_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints_module, "CHECKPOINT_SECONDS", 1e9)
    state = fresh()
    checkpoints = Checkpoints(tmp_path)
    checkpoints.write(state, 0.0)

    for _ in train(state, checkpoints, 3):
        assert not checkpoints.due()
    assert stored_epochs(tmp_path) == []

    monkeypatch.setattr(checkpoints_module, "CHECKPOINT_SECONDS", 0.0)
    assert checkpoints.due()
    checkpoints.write_results(state.best)
    assert stored_epochs(tmp_path) == [1, 2, 3]
    assert read_history(tmp_path).best.epoch == state.best.epoch


@pytest.mark.parametrize("where", ["save_weights", "write_json"])
def test_crash_while_writing_checkpoint_keeps_previous_checkpoint(
    tmp_path, monkeypatch, uninterrupted, where
):
    """The crash happens before the state is written, or between state and history."""
    with_checkpoints(tmp_path, 2)
    state = fresh()
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.restore(state)
    list(train(state, checkpoints, 3))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints_module, where, killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.write(state, 3.0)

    assert stored_epochs(tmp_path) == [1, 2]
    restored = fresh()
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.restore(restored)
    assert restored.position.epoch == 3
    assert weights_to_the_end(restored, checkpoints) == uninterrupted


@pytest.mark.parametrize(
    "how", [damage, Path.unlink, lambda file: file.write_bytes(file.read_bytes()[:-1] + b"!")]
)
def test_corrupt_checkpoint_falls_back_to_previous_checkpoint(tmp_path, caplog, uninterrupted, how):
    with_checkpoints(tmp_path, 4)
    how(tmp_path / "state-5-0.safetensors")
    times = [result.time_ms for result in read_history(tmp_path).epochs]

    state = fresh()
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.restore(state)
    assert state.position.epoch == 4
    assert "state-5-0.safetensors" in caplog.text
    list(train(state, checkpoints, 4))
    checkpoints.write(state, 4.0)  # replaces the corrupt state

    state = fresh()
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.restore(state)
    assert state.position.epoch == 5
    assert weights_to_the_end(state, checkpoints) == uninterrupted
    checkpoints.write_results(state.best)
    assert stored_epochs(tmp_path) == [1, 2, 3, 4, 5, 6]
    history = read_history(tmp_path)
    assert history.resumed == 2
    # MLflow may already have these points
    assert [result.time_ms for result in history.epochs[:4]] == times


def test_checkpoint_with_corrupt_best_weights_is_not_used(tmp_path, caplog):
    with_checkpoints(tmp_path, 2)
    newest, before = read_history(tmp_path).commits
    assert newest.best != before.best  # the second epoch was better
    damage(tmp_path / newest.best.weights)

    state = fresh()
    assert Checkpoints(tmp_path).restore(state)

    assert state.position.epoch == 2
    assert state.best.epoch == 1
    assert newest.best.weights in caplog.text


def test_run_without_usable_checkpoint_starts_over_with_warning(tmp_path, caplog, uninterrupted):
    with_checkpoints(tmp_path, 3)
    states = sorted(tmp_path.glob("state-*"))
    for file in states:
        damage(file)

    state = fresh()
    checkpoints = Checkpoints(tmp_path)
    assert not checkpoints.restore(state)

    for file in states:
        assert file.name in caplog.text
    assert "starts over" in caplog.text
    assert state.position.epoch == 1
    assert checkpoints.resumed == 0
    assert weights_to_the_end(state, checkpoints) == uninterrupted
    checkpoints.write_results(state.best)
    assert stored_epochs(tmp_path) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("how", [damage, lambda path: path.write_text("[" * 100_000)])
def test_run_with_corrupt_history_starts_over_with_warning(tmp_path, caplog, how):
    with_checkpoints(tmp_path, 2)
    how(tmp_path / "history.json")
    assert read_history(tmp_path) == History()

    state = fresh()
    checkpoints = Checkpoints(tmp_path)
    assert not checkpoints.restore(state)

    assert state.position.epoch == 1
    assert "history.json" in caplog.text
    checkpoints.clean()
    list(train(state, checkpoints, 1))
    checkpoints.write(state, 1.0)
    assert stored_epochs(tmp_path) == [1]
    assert len(list(tmp_path.glob("state-*"))) == 1  # earlier states are removed


@pytest.mark.parametrize("name", ["/dev/zero", "../best-1.safetensors", ""])
def test_history_may_name_only_files_in_same_folder(tmp_path, name):
    with_checkpoints(tmp_path, 1)
    text = (tmp_path / "history.json").read_text()

    with_foreign_state = json.loads(text)
    for commit in with_foreign_state["commits"]:
        commit["state"] = name
    with_foreign_weights = json.loads(text)
    with_foreign_weights["best"]["weights"] = name

    for changed in (with_foreign_state, with_foreign_weights):
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

    state = fresh()
    checkpoints = Checkpoints(tmp_path)
    assert not checkpoints.restore(state)
    assert "different program" in caplog.text
    assert weights_to_the_end(state, checkpoints) == uninterrupted


def test_run_without_result_leaves_only_history(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.write(fresh(), 0.0)
    checkpoints.clean()
    assert content(tmp_path) == {"history.json"}
    assert read_history(tmp_path).best is None
