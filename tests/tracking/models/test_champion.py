"""A version is registered only for a run that becomes champion."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from lenet_exp.config.flags import with_value
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.tracking.models.champion import champion, register_if_best
from lenet_exp.tracking.stores.store import open_store
from tests.tools import commands
from tests.tools.commands import lenet_train
from tests.tools.configs import compose
from tests.tools.stores import client, runs

SMALL = (*commands.SMALL, "num_threads=1", "tracking.plots=false")
SCHEDULES = int(os.environ.get("CHAMPION_SCHEDULES", "4"))  # a larger number finds rare failures


def versions(outputs):
    found = client(outputs).search_model_versions("name = 'lenet5-digits'")
    return sorted(found, key=lambda v: int(v.version))


def accuracies_of(outputs):
    """Return the accuracies of the registered versions in order."""
    return [float(v.tags["best_val_accuracy"]) for v in versions(outputs)]


@pytest.mark.slow(seconds=7)
def test_only_better_run_becomes_champion(main, ready):
    assert main("-m", "hydra/launcher=basic", *SMALL, "num_epoch=1,2,3").returncode == 0
    store = client(ready)
    best = max(run.data.metrics["best_val_accuracy"] for run in runs(store))
    before = versions(ready)
    crowned = store.get_model_version_by_alias("lenet5-digits", "champion")
    assert store.get_run(crowned.run_id).data.metrics["best_val_accuracy"] == best
    assert {"fingerprint", "run", "best_val_accuracy", "best_epoch"} <= set(crowned.tags)
    assert accuracies_of(ready) == sorted(set(accuracies_of(ready)))
    for other in (
        "num_epoch=1 seed=1",  # not better
        "split_seed=1",  # other validation images
        "dataset.train_size=1200",  # not the whole training set
        "init_from=champion:mnist",  # weights that could know the validation images
        "tracking.models=none",  # no model to register
        "metric=loss",  # has its own champion
        "metric=loss loss=focal",  # is another metric
    ):
        assert (
            main(
                *SMALL, *(["num_epoch=8"] if "epoch" not in other else []), *other.split()
            ).returncode
            == 0
        )
    assert max(run.data.metrics["best_val_accuracy"] for run in runs(store)) > best
    assert versions(ready) == before
    (by_loss,) = store.search_model_versions("name = 'lenet5-digits-loss'")
    assert (
        float(by_loss.tags["score"]) == -store.get_run(by_loss.run_id).data.metrics["best_val_loss"]
    )


@pytest.mark.slow(seconds=6)
def test_better_run_on_other_images_is_reported_and_can_become_champion(main, ready):
    assert main(*SMALL, "num_epoch=1").returncode == 0
    trained = main(*SMALL, "num_epoch=8", "split_seed=1")
    best, worse = sorted(
        runs(client(ready)), key=lambda run: -run.data.metrics["best_val_accuracy"]
    )
    command = f"champion={best.info.run_id}"
    for done in (trained, main("dataset=digits", program="predict")):
        assert done.stderr.count(f"lenet-sync {command}\n") == 1
        assert worse.info.run_id in done.stderr
    assert main(command, program="sync").returncode == 0
    assert champion(client(ready), "lenet5-digits").run_id == best.info.run_id
    predicted = main("dataset=digits", program="predict")
    assert "champion=" not in predicted.stderr
    assert "champion=" not in main(*SMALL, "num_epoch=1", "split_seed=1").stderr
    assert main("champion=nope", program="sync").returncode == 2


class Killed(BaseException):
    """Raised in place of SIGKILL; no code under test handles it."""


class Turns:
    """Concurrent clients of one store: a random generator decides which client makes the next
    call.
    """

    def __init__(self, seed, names):
        self._draw = random.Random(seed)
        self._waiting = {}
        self._running = set(names)
        self._change = threading.Condition()

    def wait(self, name):
        with self._change:
            self._waiting[name] = False
            self._choose()
            assert self._change.wait_for(lambda: self._waiting[name], 60)
            del self._waiting[name]

    def leave(self, name):
        with self._change:
            self._running.discard(name)
            self._choose()

    def _choose(self):
        if (
            self._running == set(self._waiting)
            and not any(self._waiting.values())
            and self._waiting
        ):
            self._waiting[self._draw.choice(sorted(self._waiting))] = True
            self._change.notify_all()


class Client:
    """A client that waits for its turn, and may die at one call, before or after the store executes
    it.
    """

    def __init__(self, client, turns, name, killed_at=None, answered=False):
        self._client, self._turns, self._name = client, turns, name
        self._left, self._answered = killed_at, answered

    def __getattr__(self, method):
        def call(*arguments, **more):
            self._turns.wait(self._name)
            last = self._left == 0
            if self._left is not None:
                self._left -= 1
            if last and not self._answered:
                raise Killed
            answer = getattr(self._client, method)(*arguments, **more)
            if last:
                raise Killed
            return answer

        return call


@pytest.fixture(scope="module")
def champion_of_one(empty_store, tmp_path_factory):
    outputs = Path(shutil.copytree(empty_store, tmp_path_factory.mktemp("champion") / "outputs"))
    assert lenet_train(*SMALL, "num_epoch=1", outputs=outputs).returncode == 0
    return outputs


@pytest.fixture
def trained(champion_of_one, outputs):
    """Return a store with a champion, and the champion's record and model ID, for synthetic
    results.
    """
    shutil.copytree(champion_of_one, outputs)
    (path,) = (outputs / "runs").iterdir()
    store = open_store(compose(list(SMALL)).tracking)
    (model,) = store.client.search_logged_models([store.experiment_id])
    return store, RunFolder(path).record(), model.model_id


def new_run(store):
    return store.client.create_run(store.experiment_id).info.run_id


def record_of(record, dataset, accuracy):
    """Return the record with another dataset, which is new to the store, and another accuracy."""
    config = with_value(record.config, "dataset.name", dataset)
    return replace(record, config=config, best_val_accuracy=accuracy)


def race(store, tmp_path, seed, candidates, killed):
    """Register all candidates concurrently, each from a separate outputs folder. Processes in
    `killed` die at the call with that number and register again, as a rerun or lenet-sync does."""
    turns = Turns(seed, list(candidates))

    def register(name):
        own = replace(store, outputs=tmp_path / str(name))
        for killed_at, answered in ([killed[name]] if name in killed else []) + [(None, False)]:
            with contextlib.suppress(Killed):
                turn = Client(store.client, turns, name, killed_at, answered)
                register_if_best(replace(own, client=turn), *candidates[name])
                break
        turns.leave(name)

    with ThreadPoolExecutor(len(candidates)) as pool:
        list(pool.map(register, candidates))


def test_concurrent_registrations_leave_best_run_as_champion(trained, tmp_path):
    store, record, model = trained
    for seed in range(SCHEDULES):
        draw = random.Random(seed)
        accuracies = draw.sample([0.98, 0.985, 0.99, 0.995], 4)
        run_ids = {accuracy: new_run(store) for accuracy in accuracies}
        candidates = {
            a: (record_of(record, f"set{seed}", a), run_ids[a], model) for a in accuracies
        }
        race(
            store,
            tmp_path,
            seed,
            candidates,
            {a: (draw.randrange(9), draw.random() < 0.5) for a in accuracies[:2]},
        )
        assert champion(store.client, f"lenet5-set{seed}").run_id == run_ids[0.995], seed
        registered = [
            v.run_id for v in store.client.search_model_versions(f"name = 'lenet5-set{seed}'")
        ]
        assert len(registered) == len(set(registered)), seed  # no run has two versions


@pytest.mark.parametrize("call", ["create_model_version", "set_registered_model_alias"])
def test_delayed_process_does_not_replace_better_champion(trained, tmp_path, call):
    store, record, model = trained
    slept, go = threading.Event(), threading.Event()

    class Sleeps:
        def __getattr__(self, name):
            if name == call:
                slept.set()
                assert go.wait(60)
            return getattr(store.client, name)

    better, lesser = new_run(store), new_run(store)
    with ThreadPoolExecutor(1) as pool:
        own = replace(store, outputs=tmp_path / "asleep", client=Sleeps())
        told = pool.submit(
            register_if_best, own, replace(record, best_val_accuracy=0.98), lesser, model
        )
        assert slept.wait(60)
        assert register_if_best(store, replace(record, best_val_accuracy=0.99), better, model)
        with sqlite3.connect(store.outputs / "mlflow.db") as connection:
            connection.execute("UPDATE model_versions SET creation_time = creation_time - 86400000")
        go.set()
        assert not told.result(60)
    assert champion(store.client, "lenet5-digits").run_id == better


def test_manually_chosen_champion_stays_until_beaten(trained):
    """A new run makes the best of all versions champion again and deletes its own version if
    another is better.
    """
    store, record, model = trained
    (first,) = versions(store.outputs)
    best, next_best = new_run(store), new_run(store)
    assert register_if_best(store, replace(record, best_val_accuracy=0.995), best, model)
    store.client.set_registered_model_alias("lenet5-digits", "champion", first.version)
    assert not register_if_best(store, replace(record, best_val_accuracy=0.995), best, model)
    assert champion(store.client, "lenet5-digits").run_id == first.run_id
    assert not register_if_best(store, replace(record, best_val_accuracy=0.98), next_best, model)
    assert champion(store.client, "lenet5-digits").run_id == best
    assert len(versions(store.outputs)) == 3


def test_concurrent_first_runs_register_bundled_model_once(trained, tmp_path):
    """Four processes start on a store without this dataset, and each is killed at some call."""
    store, record, model = trained
    candidates = {
        name: (record_of(record, "mnist", 0.9 + name / 100), new_run(store), model)
        for name in range(4)
    }
    race(store, tmp_path, 1, candidates, {name: (4 + 2 * name, False) for name in range(4)})
    (shipped,) = store.client.search_runs([store.experiment_id], "tags.kind = 'shipped'")
    registered = store.client.search_model_versions("name = 'lenet5-mnist'")
    assert [v.run_id for v in registered].count(shipped.info.run_id) == 1
    (logged,) = store.client.search_logged_models(
        [store.experiment_id], f"source_run_id = '{shipped.info.run_id}'"
    )
    assert logged.status == "READY"
