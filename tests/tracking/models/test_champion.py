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
    """Return the registered versions in order."""
    registered = client(outputs).search_model_versions("name = 'lenet5-digits'")
    return sorted(registered, key=lambda version: int(version.version))


def accuracies_of(outputs):
    """Return the accuracies of the registered versions in order."""
    return [float(version.tags["best_val_accuracy"]) for version in versions(outputs)]


def best_accuracy(store):
    """Return the largest accuracy of all runs in a store."""
    return max(run.data.metrics["best_val_accuracy"] for run in runs(store))


# Flags of runs that must not become champion, although most of them are better.
NO_CHAMPIONS = (
    ("num_epoch=1", "seed=1"),  # not better
    ("num_epoch=8", "split_seed=1"),  # other validation images
    ("num_epoch=8", "dataset.train_size=1200"),  # not the whole training set
    ("num_epoch=8", "init_from=champion:mnist"),  # weights that could know the validation images
    ("num_epoch=8", "tracking.models=none"),  # no model to register
    ("num_epoch=8", "metric=loss"),  # has its own champion
    ("num_epoch=8", "metric=loss", "loss=focal"),  # is another metric
)


@pytest.mark.slow(seconds=7)
def test_only_better_run_becomes_champion(main, ready):
    assert main("-m", "hydra/launcher=basic", *SMALL, "num_epoch=1,2,3").returncode == 0
    store = client(ready)
    accuracy = best_accuracy(store)
    first_versions = versions(ready)
    first_champion = store.get_model_version_by_alias("lenet5-digits", "champion")
    champion_run = store.get_run(first_champion.run_id)
    assert champion_run.data.metrics["best_val_accuracy"] == accuracy
    assert {"fingerprint", "run", "best_val_accuracy", "best_epoch"} <= set(first_champion.tags)
    assert accuracies_of(ready) == sorted(set(accuracies_of(ready)))

    for flags in NO_CHAMPIONS:
        assert main(*SMALL, *flags).returncode == 0

    assert best_accuracy(store) > accuracy
    assert versions(ready) == first_versions
    (version_by_loss,) = store.search_model_versions("name = 'lenet5-digits-loss'")
    run_by_loss = store.get_run(version_by_loss.run_id)
    assert float(version_by_loss.tags["score"]) == -run_by_loss.data.metrics["best_val_loss"]


@pytest.mark.slow(seconds=6)
def test_better_run_on_other_images_is_reported_and_can_become_champion(main, ready):
    assert main(*SMALL, "num_epoch=1").returncode == 0
    trained = main(*SMALL, "num_epoch=8", "split_seed=1")
    predicted = main("dataset=digits", program="predict")
    worse, best = sorted(runs(client(ready)), key=lambda run: run.data.metrics["best_val_accuracy"])
    argument = f"champion={best.info.run_id}"
    for done in (trained, predicted):
        assert done.stderr.count(f"lenet-sync {argument}\n") == 1
        assert worse.info.run_id in done.stderr

    assert main(argument, program="sync").returncode == 0

    assert champion(client(ready), "lenet5-digits").run_id == best.info.run_id
    predicted = main("dataset=digits", program="predict")
    assert "champion=" not in predicted.stderr
    trained = main(*SMALL, "num_epoch=1", "split_seed=1")
    assert "champion=" not in trained.stderr
    assert main("champion=nope", program="sync").returncode == 2


class Killed(BaseException):
    """Raised in place of SIGKILL; no code under test handles it."""


class Turns:
    """Concurrent clients of one store: a random generator decides which client makes the next
    call.
    """

    def __init__(self, seed, names):
        self._draw = random.Random(seed)
        self._running = set(names)
        self._has_turn = {}  # for each client that waits
        self._change = threading.Condition()

    def wait(self, name):
        with self._change:
            self._has_turn[name] = False
            self._choose()
            assert self._change.wait_for(lambda: self._has_turn[name], 60)
            del self._has_turn[name]

    def leave(self, name):
        with self._change:
            self._running.discard(name)
            self._choose()

    def _choose(self):
        """Give a client its turn once all clients wait."""
        all_wait = self._running == set(self._has_turn)
        if not all_wait or not self._has_turn:
            return
        if any(self._has_turn.values()):
            return
        name = self._draw.choice(sorted(self._has_turn))
        self._has_turn[name] = True
        self._change.notify_all()


