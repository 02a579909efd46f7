"""Hydra's own sweeper and joblib's launcher stay usable."""

from __future__ import annotations

import pytest

from tests.commands import SMALL, end, lenet_train, start
from tests.stores import client, runs

QUICK = (*SMALL, "num_epoch=1", "tracking.plots=false", "tracking.models=none")


def test_hydras_basic_sweeper(ready):
    done = lenet_train("-m", "hydra/sweeper=basic", *QUICK, "seed=0,1", outputs=ready)
    assert done.returncode == 0, done.stderr
    found = runs(client(ready))
    assert sorted(run.data.params["seed"] for run in found) == ["0", "1"]
    assert {run.info.status for run in found} == {"FINISHED"}
    assert len({run.info.run_name for run in found}) == 2


def test_hydras_basic_sweeper_tells_of_a_failure(ready):
    done = lenet_train("-m", "hydra/sweeper=basic", *QUICK, "dataset.val_size=250,2000", outputs=ready)
    assert done.returncode == 2
    assert "dataset.val_size=2000: digits has 1500 images" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(runs(client(ready))) == 1


@pytest.mark.slow(seconds=11)
def test_joblib(ready):
    line = ("-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *SMALL, "num_epoch=2", "seed=0,1,2,3")
    done = end(start(*line, outputs=ready))
    assert done.returncode == 0, done.stderr
    (parent,) = runs(client(ready), "sweep")
    children = runs(client(ready))
    assert sorted(run.data.params["seed"] for run in children) == ["0", "1", "2", "3"]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    assert "4 runs: 4 finished; 4 trained" in done.stdout
    again = end(start(*line, outputs=ready))
    assert again.returncode == 0, again.stderr
    assert "0 trained (4 had been trained before)" in again.stdout
