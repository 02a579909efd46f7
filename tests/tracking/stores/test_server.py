"""Several outputs folders that share a real MLflow server over REST."""

from __future__ import annotations

import pytest
from mlflow import MlflowClient

from tests.tools.commands import SMALL, end, start, succeeded
from tests.tools.stores import champions, models, points, runs

LINE = (*SMALL, "num_epoch=2", "num_threads=1", "tracking.models=none")


@pytest.mark.slow(seconds=15)
def test_concurrent_sweeps_of_new_experiment_duplicate_nothing(server, tmp_path):
    _, address = server
    store = MlflowClient(address)
    experiment = "together"
    sweep = (
        "-m",
        "hydra/launcher=basic",
        *SMALL,
        "num_epoch=1",
        "num_threads=1",
        "tracking.plots=false",
        "tracking.models=all",
    )
    tracking = (
        f"tracking.uri={address}",
        f"tracking.experiment={experiment}",
        f"dataset.name={experiment}",
    )
    seeds_of_folder = {"a": "seed=0,1", "b": "seed=2,3", "c": "seed=4,5"}

    processes = {}
    for name, seeds in seeds_of_folder.items():
        outputs = tmp_path / name
        processes[outputs] = start(*sweep, *tracking, seeds, outputs=outputs)
    for outputs, process in processes.items():
        succeeded(end(process))
        assert is_synced(outputs, address)

    logged_runs = runs(store, "run", experiment)
    sweeps = runs(store, "sweep", experiment)
    seeds = sorted(int(run.data.params["seed"]) for run in logged_runs)
    assert seeds == [0, 1, 2, 3, 4, 5]
    assert len(sweeps) == 3
    assert {run.info.status for run in (*logged_runs, *sweeps)} == {"FINISHED"}
    for run in logged_runs:
        logged = points(store, run.info.run_id)
        for metric in ("val_accuracy", "train_loss", "best_val_accuracy"):
            assert len(logged[metric]) == 1

    source_ids = sorted(model.source_run_id for model in models(store, experiment))
    assert source_ids == sorted(run.info.run_id for run in logged_runs)
    best = max(run.data.metrics["best_val_accuracy"] for run in logged_runs)
    champion, versions = champions(store)[f"lenet5-{experiment}"]
    assert store.get_run(champion).data.metrics["best_val_accuracy"] == best
    assert len(set(versions)) == len(versions)


def is_synced(outputs, address):
    """Return whether lenet-sync succeeds; requests can time out on a busy machine."""
    for _ in range(3):
        process = start(f"tracking.uri={address}", program="sync", outputs=outputs)
        if end(process).returncode == 0:
            return True
    return False
