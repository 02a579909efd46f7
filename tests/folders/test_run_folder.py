"""A run on disk: its owner, the files that a restart keeps, and the files that remain at the
end.
"""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch

from lenet_exp.errors import DamagedError
from lenet_exp.folders.checkpoints import Checkpoints
from lenet_exp.folders.delivered import Delivered, DeliveredRun
from lenet_exp.folders.records import Outcome, Record
from lenet_exp.folders.run_folder import RunFolder, run_id
from lenet_exp.training.state import Best
from tests.tools.records import a_record

BEGUN = a_record(name="n", created_ms=1)
BEST = Best(2, 0.2, {"w": torch.full((3,), 2.0)}, torch.zeros(2, dtype=torch.int64))


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    return folder


def record(outcome: str) -> Record:
    return replace(BEGUN, outcome=Outcome(outcome), reason="", best_epoch=2, best_val_accuracy=0.2)


def content(folder: RunFolder) -> list[str]:
    return sorted(path.name for path in folder.path.iterdir())


def test_run_id_depends_on_experiment_fingerprint_and_environment():
    experiments = ("a", "b")
    fingerprints = ("c" * 64, "d" * 64)
    environments = ((), ("cpu", 1), ("cpu", 2))
    arguments = []
    for experiment, fingerprint, environment in product(experiments, fingerprints, environments):
        arguments.append((experiment, fingerprint, *environment))
    names = [run_id(*argument) for argument in arguments]
    assert len(set(names)) == len(arguments)
    assert {len(name) for name in names} == {32}
    assert run_id(*arguments[0]) == names[0]


def test_edited_job_file_is_corrupt(folder, caplog):
    folder.start(BEGUN)
    text = (folder.path / "job.json").read_text()
    (folder.path / "job.json").write_text(text.replace('"name": "n"', '"name": "m"'))
    assert folder.begun() is None
    assert "job.json is corrupt" in caplog.text


def test_restart_empties_folder_but_keeps_log_and_mlflow_runs(folder):
    entry = DeliveredRun("sqlite:///x", "1" * 32)
    folder.start(BEGUN)
    folder.set_delivered(entry)
    Checkpoints(folder.path).write_results(BEST)
    folder.log_file.write_text("a line\n")
    (folder.path / "rest").mkdir()

    folder.start(replace(BEGUN, name="m"))

    assert folder.delivered() == Delivered([entry])
    assert folder.begun().name == "m"
    assert content(folder) == ["delivered.json", "job.json", "run.log"]


def test_killed_run_has_no_result_and_can_resume(folder):
    folder.start(BEGUN).write_results(BEST)
    folder.finish(record("killed"))
    assert folder.record() == record("killed")
    assert folder.result() is None

    folder.resume()

    assert folder.record() is None
    assert folder.begun() == BEGUN
    assert folder.best_weights()["w"].tolist() == [2.0] * 3
    assert content(folder) == ["best-2.safetensors", "history.json", "job.json"]


def test_finished_run_keeps_record_history_and_best_model(folder):
    folder.start(BEGUN).write_results(BEST)
    (folder.path / "state-3-0.safetensors").write_bytes(b"of a commit")
    folder.finish(record("finished"))
    assert folder.result() == record("finished")
    assert folder.record() == record("finished")
    assert folder.begun() == record("finished")
    assert folder.best_weights()["w"].tolist() == [2.0] * 3
    assert content(folder) == ["best-2.safetensors", "history.json", "record.json"]


def test_run_folder_knows_whether_mlflow_has_metrics(folder):
    assert folder.has_no_metrics(7)
    folder.set_delivered(DeliveredRun("a", "1", epochs=0, created_ms=7))
    assert folder.has_no_metrics(7)
    folder.set_delivered(DeliveredRun("a", "1", epochs=1, created_ms=6))  # about an earlier attempt
    assert folder.has_no_metrics(7)
    folder.set_delivered(DeliveredRun("b", "2", epochs=1, created_ms=7))
    assert not folder.has_no_metrics(7)
    folder.set_delivered(DeliveredRun("b", "2", epochs=1))  # release 0.3 did not store the time
    assert not folder.has_no_metrics(7)


def test_unreadable_record_is_not_called_corrupt(folder, monkeypatch):
    folder.start(BEGUN).write_results(BEST)
    folder.finish(record("finished"))

    def deny(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr("lenet_exp.folders.damage.read_regular", deny)
    with pytest.raises(DamagedError, match=r"record\.json: permission denied; make") as refused:
        folder.checked_record()
    assert "corrupt" not in str(refused.value)
    with pytest.raises(DamagedError):  # retraining would replace an intact result
        folder.checked_result()
