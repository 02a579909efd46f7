"""Several outputs folders that share a real MLflow server over REST."""

from __future__ import annotations

import pytest
from mlflow import MlflowClient

from tests.tools.commands import SMALL, end, start, succeeded
from tests.tools.stores import champions, models, points, runs

LINE = (*SMALL, "num_epoch=2", "num_threads=1", "tracking.models=none")


@pytest.mark.slow(seconds=15)
def test_concurrent_sweeps_of_new_experiment_duplicate_nothing(server, tmp_path):
    store, folders, experiment = (
        MlflowClient(server[1]),
        [tmp_path / name for name in "abc"],
        "together",
    )
    sweep = (
        "-m",
        "hydra/launcher=basic",
        *SMALL,
        "num_epoch=1",
        "num_threads=1",
        "tracking.plots=false",
        "tracking.models=all",
    )
    where = (
        f"tracking.uri={server[1]}",
        f"tracking.experiment={experiment}",
        f"dataset.name={experiment}",
    )
    started = [
        start(*sweep, *where, f"seed={2 * n},{2 * n + 1}", outputs=path)
        for n, path in enumerate(folders)
    ]
    for process, path in zip(started, folders, strict=True):
        succeeded(end(process))
        tries = (start(f"tracking.uri={server[1]}", program="sync", outputs=path) for _ in range(3))
        # requests can time out on a busy machine
        assert any(end(again).returncode == 0 for again in tries)
    found = runs(store, "run", experiment)
    assert sorted(int(run.data.params["seed"]) for run in found) == list(range(6))
    assert len(runs(store, "sweep", experiment)) == 3
    assert {
        run.info.status for kind in ("run", "sweep") for run in runs(store, kind, experiment)
    } == {"FINISHED"}
    for run in found:
        logged = points(store, run.info.run_id)
        assert {
            len(logged[name]) for name in ("val_accuracy", "train_loss", "best_val_accuracy")
        } == {1}
    assert sorted(m.source_run_id for m in models(store, experiment)) == sorted(
        run.info.run_id for run in found
    )
    best = max(run.data.metrics["best_val_accuracy"] for run in found)
    champion, versions = champions(store)[f"lenet5-{experiment}"]
    assert store.get_run(champion).data.metrics["best_val_accuracy"] == best
    assert len(set(versions)) == len(versions)
