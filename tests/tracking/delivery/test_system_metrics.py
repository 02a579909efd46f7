"""MLflow's own switch has a run, or a sweep's own run, carry the machine's CPU and memory."""

from __future__ import annotations

import sys

import pytest

from lenet_exp.tracking.delivery.system_metrics import SWITCH
from tests.tools.commands import SMALL, lenet_train
from tests.tools.stores import client, points, runs

QUICK = (*SMALL, "num_threads=1", "tracking.plots=false", "tracking.models=none")
ON = {SWITCH: "true", "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "1"}
NAMES = {"cpu_utilization_percentage", "system_memory_usage_percentage", "disk_usage_percentage"}


def system_names(run) -> set[str]:
    return {name.removeprefix("system/") for name in run.data.metrics if name.startswith("system/")}


@pytest.mark.slow(seconds=5)
def test_a_sweeps_own_run_has_the_machines_and_its_runs_have_none(ready):
    pytest.importorskip("psutil")
    done = lenet_train("-m", *QUICK, "num_epoch=40", "seed=0,1", "hydra/launcher=basic", outputs=ready, **ON)
    assert done.returncode == 0, done.stderr
    (parent,) = runs(client(ready), "sweep")
    assert system_names(parent) >= NAMES
    assert {name for run in runs(client(ready)) for name in system_names(run)} == set()
    assert 0 < parent.data.metrics["system/system_memory_usage_percentage"] < 100


@pytest.mark.parametrize("switch", ["true", "false"])
def test_a_run_alone_has_them_where_it_is_asked_for_and_each_sample_once(ready, switch):
    pytest.importorskip("psutil")
    assert lenet_train(*QUICK, "num_epoch=2", outputs=ready, **ON | {SWITCH: switch}).returncode == 0
    (run,) = runs(client(ready))
    assert (system_names(run) >= NAMES) == (switch == "true") == bool(system_names(run))
    for name, logged in points(client(ready), run.info.run_id).items():
        steps = [step for step, _, _ in logged]
        assert len(steps) == len(set(steps)), name


@pytest.mark.parametrize(
    ("switch", "says"), [("true", "pip install 'lenet_exp[system]'"), ("perhaps", "true or false")]
)
def test_what_can_not_be_is_said_before_anything_is_trained(outputs, monkeypatch, switch, says):
    for name in [name for name in sys.modules if name.startswith(("psutil", "mlflow.system_metrics"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psutil", None)
    done = lenet_train(*QUICK, "num_epoch=1", outputs=outputs, **ON | {SWITCH: switch})
    assert done.returncode == 2
    assert f"{SWITCH}={switch}: " in done.stderr.splitlines()[-1]
    assert says in done.stderr.splitlines()[-1]
    assert not (outputs / "runs").exists()
