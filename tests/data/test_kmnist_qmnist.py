"""KMNIST and QMNIST from files to MLflow, through the real command line, on small sets in the real format."""

from __future__ import annotations

import json

import pytest
from mlflow import MlflowClient

from tests.data.idx import MADE_UP, pictures, write_mnist_like, write_qmnist

CLASS_NAMES = {
    "kmnist": ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"],
    "qmnist": [str(digit) for digit in range(10)],
}


@pytest.mark.slow(seconds=11)
@pytest.mark.parametrize("dataset", ["kmnist", "qmnist"])
def test_a_data_set_in_its_real_format_trains_and_stands_in_mlflow(dataset, cli, ready, tmp_path):
    images, labels = pictures(600)
    if dataset == "kmnist":
        raw = write_mnist_like(tmp_path / "data", "KMNIST", images, labels)
    else:
        raw = write_qmnist(tmp_path / "data", images, labels)
    known = [MADE_UP] if dataset == "kmnist" else []
    sizes = [*known, "dataset.val_size=100", "batch_size=20", "num_epoch=1", "tracking.models=none"]
    done = cli(f"dataset={dataset}", f"data_root={tmp_path / 'data'}", *sizes)
    assert done.returncode == 0, done.stderr
    (file,) = ready.glob("runs/*/record.json")
    record = json.loads(file.read_text())
    client = MlflowClient(f"sqlite:///{ready / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("lenet_exp").experiment_id])

    assert "Traceback" not in done.stderr
    assert run.info.run_id in done.stdout
    assert record["outcome"] == run.data.tags["outcome"] == "finished"
    assert run.info.status == "FINISHED"
    assert record["config"]["dataset"]["class_names"] == CLASS_NAMES[dataset]
    assert sum(map(sum, record["confusion_matrix"])) == 100
    assert record["best_val_accuracy"] > 0.5  # ten plain patterns
    assert run.data.metrics["best_val_accuracy"] == record["best_val_accuracy"]
    assert run.data.params["dataset"] == dataset

    inputs = {i.tags[0].value: i.dataset for i in run.inputs.dataset_inputs}
    assert set(inputs) == {"training", "validation"}
    assert {i.name for i in inputs.values()} == {dataset}
    assert inputs["training"].digest == record["data_digests"]["train"][:36]
    assert inputs["validation"].digest == record["data_digests"]["validation"][:36]
    assert all(str(raw) in i.source for i in inputs.values())
