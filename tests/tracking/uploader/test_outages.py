"""After outages of the server or an older backup, nothing is missing or duplicated.

A proxy in front of a real MLflow server causes the faults; the final content is compared with an
undisturbed store.
"""

from __future__ import annotations

import itertools
import random
import shutil
import signal
import sqlite3
import time
from collections import Counter
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.tracking.models.exporter import export_model
from lenet_exp.tracking.run_uploads.upload import RunUpload
from lenet_exp.tracking.stores.connection import StoreConnection
from lenet_exp.tracking.stores.time_limit import CallLimit
from lenet_exp.tracking.sweep_runs.upload import send_run
from tests.tools.commands import SMALL, end, free_port, start, succeeded
from tests.tools.configs import compose
from tests.tools.stores import champions, content, differences, points, runs
from tests.tools.until import until
from tests.tracking.run_uploads.test_upload import contents, cut, put_back

pytestmark = pytest.mark.slow(seconds=7)

LINE = (*SMALL, "num_epoch=2", "num_threads=1", "tracking.plots=false")
FAULTS = ("drop", "half", "hang", "429", "500", "503")
HASTY = ("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")  # for uploads that must give up soon
PATIENT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "600"}  # so that waiting for the store would never end


@pytest.fixture
def undisturbed(main, empty_store, tmp_path):
    """Return a function that uploads the outputs folder to an undisturbed store and returns its
    content.
    """

    def deliver(experiment: str) -> Counter[str]:
        other = Path(shutil.copytree(empty_store, tmp_path / "undisturbed")) / "mlflow.db"
        succeeded(main(f"tracking.uri=sqlite:///{other}", program="sync"))
        return content(MlflowClient(f"sqlite:///{other}"), experiment)

    return deliver


def copied(source: Path, target: Path) -> None:
    """Copy a SQLite database over another that a server has open."""
    with sqlite3.connect(source) as old, sqlite3.connect(target) as new:
        old.backup(new)


def well_crowned(store: MlflowClient) -> bool:
    """Return whether no run has two versions and the champion is the best version."""
    ok = True
    for champion, versions in champions(store).values():
        best = max(store.get_run(run).data.metrics["best_val_accuracy"] for run in versions)
        ok &= len(set(versions)) == len(versions)
        ok &= store.get_run(champion).data.metrics["best_val_accuracy"] == best
    return ok


@pytest.mark.slow(seconds=20)
def test_sync_uploads_sweep_after_store_failed_halfway(
    main, outputs, server, proxy, undisturbed, monkeypatch
):
    count = itertools.count()
    proxy.choose = lambda: "pass" if next(count) < 15 else "half"
    line = (*LINE, "seed=1,2,3", f"tracking.uri={proxy.address}", "tracking.experiment=middle")
    with monkeypatch.context() as patch:
        patch.setenv(*HASTY)
        done = main("-m", "hydra/launcher=basic", *line)
    assert done.returncode == 0, done.stderr
    warning, last = [text for text in done.stderr.splitlines() if proxy.address in text]
    assert warning.startswith("tracking.uri=")
    assert "lenet-sync sweep=" in last
    proxy.choose = None
    assert main(program="sync").returncode == 0
    assert differences(content(MlflowClient(server[1]), "middle"), undisturbed("middle")) == []
    assert well_crowned(MlflowClient(server[1]))


def test_hanging_store_delays_no_epoch_and_end_uploads_the_rest(outputs, server, proxy):
    line = (
        *SMALL,
        "num_epoch=40",
        "num_threads=1",
        f"tracking.uri={proxy.address}",
        "tracking.experiment=hangs",
    )
    process = start(*line, outputs=outputs, env=PATIENT)
    next(text for text in process.stderr if text.startswith("epoch 1/"))
    proxy.set("hang")
    next(text for text in process.stderr if text.startswith("epoch 40/"))
    proxy.set("pass")
    succeeded(end(process))
    (run,) = runs(MlflowClient(server[1]), experiment="hangs")
    assert run.info.status == "FINISHED"
    assert [
        step for step, _, _ in points(MlflowClient(server[1]), run.info.run_id)["val_loss"]
    ] == [*range(1, 41)]