class Client:
    """A client that waits for its turn, and may die at one call, before or after the store executes
    it.

    Args:
        killed_at: number of the call at which the client dies, from 0; None: it survives.
        is_executed: whether the store executes that call.
    """

    def __init__(self, client, turns, name, killed_at=None, is_executed=False):
        self._client = client
        self._turns = turns
        self._name = name
        self._killed_at = killed_at
        self._is_executed = is_executed
        self._num_calls = 0

    def __getattr__(self, method):
        def call(*arguments, **keywords):
            self._turns.wait(self._name)
            is_last = self._num_calls == self._killed_at
            self._num_calls += 1
            if is_last and not self._is_executed:
                raise Killed
            answer = getattr(self._client, method)(*arguments, **keywords)
            if is_last:
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
    `killed` die at the call with that number and register again, as a rerun or lenet-sync does.

    Args:
        candidates: arguments of `register_if_best` after the store, by the name of the process.
        killed: arguments `killed_at` and `is_executed` of `Client`, by the name of the process.
    """
    turns = Turns(seed, list(candidates))

    def register(name):
        attempts = [(None, False)]
        if name in killed:
            attempts.insert(0, killed[name])
        for killed_at, is_executed in attempts:
            with contextlib.suppress(Killed):
                in_turns = Client(store.client, turns, name, killed_at, is_executed)
                own_store = replace(store, outputs=tmp_path / str(name), client=in_turns)
                register_if_best(own_store, *candidates[name])
                break
        turns.leave(name)

    with ThreadPoolExecutor(len(candidates)) as pool:
        list(pool.map(register, candidates))


def test_concurrent_registrations_leave_best_run_as_champion(trained, tmp_path):
    store, record, model = trained
    for seed in range(SCHEDULES):
        draw = random.Random(seed)
        dataset = f"set{seed}"  # new to the store
        name = f"lenet5-{dataset}"
        accuracies = draw.sample([0.98, 0.985, 0.99, 0.995], 4)
        run_ids = {accuracy: new_run(store) for accuracy in accuracies}
        candidates = {}
        for accuracy, run_id in run_ids.items():
            candidates[accuracy] = (record_of(record, dataset, accuracy), run_id, model)
        killed = {}
        for accuracy in accuracies[:2]:
            killed_at = draw.randrange(9)
            is_executed = draw.random() < 0.5
            killed[accuracy] = (killed_at, is_executed)

        race(store, tmp_path, seed, candidates, killed)

        assert champion(store.client, name).run_id == run_ids[0.995], seed
        registered = store.client.search_model_versions(f"name = '{name}'")
        ids = [version.run_id for version in registered]
        assert len(ids) == len(set(ids)), seed  # no run has two versions


@pytest.mark.parametrize("call", ["create_model_version", "set_registered_model_alias"])
def test_delayed_process_does_not_replace_better_champion(trained, tmp_path, call):
    store, record, model = trained
    sleeps = threading.Event()
    may_wake = threading.Event()

    class Sleeper:
        def __getattr__(self, name):
            if name == call:
                sleeps.set()
                assert may_wake.wait(60)
            return getattr(store.client, name)

    better_run = new_run(store)
    better_record = replace(record, best_val_accuracy=0.99)
    lesser_run = new_run(store)
    lesser_record = replace(record, best_val_accuracy=0.98)
    delayed_store = replace(store, outputs=tmp_path / "asleep", client=Sleeper())
    with ThreadPoolExecutor(1) as pool:
        delayed = pool.submit(register_if_best, delayed_store, lesser_record, lesser_run, model)
        assert sleeps.wait(60)
        assert register_if_best(store, better_record, better_run, model)
        with sqlite3.connect(store.outputs / "mlflow.db") as connection:
            connection.execute("UPDATE model_versions SET creation_time = creation_time - 86400000")
        may_wake.set()
        assert not delayed.result(60)
    assert champion(store.client, "lenet5-digits").run_id == better_run


def test_manually_chosen_champion_stays_until_beaten(trained):
    """A new run makes the best of all versions champion again and deletes its own version if
    another is better.
    """
    store, record, model = trained
    (first,) = versions(store.outputs)
    best = new_run(store)
    best_record = replace(record, best_val_accuracy=0.995)
    next_best = new_run(store)
    next_best_record = replace(record, best_val_accuracy=0.98)

    assert register_if_best(store, best_record, best, model)
    store.client.set_registered_model_alias("lenet5-digits", "champion", first.version)
    assert not register_if_best(store, best_record, best, model)
    assert champion(store.client, "lenet5-digits").run_id == first.run_id

    assert not register_if_best(store, next_best_record, next_best, model)
    assert champion(store.client, "lenet5-digits").run_id == best
    assert len(versions(store.outputs)) == 3


def test_concurrent_first_runs_register_bundled_model_once(trained, tmp_path):
    """Four processes start on a store without this dataset, and each is killed at some call."""
    store, record, model = trained
    candidates = {}
    killed = {}
    for name in range(4):
        accuracy = 0.9 + name / 100
        candidates[name] = (record_of(record, "mnist", accuracy), new_run(store), model)
        killed[name] = (4 + 2 * name, False)

    race(store, tmp_path, 1, candidates, killed)

    (shipped,) = store.client.search_runs([store.experiment_id], "tags.kind = 'shipped'")
    registered = store.client.search_model_versions("name = 'lenet5-mnist'")
    ids = [version.run_id for version in registered]
    assert ids.count(shipped.info.run_id) == 1
    (logged,) = store.client.search_logged_models(
        [store.experiment_id], f"source_run_id = '{shipped.info.run_id}'"
    )
    assert logged.status == "READY"
