"""A grid of the size people run: 7 activations x 4 optimizers x 2 dropout rates in one line."""

from __future__ import annotations

import itertools

import pytest

from lenet_exp.config.conf_dir import CONF_DIR
from tests.commands import SMALL, end, start
from tests.stores import client, models, runs

ACTIVATIONS = sorted(file.stem for file in (CONF_DIR / "activation").glob("*.yaml"))
OPTIMIZERS = sorted(file.stem for file in (CONF_DIR / "optimizer").glob("*.yaml"))
RATES = ["0", "0.3"]


@pytest.mark.slow(seconds=49)
def test_fifty_six_runs_under_one_parent(ready):
    done = end(
        start(
            "-m",
            *SMALL,
            "num_epoch=2",
            f"activation={','.join(ACTIVATIONS)}",
            f"optimizer={','.join(OPTIMIZERS)}",
            f"regularization.dropout_rate={','.join(RATES)}",
            "tracking.models=best",
            "tracking.plots=false",
            outputs=ready,
        )
    )
    (parent,) = runs(client(ready), "sweep")
    children = runs(client(ready))
    assert len(children) == 56
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    settings = {
        tuple(run.data.params[flag] for flag in ("activation", "optimizer", "regularization.dropout_rate"))
        for run in children
    }
    assert settings == set(itertools.product(ACTIVATIONS, OPTIMIZERS, ["0.0", "0.3"]))
    outcomes = {run.data.tags["outcome"] for run in children}
    assert outcomes <= {"finished", "diverged"}
    assert done.returncode == (1 if "diverged" in outcomes else 0), done.stderr
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["runs"] == 56
    assert parent.data.metrics["runs_missing"] == 0
    assert len({run.info.run_name for run in children}) == 56
    best = max(run.data.metrics.get("best_val_accuracy", 0) for run in children)
    (model,) = models(client(ready))
    assert client(ready).get_run(model.source_run_id).data.metrics["best_val_accuracy"] == best
