"""`lenet-sync again=true` uploads what a store lost when an older backup replaced it; a rerun fills
an empty store.
"""

from __future__ import annotations

import shutil
import sqlite3
from functools import partial

import pytest

from lenet_exp import processes
from tests.tools.commands import SMALL, lenet_train, succeeded
from tests.tools.stores import champions, client, content, differences, models, runs
from tests.tools.warm import start_module
from tests.tracking.stores.test_store import counts

pytestmark = pytest.mark.slow(seconds=4)

TRACKING = ("tracking.plots=false", "tracking.models=all")
LINE = ("-m", "hydra/launcher=basic", *SMALL, "num_epoch=1", "num_threads=1", *TRACKING, "seed=1,2")


def synced(main, *arguments):
    """Return the runs, models and sweeps that lenet-sync uploads; check that a call after it
    uploads nothing.
    """
    first = succeeded(main(*arguments, program="sync"))
    second = succeeded(main(program="sync"))
    assert counts(second.stdout) == [], first.stderr
    return counts(first.stdout)


@pytest.fixture
def trained(ready, monkeypatch):
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(ready))
    for _ in range(2):
        assert lenet_train(*LINE, outputs=ready).returncode == 0
    return ready


def test_rerun_uploads_whole_sweep_after_older_backup(main, trained, empty_store):
    store = client(trained)
    champions_before = champions(store)
    shutil.copy(empty_store / "mlflow.db", trained / "mlflow.db")

    assert lenet_train(*LINE, outputs=trained).returncode == 0

    logged_runs = [*runs(store), *runs(store, "sweep")]
    assert [run.info.status for run in logged_runs] == ["FINISHED"] * 3
    assert len(models(store)) == 2
    assert len(champions(store)) == len(champions_before)
    assert synced(main) == []


def test_sync_restores_description_and_end_of_parent_run(main, trained):
    """The edits imitate a backup from between two starts of the sweep."""
    store = client(trained)
    content_before = content(store)
    (parent,) = runs(store, "sweep")
    parent_id = parent.info.run_id
    set_tag = "UPDATE tags SET value = 'older' WHERE key = ? AND run_uuid = ?"
    set_status = "UPDATE runs SET status = 'RUNNING' WHERE run_uuid = ?"
    with sqlite3.connect(trained / "mlflow.db") as database:
        database.execute(set_tag, ("sweep_shown", parent_id))
        database.execute(set_tag, ("mlflow.note.content", parent_id))
        database.execute(set_status, (parent_id,))

    assert synced(main) == []
    assert synced(main, "again=true") == [2, 2, 1]
    assert differences(content(store), content_before) == []


def test_sync_again_adds_everything_that_older_backup_lacks(main, trained):
    """The backup is from before the sweep added its runs with seeds 3 and 4, and a user."""
    shutil.copy(trained / "mlflow.db", trained / "backup.db")
    assert lenet_train(*LINE[:-1], "seed=1,2,3", outputs=trained, LOGNAME="grace").returncode == 0
    content_before = content(client(trained))
    champions_before = champions(client(trained))
    shutil.copy(trained / "backup.db", trained / "mlflow.db")
    assert differences(content(client(trained)), content_before) != []

    assert synced(main, "again=true") != []
    assert differences(content(client(trained)), content_before) == []
    assert champions(client(trained)) == champions_before

    assert synced(main, "again=true") != []
    assert differences(content(client(trained)), content_before) == []


def test_sync_uploads_report_that_failed_at_end_of_sweep(main, ready, monkeypatch):
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(ready))
    with monkeypatch.context() as patch:
        fail = partial(start_module, "tests.tools.failing_report")
        patch.setattr(processes, "start_module", lambda module: fail())
        done = succeeded(main(*LINE))
    assert counts(done.stderr.splitlines()[-1]) == [1]
    (parent,) = runs(client(ready), "sweep")
    assert parent.info.status == "FINISHED"
    assert "mlflow.note.content" not in parent.data.tags

    assert synced(main) == [1]
    (parent,) = runs(client(ready), "sweep")
    assert "mlflow.note.content" in parent.data.tags
