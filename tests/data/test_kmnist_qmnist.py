"""`lenet-train` reads KMNIST and QMNIST files and records them in MLflow, on small datasets in the original formats."""

from __future__ import annotations

import json

import pytest
from mlflow import MlflowClient

from tests.data.idx import MADE_UP, pictures, write_mnist_like, write_qmnist

CLASS_NAMES = {
    "kmnist": ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"],
    "qmnist": [str(digit) for digit in range(10)],
}


@pytest.mark.parametrize("dataset", ["kmnist", "qmnist"])
def test_kmnist_and_qmnist_files_train_and_are_recorded_in_mlflow(dataset, main, ready, tmp_path):
    if dataset == "kmnist":
        raw = write_mnist_like(tmp_path / "data", "KMNIST", *pictures(600))
    else:
        raw = write_qmnist(tmp_path / "data", *pictures(600))
    known = [MADE_UP] if dataset == "kmnist" else []
    sizes = [*known, "dataset.val_size=100", "batch_size=20", "num_epoch=1"]
    done = main(
        f"dataset={dataset}", f"data_root={tmp_path / 'data'}", *sizes, "tracking.models=none", "tracking.plots=false"
    )
    assert done.returncode == 0, done.stderr
    (file,) = ready.glob("runs/*/record.json")
    record = json.loads(file.read_text())
    client = MlflowClient(f"sqlite:///{ready / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("lenet_exp").experiment_id])

    assert record["outcome"] == run.data.tags["outcome"] == "finished"
    assert record["config"]["dataset"]["class_names"] == CLASS_NAMES[dataset]
    assert sum(map(sum, record["confusion_matrix"])) == 100
    assert run.data.metrics["best_val_accuracy"] == record["best_val_accuracy"] > 0.5  # ten plain patterns
    assert run.data.params["dataset"] == dataset

    inputs = {i.tags[0].value: i.dataset for i in run.inputs.dataset_inputs}
    digests = record["data_digests"]
    assert {part: i.digest for part, i in inputs.items()} == {
        "training": digests["train"][:36],
        "validation": digests["validation"][:36],
    }
    assert all(i.name == dataset and str(raw) in i.source for i in inputs.values())
