"""The validation accuracy of each class as metrics of the run."""

from __future__ import annotations

import pytest
from mlflow import MlflowClient

from lenet_exp.folders.records import Record, record_from_json
from lenet_exp.tracking.delivery.class_accuracy import class_points, metric_names
from tests.tools.stores import client, points

FASHION = ["T-shirt/top", "Trouser", "Ankle boot"]


def counted(*matrix: list[int]) -> dict[str, object]:
    return {"confusion_matrix": [*matrix, *([0] * 10 for _ in range(10 - len(matrix)))], "ended_ms": 7}


def record(names: list[str], known: dict[str, object]) -> Record:
    """Return a record as read from a file with only these fields."""
    config = {"dataset": {"class_names": names}}
    return record_from_json({"fingerprint": "f", "config": config, "outcome": "finished"} | known)


def logged(names: list[str], known: dict[str, object]) -> dict[str, tuple[float, int, int]]:
    return {m.key: (m.value, m.timestamp, m.step) for m in class_points(record(names, known))}


def test_class_accuracies_equal_diagonal_over_rows_of_confusion_matrix(tracked):
    matrix, ended = tracked.folder.record().confusion_matrix, tracked.folder.record().ended_ms
    stored = points(tracked.store, tracked.run.info.run_id)
    for label in range(10):
        assert stored[f"val_accuracy_{label}"] == [(0, matrix[label][label] / sum(matrix[label]), ended)]


def test_class_without_validation_images_has_no_accuracy():
    assert logged(FASHION, {"ended_ms": 7}) == {}
    rows = ([3, 1, *[0] * 8], [0] * 10, [0, 0, 5, *[0] * 7])
    assert logged(FASHION, counted(*rows)) == {
        "val_accuracy_T-shirt_top": (0.75, 7, 0),
        "val_accuracy_Ankle boot": (1.0, 7, 0),
    }


@pytest.mark.parametrize(
    "names", [["a/b", "a_b", "a:b", "..", "/", "//", "é", "#1"], ["x" * 300, "x" * 300 + "y", " a"]]
)
def test_metric_names_of_classes_are_valid_and_unique(names, ready):
    store: MlflowClient = client(ready)
    run_id = store.create_run("0").info.run_id
    assert len(set(metric_names(names))) == len(names)
    assert not any("/" in name for name in metric_names(names))
    rows = [[0] * 10 for _ in names]
    for label, row in enumerate(rows):
        row[label], row[9] = 1, 1
    for _ in range(2):  # logging twice changes nothing
        store.log_batch(run_id, metrics=list(class_points(record(names, counted(*rows)))))
    stored = points(store, run_id)
    assert set(stored) == {f"val_accuracy_{name}" for name in metric_names(names)}
    assert all(len(found) == 1 for found in stored.values())
