"""`lenet-sync again=true` uploads what a store lost when an older backup replaced it; a rerun fills
an empty store.
"""

from __future__ import annotations

import shutil
import sqlite3
from functools import partial

import pytest

from lenet_exp import processes
from tests.tools.commands import SMALL, lenet_train
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
    first = main(*arguments, program="sync")
    second = main(program="sync")
    assert (first.returncode, second.returncode, counts(second.stdout)) == (0, 0, []), first.stderr
    return counts(first.stdout)


@pytest.fixture
def trained(ready, monkeypatch):
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(ready))
    for _ in range(2):
        assert lenet_train(*LINE, outputs=ready).returncode == 0
    return ready


def test_rerun_uploads_whole_sweep_after_older_backup(main, trained, empty_store):
    store = client(trained)
    before = champions(store)
    shutil.copy(empty_store / "mlflow.db", trained / "mlflow.db")
    assert lenet_train(*LINE, outputs=trained).returncode == 0
    found = [*runs(store), *runs(store, "sweep")]
    assert [run.info.status for run in found] == ["FINISHED"] * 3
    assert (len(models(store)), len(champions(store))) == (2, len(before))
    assert synced(main) == []


def test_sync_restores_description_and_end_of_parent_run(main, trained):
    """The edits imitate a backup from between two starts of the sweep."""
    before = content(client(trained))
    (parent,) = runs(client(trained), "sweep")
    with sqlite3.connect(trained / "mlflow.db") as database:
        for key in ("sweep_shown", "mlflow.note.content"):
            older = "UPDATE tags SET value = 'older' WHERE key = ? AND run_uuid = ?"
            database.execute(older, (key, parent.info.run_id))
        database.execute(
            "UPDATE runs SET status = 'RUNNING' WHERE run_uuid = ?", (parent.info.run_id,)
        )
    assert synced(main) == []
    assert synced(main, "again=true") == [2, 2, 1]
    assert differences(content(client(trained)), before) == []


def test_sync_again_adds_everything_that_older_backup_lacks(main, trained):
    """The backup is from before the sweep added its runs with seeds 3 and 4, and a user."""
    shutil.copy(trained / "mlflow.db", trained / "backup.db")
    assert lenet_train(*LINE[:-1], "seed=1,2,3", outputs=trained, LOGNAME="grace").returncode == 0
    before = content(client(trained))
    champion = champions(client(trained))
    shutil.copy(trained / "backup.db", trained / "mlflow.db")
    assert differences(content(client(trained)), before) != []
    assert synced(main, "again=true") != []
    assert differences(content(client(trained)), before) == []
    assert champions(client(trained)) == champion
    assert synced(main, "again=true") != []
    assert differences(content(client(trained)), before) == []


def test_sync_uploads_report_that_failed_at_end_of_sweep(main, ready, monkeypatch):
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(ready))
    with monkeypatch.context() as patch:
        fail = partial(start_module, "tests.tools.failing_report")
        patch.setattr(processes, "start_module", lambda module: fail())
        done = main(*LINE)
    assert (done.returncode, counts(done.stderr.splitlines()[-1])) == (0, [1])
    (parent,) = runs(client(ready), "sweep")
    assert (parent.info.status, "mlflow.note.content" in parent.data.tags) == ("FINISHED", False)
    assert synced(main) == [1]
    assert "mlflow.note.content" in runs(client(ready), "sweep")[0].data.tags
