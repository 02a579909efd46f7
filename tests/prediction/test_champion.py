"""A version is registered only for a run that becomes champion."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from mlflow import MlflowClient

from lenet_exp.api import compose
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.tracking.champion import champion, crown
from lenet_exp.tracking.store import open_store

SMALL = ("dataset=digits", "batch_size=32", "num_threads=1", "tracking.plots=false")


def versions(outputs):
    client = MlflowClient(f"sqlite:///{outputs / 'mlflow.db'}")
    return sorted(client.search_model_versions("name = 'lenet5-digits'"), key=lambda v: int(v.version))


def champions_run(outputs):
    client = MlflowClient(f"sqlite:///{outputs / 'mlflow.db'}")
    return client.get_model_version_by_alias("lenet5-digits", "champion").run_id


def test_only_a_better_run_becomes_champion(main, ready):
    assert main(*SMALL, "num_epoch=3").returncode == 0
    (first,) = versions(ready)
    assert first.tags["best_epoch"] in {"1", "2", "3"}
    assert {"fingerprint", "run", "best_val_accuracy", "best_epoch"} <= set(first.tags)
    main(*SMALL, "num_epoch=1")  # worse
    main(*SMALL, "num_epoch=3")  # the same again
    main(*SMALL, "num_epoch=8", "split_seed=1")  # other validation images
    main(*SMALL, "num_epoch=8", "dataset.train_size=1200")  # not the whole training set
    main(*SMALL, "num_epoch=8", "tracking.models=none")  # no model to register
    assert len(versions(ready)) == 1
    assert main(*SMALL, "num_epoch=10").returncode == 0
    first, second = versions(ready)
    assert float(second.tags["best_val_accuracy"]) > float(first.tags["best_val_accuracy"])
    assert champions_run(ready) == second.run_id != first.run_id


def test_a_sweep_makes_a_handful_of_versions_and_the_best_run_is_champion(main, ready):
    assert main("-m", "hydra/launcher=basic", *SMALL, "num_epoch=1,2,3", "seed=0,1").returncode == 0
    client = MlflowClient(f"sqlite:///{ready / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("lenet_exp").experiment_id], "tags.kind = 'run'")
    best = max(r.data.metrics["best_val_accuracy"] for r in runs)
    assert client.get_run(champions_run(ready)).data.metrics["best_val_accuracy"] == best
    accuracies = [float(v.tags["best_val_accuracy"]) for v in versions(ready)]
    assert accuracies == sorted(set(accuracies))


def test_of_many_writers_one_at_a_time_decides(main, ready):
    assert main(*SMALL, "num_epoch=2").returncode == 0
    (path,) = (ready / "runs").iterdir()
    record = RunFolder(path).record()
    store = open_store(compose(list(SMALL)).tracking)
    present = champion(store, "lenet5-digits")
    (model,) = store.client.search_logged_models([store.experiment_id])
    better = [replace(record, best_val_accuracy=0.9 + i / 100) for i in (3, 3, 5, 1, 5, 2)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda r: crown(store, r, present.run_id, model.model_id), better))
    accuracies = [float(v.tags["best_val_accuracy"]) for v in versions(ready)]
    assert accuracies == sorted(set(accuracies))
    assert accuracies[-1] == pytest.approx(max(0.95, record.best_val_accuracy))
