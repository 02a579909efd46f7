"""Repeatability and divergence through the real command line, in processes of their own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.training.small import configure, first_divergence

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


def mlflow_runs(outputs: Path, kind: str = "run") -> list[Run]:
    client = MlflowClient(f"sqlite:///{outputs / 'mlflow.db'}")
    experiments = [client.get_experiment_by_name("lenet_exp").experiment_id]
    return client.search_runs(experiments, f"tags.kind = '{kind}'")


@pytest.mark.slow(seconds=14)
@pytest.mark.parametrize(
    "overrides", [["num_epoch=3"], ["num_epoch=2", "activation=rrelu", "regularization=dropout_weight_decay"]]
)
def test_two_processes_with_equal_configuration_and_threads_give_equal_weights(overrides, cli, tmp_path, empty_store):
    digests = []
    for name in ("first", "second"):
        shutil.copytree(empty_store, tmp_path / name)
        done = cli(*SMALL, *overrides, env={"LENET_EXP_OUTPUTS": str(tmp_path / name)})
        assert done.returncode == 0, done.stderr
        (record,) = records(tmp_path / name)
        digests.append((record["fingerprint"], record["weights_digest"]))
    assert digests[0] == digests[1]
    (run,) = mlflow_runs(tmp_path / "first")
    assert (run.data.tags["fingerprint"], run.data.tags["weights_digest"]) == digests[0]


def test_a_diverged_run_is_failed_in_mlflow_and_says_where(main, ready):
    done = main(*SMALL, "num_epoch=3", "optimizer.lr=1e6")
    epoch, iteration = first_divergence(configure("optimizer.lr=1e6"))
    assert done.returncode == 1
    (record,) = records(ready)
    assert record["outcome"] == "diverged"
    assert record["reason"] == f"loss nan in epoch {epoch}, iteration {iteration}"
    assert record["epochs"] == 0
    assert record["weights_digest"] is None
    assert f"diverged: {record['reason']}" in done.stdout
    (run,) = mlflow_runs(ready)
    assert run.info.status == "FAILED"
    assert run.data.tags["outcome"] == "diverged"
    assert run.data.tags["reason"] == record["reason"]
    again = main(*SMALL, "num_epoch=3", "optimizer.lr=1e6")
    assert again.returncode == 1
    assert len(mlflow_runs(ready)) == 1


@pytest.mark.slow(seconds=5)
def test_a_run_that_diverges_late_keeps_the_epochs_before(cli, ready):
    uphill = ["activation=relu", "optimizer.maximize=true", "optimizer.lr=0.003", "num_epoch=8"]
    assert cli(*SMALL, *uphill).returncode == 1
    epoch, iteration = first_divergence(configure(*uphill))
    assert epoch > 1
    (record,) = records(ready)
    assert record["epochs"] == epoch - 1
    assert record["reason"].endswith(f"in epoch {epoch}, iteration {iteration}")
    (run,) = mlflow_runs(ready)
    client = MlflowClient(f"sqlite:///{ready / 'mlflow.db'}")
    assert [p.step for p in client.get_metric_history(run.info.run_id, "val_loss")] == list(range(1, epoch))


@pytest.mark.slow(seconds=8)
def test_a_sweep_goes_on_after_a_run_that_diverged(cli, ready):
    done = cli("-m", *SMALL, "num_epoch=1", "optimizer.lr=1e6,0.01,0.02")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert sorted(r["outcome"] for r in records(ready)) == ["diverged", "finished", "finished"]
    statuses = {run.data.params["optimizer.lr"]: run.info.status for run in mlflow_runs(ready)}
    assert statuses == {"1000000.0": "FAILED", "0.01": "FINISHED", "0.02": "FINISHED"}
    (parent,) = mlflow_runs(ready, "sweep")
    assert parent.info.status in {"FINISHED", "FAILED"}
