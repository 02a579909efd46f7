"""Digests of a record and its history detect edits, but not the concurrent writes of another
process.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lenet_exp.config.typed_json import read_as
from lenet_exp.files import write_json
from lenet_exp.folders.checkpoints import Checkpoints
from lenet_exp.folders.digests import verified_with_history, with_digest
from lenet_exp.folders.records import History, Outcome

# pytest collects classes named Test*
from lenet_exp.folders.records import TestResult as StoredTestResult
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.training.score import packed
from lenet_exp.training.state import Best
from tests.tools.records import a_record

BEGUN = a_record(name="n", created_ms=1)
RECORD = replace(BEGUN, outcome=Outcome.finished, best_epoch=2, best_val_accuracy=0.2)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run that finished."""
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    best = Best(2, 0.2, {"w": torch.ones(3)}, torch.zeros(2, dtype=torch.int64))
    folder.start(BEGUN).write_results(best)
    folder.finish(RECORD)
    return folder


def content_of(folder: RunFolder, name: str = "record.json") -> dict[str, object]:
    return json.loads((folder.path / name).read_text())


def edit(folder: RunFolder, name: str, **values: object) -> None:
    (folder.path / name).write_text(json.dumps(content_of(folder, name) | values))


EDITS = ({"best_val_accuracy": 0.99}, {"added": 1}, {"history_digest": None})


@pytest.mark.parametrize(
    ("name", "values"),
    [*(("record.json", values) for values in EDITS), ("history.json", {"resumed": 3})],
)
def test_edited_file_is_ignored_and_reported_once(folder, caplog, name, values):
    edit(folder, name, **values)
    assert folder.record() is None
    assert folder.result() is None
    assert folder.begun() is None
    assert folder.checked_result() is None
    report = f"{folder.path / name} is corrupt"
    assert len([line for line in caplog.messages if report in line]) == 1


def test_digest_ignores_order_of_keys_and_checkpoints(folder):
    value = content_of(folder)
    (folder.path / "record.json").write_text(json.dumps(dict(reversed(value.items()))))
    checkpoint = {"state": "s", "sha256": "", "best": None, "seconds": 1.0}
    edit(folder, "history.json", commits=[checkpoint])
    assert folder.record() == RECORD


def test_concurrent_restart_of_run_is_not_corruption(folder):
    value = content_of(folder)
    folder.start(BEGUN)  # between the reads of record.json and history.json
    assert verified_with_history(value, folder.path / "record.json") is None


def test_result_with_corrupt_weights_is_trained_again(folder, caplog):
    best = folder.path / "best-2.safetensors"
    best.write_bytes(best.read_bytes()[:-1] + b"x")
    assert folder.result() == RECORD
    assert folder.checked_result() is None
    assert f"{best} is corrupt" in caplog.text
    best.unlink()
    assert folder.checked_result() == RECORD


def test_history_of_older_release_is_rewritten_before_digest(folder):
    best = {"epoch": 2, "val_accuracy": 0.2, "weights": "best-2.safetensors"}
    edit(folder, "history.json", best=best)
    folder.finish(RECORD)
    assert content_of(folder, "history.json")["best"]["sha256"] == ""
    Checkpoints(folder.path).clean()
    assert folder.record() == RECORD
    assert read_as(History, content_of(folder, "history.json")).best.epoch == 2


RIGHT = packed(torch.tensor([True, False, False, False, False]))
MATRIX = [[1, 1], [3, 0]]


@pytest.mark.parametrize(
    "values",
    [
        {"best_val_accuracy": 0.99},
        {"best_right": packed(torch.ones(5, dtype=torch.bool))},
        {"confusion_matrix": [[2, 0], [3, 0]]},
    ],
)
def test_accuracy_that_contradicts_predictions_is_corrupt(folder, caplog, values):
    whole = replace(RECORD, best_right=RIGHT, confusion_matrix=MATRIX)
    folder.finish(whole)
    assert folder.record() == whole
    write_json(folder.path / "record.json", with_digest(content_of(folder) | values))
    assert folder.record() is None
    assert "record.json is corrupt (its accuracy" in caplog.text


def test_test_result_must_have_a_digest_and_agree_with_its_correct_images(folder, caplog):
    result = StoredTestResult(accuracy=0.2, data_digest="", weights_digest=None, right=RIGHT)
    folder.save_test_result(result)
    assert folder.test_result().accuracy == 0.2
    value = content_of(folder, "test.json")

    write_json(folder.path / "test.json", with_digest(value | {"accuracy": 0.99}))
    assert folder.test_result() is None

    del value["digest"]
    write_json(folder.path / "test.json", value)
    assert folder.test_result() is None

    for problem in (
        "its accuracy 0.99 does not match its correct images",
        "its digest is missing",
    ):
        assert f"test.json is corrupt ({problem})" in caplog.text
