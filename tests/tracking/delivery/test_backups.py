"""What a store keeps in several places, and may have put back as each was at another time, comes back by lenet-sync."""

from __future__ import annotations

import shutil
import sqlite3

import pytest

from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import all_sweeps
from tests.tools.commands import SMALL, lenet_train
from tests.tools.stores import champions, client, content, differences, models, runs
from tests.tracking.stores.test_store import counts

LINE = ("-m", "hydra/launcher=basic", *SMALL, "num_epoch=1", "num_threads=1", "tracking.plots=false", "seed=1,2")


def synced(main):
    """How many runs, models and sweeps lenet-sync delivers; the second time there is nothing."""
    first, second = (main(program="sync") for _ in "ab")
    assert (first.returncode, second.returncode, counts(second.stdout)) == (0, 0, []), first.stderr
    return counts(first.stdout)


@pytest.fixture(scope="module")
def trained(empty_store, tmp_path_factory):
    outputs = tmp_path_factory.mktemp("trained") / "outputs"
    shutil.copytree(empty_store, outputs)
    for _ in range(2):
        assert lenet_train(*LINE, outputs=outputs).returncode == 0
    return outputs


@pytest.fixture
def swept(trained, monkeypatch):
    """Two runs of a sweep that was started twice, and what their store holds: afterwards it holds that again."""
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(trained))
    before, crowned = content(client(trained)), champions(client(trained))
    yield trained, before, crowned
    assert differences(content(client(trained)), before) == []


def last_delivered(outputs):
    folders = [RunFolder(path) for path in (outputs / "runs").iterdir()]
    return max(folders, key=RunFolder.delivered_ns).id


def test_files_of_the_run_that_was_delivered_last_and_of_the_sweeps_own_run(main, swept):
    outputs, _, _ = swept
    store, artifacts = client(outputs), outputs / "mlartifacts" / "lenet_exp"
    (last,) = [run for run in runs(store) if run.data.tags["run_folder"] == last_delivered(outputs)]
    (model,) = [model for model in models(store) if model.source_run_id == last.info.run_id]
    (parent,) = runs(store, "sweep")
    for lost in (last.info.run_id, f"models/{model.model_id}", parent.info.run_id):
        shutil.rmtree(artifacts / lost)
    assert synced(main) == [1, 1, 1]


def test_an_alias_that_somebody_may_have_taken_away_is_left_alone(main, swept):
    outputs, _, crowned = swept
    ((name, (_, versions)),) = crowned.items()
    store = client(outputs)
    present = store.get_model_version_by_alias(name, "champion").version
    with sqlite3.connect(outputs / "mlflow.db") as database:
        database.execute("DELETE FROM registered_model_aliases")
    assert synced(main) == []
    assert len(store.search_model_versions(f"name = '{name}'")) == len(versions)
    store.set_registered_model_alias(name, "champion", present)


def test_the_version_of_the_champion(main, swept):
    outputs, _, crowned = swept
    ((name, (champion, versions)),) = crowned.items()
    with sqlite3.connect(outputs / "mlflow.db") as database:
        for table in ("registered_model_aliases", "model_version_tags", "model_versions"):
            database.execute(f"DELETE FROM {table}")
    assert synced(main) == [1, 1]
    assert champions(client(outputs)) == {name: (champion, [champion])}
    assert champion in versions


def test_the_description_and_the_counts_of_each_start(main, swept):
    """As a backup of between two starts would have them."""
    outputs, _, _ = swept
    (parent,), (sweep,) = runs(client(outputs), "sweep"), all_sweeps(outputs)
    assert sweep.started().starts == 2
    with sqlite3.connect(outputs / "mlflow.db") as database:
        for what in ("metrics", "latest_metrics"):
            database.execute(f"DELETE FROM {what} WHERE run_uuid = ?", (parent.info.run_id,))
        for key in ("sweep_shown", "mlflow.note.content"):
            database.execute("UPDATE tags SET value = 'older' WHERE key = ?", (key,))
        database.execute("UPDATE runs SET status = 'RUNNING' WHERE run_uuid = ?", (parent.info.run_id,))
    assert synced(main) == [1]
