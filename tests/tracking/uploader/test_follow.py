"""Uploads of a sweep whose store is away, and uploads that another process makes while a sweep
runs.
"""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.entities import Run

from lenet_exp.folders.sweep_folder import all_sweeps
from lenet_exp.tracking.models.exporter import ModelExporter
from lenet_exp.tracking.stores import connection
from lenet_exp.tracking.stores.store import StoreUnavailable
from lenet_exp.tracking.stores.time_limit import CallLimit
from lenet_exp.tracking.sweep_runs.upload import SweepUpload
from tests.tools.commands import SMALL, end, free_port, lenet_train, refused, start, succeeded
from tests.tools.stores import client, runs
from tests.tools.until import until
from tests.tools.waiting import WAITS, waiting

LINE = ("-m", "hydra/launcher=basic", *SMALL, "num_epoch=1", "tracking.plots=false", "seed=0,1")
BARE = (*LINE, "tracking.models=none")


def runs_in_store(outputs: Path) -> list[Run]:
    """Return the runs in the store; none if the experiment does not exist yet."""
    store = client(outputs)
    if store.get_experiment_by_name("lenet_exp") is None:
        return []
    return runs(store)


def test_run_is_nested_under_its_sweep_once_store_responds(ready, monkeypatch):
    away = f"tracking.uri=http://127.0.0.1:{free_port()}"
    succeeded(lenet_train(*BARE, away, outputs=ready))
    (sweep,) = all_sweeps(ready)
    job = sweep.jobs()[0]
    tracking = replace(job.config.tracking, uri=None)
    monkeypatch.setattr(connection, "AWAY_SECONDS", 0.0)
    connected = connection.StoreConnection(tracking, ready, CallLimit())
    upload = SweepUpload(sweep, connected, ModelExporter(), user=None)

    def no_store(*_: object, **__: object) -> None:
        raise StoreUnavailable("Connection refused")

    with monkeypatch.context() as patch:
        patch.setattr(connection, "open_store", no_store)
        assert upload.run(job.folder) is None
    assert runs_in_store(ready) == []

    run_id = upload.run(job.folder)
    (parent,) = runs(client(ready), "sweep")
    (run,) = runs(client(ready))
    assert run.info.run_id == run_id
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id


@pytest.mark.slow(seconds=12)
def test_sync_follows_sweep_whose_machine_cannot_reach_store(ready, tmp_path):
    away = f"tracking.uri=http://127.0.0.1:{free_port()}"
    here = f"tracking.uri={client(ready).tracking_uri}"
    line = ("-m", *WAITS, away, "seed=0,1", "sweep.workers=1")
    with waiting(*line, outputs=ready, tmp_path=tmp_path, is_uploaded=False) as process:
        follower = start("follow=true", here, outputs=ready, program="sync")
        until(lambda: [run.info.status for run in runs_in_store(ready)] == ["RUNNING"], process)
        process.send_signal(signal.SIGINT)
        assert end(process).returncode == 130
        done = succeeded(end(follower))
    assert done.stdout.endswith("missing: nothing\n")
    logged_runs = [*runs(client(ready)), *runs(client(ready), "sweep")]
    assert {run.info.status for run in logged_runs} == {"KILLED"}


@pytest.mark.parametrize("other", ["run=abcd", "champion=abcd"])
def test_following_requires_a_sweep(main, outputs, other):
    refused(main("follow=true", other, program="sync"), "follow=true", program="sync")


def test_sweep_that_is_uploaded_is_listed_as_final_and_not_removed(main, ready):
    succeeded(lenet_train(*BARE, outputs=ready))
    (sweep,) = all_sweeps(ready)
    with sweep.upload_lock():
        listing = main("list", program="sweep")
        status = main("status", program="sweep")
        removal = main("rm", "sweep=last", "dry_run=false", program="sweep")
    refused(removal, "being uploaded", program="sweep")
    for done in (listing, status):
        assert "finished; uploading; results are final" in " ".join(done.stdout.split())
    assert "uploading" not in main("status", program="sweep").stdout