def test_interrupted_uploads_to_slow_store_are_completed_by_sync(main, outputs, server, proxy):
    line = (
        *SMALL,
        "num_epoch=3",
        "num_threads=1",
        f"tracking.uri={proxy.address}",
        "tracking.experiment=slow",
    )
    proxy.set("slow")
    process = start(*line, outputs=outputs)
    next(text for text in process.stdout if text.startswith("run folder"))
    process.send_signal(signal.SIGINT)
    interrupted = time.monotonic()
    done = end(process)
    assert time.monotonic() - interrupted < 10
    assert (done.returncode, "lenet-sync run=" in done.stderr) == (130, True), done.stderr
    proxy.set("pass")
    assert main(program="sync").returncode == 0
    (run,) = runs(MlflowClient(server[1]), experiment="slow")
    assert run.info.status == "FINISHED"


def test_second_signal_ends_sweep_while_store_hangs(outputs, proxy):
    line = (
        "-m",
        *SMALL,
        "num_epoch=100000",
        "seed=0,1",
        "sweep.workers=1",
        "tracking.experiment=stops",
    )
    process = start(*line, f"tracking.uri={proxy.address}", outputs=outputs, env=PATIENT)
    until(lambda: list((outputs / "runs").glob("*/history.json")), process)
    proxy.set("hang")
    proxy.wait_for_requests(1)
    process.send_signal(signal.SIGINT)
    until(lambda: list((outputs / "runs").glob("*/record.json")), process)
    process.send_signal(signal.SIGINT)
    assert end(process).returncode == 130
    (record,) = (outputs / "runs").glob("*/record.json")
    assert RunFolder(record.parent).record().outcome == "killed"


# CI runs the test of a sweep whose store fails halfway, and tests of single faults (test_away.py).
@pytest.mark.by_hand
def test_random_faults_leave_undisturbed_content(
    main, outputs, server, proxy, undisturbed, monkeypatch, tmp_path
):
    """Two runs are uploaded repeatedly at random epochs, while requests fail, the process restarts,
    and backups replace the database."""
    database = server[0] / "server.db"
    experiment = "any"
    line = (
        *LINE,
        "seed=1,2",
        f"tracking.uri=http://127.0.0.1:{free_port()}",
        f"tracking.experiment={experiment}",
    )
    assert main("-m", "hydra/launcher=basic", *line).returncode == 0
    folders = [RunFolder(path) for path in sorted((outputs / "runs").iterdir())]
    whole = [contents(folder) for folder in folders]
    tracking = compose(
        [f"tracking.uri={proxy.address}", f"tracking.experiment={experiment}"]
    ).tracking
    draw = random.Random(18)
    proxy.choose = lambda: draw.choices(["pass", *FAULTS], [70, 2, 4, 0.5, 1, 1, 1])[0]
    backups = [tmp_path / "0.db"]
    copied(database, backups[0])
    with monkeypatch.context() as patch:
        patch.setenv(*HASTY)
        connection = StoreConnection(tracking, outputs, CallLimit())
        for _ in range(10):
            step = draw.choices(["deliver", "restart", "back up", "restore"], [12, 2, 2, 1])[0]
            if step == "deliver":
                folder, content_of = draw.choice([*zip(folders, whole, strict=True)])
                put_back(folder, content_of)
                epochs = draw.randint(0, 3)
                if epochs < 3:
                    cut(folder, epochs)
                export = export_model if epochs == 3 and draw.random() < 0.3 else None
                send_run(connection, folder, RunUpload(export=export), last=True)
            elif step == "restart":
                connection = StoreConnection(tracking, outputs, CallLimit())
            elif step == "back up":
                backups.append(tmp_path / f"{len(backups)}.db")
                copied(database, backups[-1])
            else:
                copied(draw.choice(backups), database)
    for folder, content_of in zip(folders, whole, strict=True):
        put_back(folder, content_of)
    proxy.choose = None
    store, expected = MlflowClient(server[1]), undisturbed(experiment)
    for backup in (None, backups[0], backups[-1]):  # finally without concurrent writes
        if backup is not None:
            copied(backup, database)
        succeeded(main(f"tracking.uri={proxy.address}", program="sync"))
        assert differences(content(store, experiment), expected) == [], backup
        assert well_crowned(store)
