"""MLflow's switch for system metrics logs CPU and memory in a single run or in a sweep's parent run."""

from __future__ import annotations

import pytest

from tests.tools.commands import SMALL, lenet_train
from tests.tools.stores import client, points, runs

pytestmark = pytest.mark.slow(seconds=8)

LINE = (*SMALL, "num_threads=1", "tracking.plots=false", "tracking.models=none")
ON = {"MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "true", "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "0.1"}
NAMES = {"cpu_utilization_percentage", "system_memory_usage_percentage", "disk_usage_percentage"}


def system_names(run) -> set[str]:
    return {name.removeprefix("system/") for name in run.data.metrics if name.startswith("system/")}


def test_system_metrics_of_sweep_are_only_in_parent_run(ready):
    pytest.importorskip("psutil")
    done = lenet_train("-m", *LINE, "num_epoch=40", "seed=0,1", "hydra/launcher=basic", outputs=ready, **ON)
    assert done.returncode == 0, done.stderr
    (parent,) = runs(client(ready), "sweep")
    assert system_names(parent) >= NAMES
    assert {name for run in runs(client(ready)) for name in system_names(run)} == set()
    assert 0 < parent.data.metrics["system/system_memory_usage_percentage"] < 100


@pytest.mark.by_hand
def test_single_run_logs_each_system_metric_sample_once(ready):
    pytest.importorskip("psutil")
    assert lenet_train(*LINE, "num_epoch=60", outputs=ready, **ON).returncode == 0
    (run,) = runs(client(ready))
    assert system_names(run) >= NAMES
    for name, logged in points(client(ready), run.info.run_id).items():
        steps = [step for step, _, _ in logged]
        assert len(steps) == len(set(steps)), name
