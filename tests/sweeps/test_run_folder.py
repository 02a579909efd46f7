"""A run on disk: what is committed is whole, and one process at a time owns it."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lenet_exp.files import write_json
from lenet_exp.sweeps import run_folder
from lenet_exp.sweeps.run_folder import RunFolder, run_id
from lenet_exp.training.fit import EpochResult
from lenet_exp.training.lane import Best


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    return folder


def result(epoch: int, *, improved: bool = True) -> EpochResult:
    return EpochResult(
        epoch, 1.0, 0.5, 1.0, 0.1 * epoch, 0.01, 2.0, 100.0, [(epoch, 1.0, epoch)], 1000 * epoch, improved
    )


def best(epoch: int) -> Best:
    return Best(epoch, 0.1 * epoch, {"w": torch.full((3,), float(epoch))}, torch.zeros(2, dtype=torch.int64))


def test_the_name_is_of_the_experiment_and_the_fingerprint():
    names = [run_id(e, f) for e in ("a", "b") for f in ("c" * 64, "d" * 64)]
    assert len(set(names)) == 4
    assert {len(name) for name in names} == {32}
    assert run_id("a", "c" * 64) == names[0]


def test_a_commit_keeps_history_and_the_best_weights_only(folder, monkeypatch):
    monkeypatch.setattr(run_folder, "COMMIT_SECONDS", 0.0)
    assert folder.commit(result(1), best(1), final=False)
    assert folder.commit(result(2), best(2), final=False)
    assert folder.commit(result(3, improved=False), best(2), final=True)
    read = RunFolder(folder.path)
    assert [e["epoch"] for e in read.history()["epochs"]] == [1, 2, 3]
    assert read.history()["best"] == {"epoch": 2, "val_accuracy": 0.2, "weights": "best-2.safetensors"}
    assert read.best_weights()["w"].tolist() == [2.0] * 3
    assert sorted(path.name for path in folder.path.iterdir()) == ["best-2.safetensors", "history.json"]


def test_short_epochs_are_committed_together(folder, monkeypatch):
    monkeypatch.setattr(run_folder, "COMMIT_SECONDS", 1e9)
    assert not folder.commit(result(1), best(1), final=False)
    assert not folder.commit(result(2), best(2), final=False)
    assert RunFolder(folder.path).history()["epochs"] == []
    assert folder.commit(result(3), best(3), final=True)
    assert [e["epoch"] for e in RunFolder(folder.path).history()["epochs"]] == [1, 2, 3]
    assert RunFolder(folder.path).history()["best"]["epoch"] == 3


def test_what_was_held_back_is_flushed_at_the_end(folder):
    folder.commit(result(1), best(1), final=False)
    folder.commit(result(2), best(2), final=False)
    folder.flush(best(2))
    assert [e["epoch"] for e in RunFolder(folder.path).history()["epochs"]] == [1, 2]


def test_a_crash_between_weights_and_history_leaves_the_commit_before(folder, monkeypatch):
    monkeypatch.setattr(run_folder, "COMMIT_SECONDS", 0.0)
    folder.commit(result(1), best(1), final=False)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            folder.commit(result(2), best(2), final=False)
    read = RunFolder(folder.path)
    assert [e["epoch"] for e in read.history()["epochs"]] == [1]
    assert read.best_weights()["w"].tolist() == [1.0] * 3


def test_starting_anew_empties_the_folder_but_remembers_its_mlflow_runs(folder):
    entry = {"store": "sqlite:///x", "run_id": "1" * 32}
    folder.set_delivered({"mlflow_runs": [entry]})
    write_json(folder.path / "history.json", {"epochs": [], "best": None})
    (folder.path / "rest").mkdir()
    folder.start({"name": "n", "config": {}, "fingerprint": "f"})
    assert folder.abandoned() == [entry]
    assert folder.delivered() is None
    assert folder.job()["name"] == "n"
    assert sorted(path.name for path in folder.path.iterdir()) == ["abandoned.json", "job.json"]


def test_a_claim_shuts_others_out_until_its_process_dies(folder):
    code = "import sys; from pathlib import Path; from lenet_exp.sweeps.run_folder import RunFolder\n"
    code += "with RunFolder(Path(sys.argv[1])).claim():\n    print('mine', flush=True)\n    sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(folder.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "mine\n"
    with (folder.path / "lock").open() as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        other.kill()
        other.wait()
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel freed it
    with folder.claim():
        assert (folder.path / "lock").exists()
