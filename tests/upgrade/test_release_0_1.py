"""A sweep that was killed halfway under release 0.1.0 resumes.

release_0.1/ is what that release left: seed 0 finished, seed 1 killed after a checkpoint, seed 2 not started.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from lenet_exp.api import compose
from lenet_exp.machine import versions
from lenet_exp.tracking.stores.store import open_store
from lenet_exp.training.execution import describe_execution
from tests.tools.commands import SMALL, lenet_train
from tests.tools.stores import client, points, runs

OLD = Path(__file__).parent / "release_0.1"
LINE = ("-m", *SMALL, "num_epoch=12", "seed=0,1,2", "sweep.workers=1", "tracking.plots=false")


def change(path: Path, **values: Any) -> dict[str, Any]:
    """Set values of a JSON file, and return its old content."""
    held = json.loads(path.read_text())
    path.write_text(json.dumps(held | values))
    return held


@pytest.fixture
def begun(ready: Path) -> dict[str, str]:
    """Copy the folder as if this machine had written it, and return the IDs of its MLflow runs by name."""
    for folder in ("runs", "sweeps"):
        shutil.copytree(OLD / folder, ready / folder)
    store = open_store(compose().tracking)
    here = describe_execution(compose(["num_threads=1", "device=cpu"]), torch.device("cpu"))
    del here["engine"]  # release 0.1.0 had no choice of engine
    known = {}
    for name in ("job.json", "record.json"):
        for path in ready.glob(f"runs/*/{name}"):
            job = change(path, execution=here, versions=versions())
            tags = {"kind": "run", "run_folder": path.parent.name, "created_ms": str(job["created_ms"])}
            run = store.client.create_run(store.experiment_id, run_name=job["name"], tags=tags)
            known[job["name"]] = run.info.run_id
            entry = {"store": store.name, "run_id": run.info.run_id, "epochs": 0, "ended_ms": None}
            entries = [entry | {"model": False, "sweeps": []}]
            (path.parent / "delivered.json").write_text(json.dumps({"mlflow_runs": entries}))
    (plan,) = ready.glob("sweeps/*/sweep.json")
    parent = store.client.create_run(store.experiment_id, tags={"kind": "sweep", "sweep": plan.parent.name})
    change(plan, mlflow_runs={store.name: parent.info.run_id})
    return known | {"sweep": parent.info.run_id}


@pytest.mark.slow(seconds=8)
def test_sweep_killed_under_0_1_0_resumes_in_same_mlflow_runs(begun, ready):
    done = lenet_train(*LINE, outputs=ready)
    assert done.returncode == 0, done.stderr
    assert "3 runs: 3 finished; 2 trained, 1 reused" in done.stdout
    store = client(ready)
    (parent,) = runs(store, "sweep")
    assert parent.info.run_id == begun["sweep"]
    assert parent.info.status == "FINISHED"
    children = {run.info.run_name: run for run in runs(store)}
    assert set(children) == {"seed=0", "seed=1", "seed=2"}
    logs = [path.read_text() for path in ready.glob("runs/*/run.log")]
    for name in ("seed=0", "seed=1"):
        assert children[name].info.run_id == begun[name], (done.stderr, logs)
    resumed = {name: run.data.tags.get("resumed") for name, run in children.items()}
    assert resumed == {"seed=0": None, "seed=1": "1", "seed=2": None}
    for run in children.values():
        assert run.info.status == "FINISHED"
        assert [step for step, _, _ in points(store, run.info.run_id)["val_accuracy"]] == list(range(1, 13))
    assert len(list((ready / "sweeps").iterdir())) == 1
    assert len(list((ready / "runs").iterdir())) == 3
