"""A version is registered only for a run that becomes champion."""

from __future__ import annotations

import sqlite3
import threading
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


class Waits:
    """A client whose first alias waits for a word."""

    def __init__(self, client, arrived, go):
        self._client = client
        self._arrived, self._go = arrived, go

    def __getattr__(self, name):
        return getattr(self._client, name)

    def set_registered_model_alias(self, *arguments):
        self._arrived.set()
        assert self._go.wait(60)
        self._client.set_registered_model_alias(*arguments)


@pytest.mark.parametrize(
    ("last", "settles"),
    [(0.981, True), (0.981, False), (0.995, True)],
    ids=["the lesser one comes last", "it is killed right after that", "the better one comes last"],
)
def test_of_two_outputs_folders_that_saw_the_same_champion_the_better_run_stays(
    main, ready, tmp_path, monkeypatch, last, settles
):
    assert main(*SMALL, "num_epoch=1").returncode == 0
    (path,) = (ready / "runs").iterdir()
    record = RunFolder(path).record()
    store = open_store(compose(list(SMALL)).tracking)
    (model,) = store.client.search_logged_models([store.experiment_id])
    go = {accuracy: threading.Event() for accuracy in (0.981, 0.995)}

    def crown_it(accuracy, arrived):
        mine = replace(store, outputs=tmp_path / str(accuracy), client=Waits(store.client, arrived, go[accuracy]))
        run_id = store.client.create_run(store.experiment_id).info.run_id
        return run_id, lambda: crown(mine, replace(record, best_val_accuracy=accuracy), run_id, model.model_id)

    arrived = {accuracy: threading.Event() for accuracy in go}
    calls = {accuracy: crown_it(accuracy, arrived[accuracy]) for accuracy in go}
    with ThreadPoolExecutor(2) as pool:
        told = {accuracy: pool.submit(call) for accuracy, (_, call) in calls.items()}
        assert all(event.wait(60) for event in arrived.values())  # both saw the champion before, and registered
        go[0.981 if last == 0.995 else 0.995].set()
        told[0.981 if last == 0.995 else 0.995].result(60)
        if not settles:
            monkeypatch.setattr("lenet_exp.tracking.champion._settle", lambda store, name, mine: mine)
        go[last].set()
        told[last].result(60)
    monkeypatch.undo()
    if not settles:
        calls[last][1]()  # what it did not note as delivered is tried again
    present = champion(store, "lenet5-digits")
    assert (present.run_id, present.tags["best_val_accuracy"]) == (calls[0.995][0], "0.995")


def test_a_champion_that_a_person_chose_long_ago_is_not_put_back(main, ready):
    """Only what was registered at the same time counts as a race."""
    assert main(*SMALL, "num_epoch=1").returncode == 0
    (path,) = (ready / "runs").iterdir()
    record, store = RunFolder(path).record(), open_store(compose(list(SMALL)).tracking)
    (model,) = store.client.search_logged_models([store.experiment_id])
    (first,) = versions(ready)

    def crown_it(accuracy):
        run_id = store.client.create_run(store.experiment_id).info.run_id
        assert crown(store, replace(record, best_val_accuracy=accuracy), run_id, model.model_id)
        return run_id

    crown_it(0.995)
    with sqlite3.connect(ready / "mlflow.db") as connection:
        connection.execute("UPDATE model_versions SET creation_time = creation_time - 3600000")
    store.client.set_registered_model_alias("lenet5-digits", "champion", first.version)
    assert crown_it(0.98) == champion(store, "lenet5-digits").run_id


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
