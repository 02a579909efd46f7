"""A run folder stays one run in MLflow, even if MLflow runs are deleted and restored."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from tests.tools.stores import client, everything, runs
from tests.tracking.run_uploads.test_upload import contents, cut, put_back, restart, upload


@pytest.fixture
def restored(folder, store):
    """Delete the MLflow run, upload a replacement, and restore the deleted run.

    Returns:
        The IDs of the restored run and of its replacement.
    """
    restored_id = upload(folder, store)
    store.client.delete_run(restored_id)
    replacement_id = upload(folder, restart(store))
    assert replacement_id != restored_id
    store.client.restore_run(restored_id)
    return restored_id, replacement_id


def test_restored_mlflow_run_is_marked_as_replaced(folder, store, ready, restored):
    restored_id, replacement_id = restored
    assert len(runs(client(ready))) == 2
    # As if the run had been deleted while it trained.
    store.client.update_run(restored_id, status="RUNNING")

    assert upload(folder, restart(store)) == replacement_id
    assert [run.info.run_id for run in runs(client(ready))] == [replacement_id]
    (replaced,) = runs(client(ready), "replaced")
    assert replaced.info.run_id == restored_id
    assert replaced.info.status == "KILLED"
    assert replaced.data.tags["replaced_by"] == replacement_id

    assert upload(folder, restart(store)) == replacement_id


def test_epochs_missing_in_backup_are_uploaded_again(folder, store, ready):
    finished_files = contents(folder)
    cut(folder, 1)
    run_id = upload(folder, store)
    with (
        closing(sqlite3.connect(ready / "mlflow.db")) as database,
        closing(sqlite3.connect(":memory:")) as backup,
    ):
        database.backup(backup)
        put_back(folder, finished_files)
        upload(folder, store)
        store_before = everything(client(ready))
        backup.backup(database)
    assert everything(client(ready)) != store_before

    # A usual upload does not notice what is missing.
    assert upload(folder, restart(store)) == run_id
    assert everything(client(ready)) != store_before

    folder.forget_upload(store.name)
    assert upload(folder, restart(store)) == run_id
    assert everything(client(ready)) == store_before
