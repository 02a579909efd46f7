"""Repeatability and divergence through the real command line, in separate processes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.training.small import configure, first_divergence
from tests.training.test_divergence import LATE

SMALL = [
    "dataset=digits",
    "batch_size=32",
    "num_threads=1",
    "device=cpu",
    "tracking.models=none",
    "tracking.plots=false",
]


def records(outputs: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted(outputs.glob("runs/*/record.json"))]


def mlflow_runs(outputs: Path) -> list[Run]:
    client = MlflowClient(f"sqlite:///{outputs / 'mlflow.db'}")
    experiments = [client.get_experiment_by_name("lenet_exp").experiment_id]
    return client.search_runs(experiments, "tags.kind = 'run'")


@pytest.mark.by_hand  # tests/training/test_golden.py tests the losses
def test_equal_configuration_gives_equal_weights_in_two_processes(main, cli, ready, tmp_path, empty_store):
    line = (*SMALL, "num_epoch=2", "dataset.train_size=320", "activation=rrelu", "regularization=dropout_weight_decay")
    shutil.copytree(empty_store, tmp_path / "other")
    for done in (main(*line), cli(*line, env={"LENET_EXP_OUTPUTS": str(tmp_path / "other")})):
        assert done.returncode == 0, done.stderr
    digests = [(r["fingerprint"], r["weights_digest"]) for o in (ready, tmp_path / "other") for r in records(o)]
    assert len(digests) == 2
    assert digests[0] == digests[1]
    (run,) = mlflow_runs(ready)
    assert (run.data.tags["fingerprint"], run.data.tags["weights_digest"]) == digests[0]


def test_diverged_run_keeps_earlier_epochs_and_reports_step(main, ready):
    done = main(*SMALL, *LATE)
    epoch, iteration = first_divergence(configure(*LATE))
    assert epoch > 1
    assert done.returncode == 1
    (record,) = records(ready)
    assert (record["outcome"], record["epochs"]) == ("diverged", epoch - 1)
    assert record["reason"].endswith(f" epoch {epoch}, iteration {iteration}")
    assert f"diverged: {record['reason']}" in done.stdout
    (run,) = mlflow_runs(ready)
    assert (run.info.status, run.data.tags["outcome"]) == ("FAILED", "diverged")
    assert run.data.tags["reason"] == record["reason"]
    client = MlflowClient(f"sqlite:///{ready / 'mlflow.db'}")
    assert [p.step for p in client.get_metric_history(run.info.run_id, "val_loss")] == list(range(1, epoch))
    assert main(*SMALL, *LATE).returncode == 1
    assert len(mlflow_runs(ready)) == 1
