"""A run folder stays one run in MLflow, even if MLflow runs are deleted and restored."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from tests.tools.stores import client, everything, runs
from tests.tracking.run_uploads.test_upload import contents, cut, put_back, restart, upload


@pytest.fixture
def restored(folder, store):
    """Delete the MLflow run, upload a replacement, restore the deleted run, and return both run
    IDs.
    """
    first = upload(folder, store)
    store.client.delete_run(first)
    second = upload(folder, restart(store))
    assert second != first
    store.client.restore_run(first)
    return first, second


def test_restored_mlflow_run_is_marked_as_replaced(folder, store, ready, restored):
    first, second = restored
    assert len(runs(client(ready))) == 2
    store.client.update_run(first, status="RUNNING")  # as if it had been deleted while it trained
    assert upload(folder, restart(store)) == second
    assert [run.info.run_id for run in runs(client(ready))] == [second]
    (old,) = runs(client(ready), "replaced")
    assert (old.info.run_id, old.info.status, old.data.tags["replaced_by"]) == (
        first,
        "KILLED",
        second,
    )
    assert upload(folder, restart(store)) == second


def test_epochs_missing_in_backup_are_uploaded_again(folder, store, ready):
    whole = contents(folder)
    cut(folder, 1)
    run_id = upload(folder, store)
    with (
        closing(sqlite3.connect(ready / "mlflow.db")) as database,
        closing(sqlite3.connect(":memory:")) as backup,
    ):
        database.backup(backup)
        put_back(folder, whole)
        upload(folder, store)
        before = everything(client(ready))
        backup.backup(database)
    assert everything(client(ready)) != before
    assert upload(folder, restart(store)) == run_id  # which does not notice what is missing
    assert everything(client(ready)) != before
    folder.forget_upload(store.name)
    assert upload(folder, restart(store)) == run_id
    assert everything(client(ready)) == before
