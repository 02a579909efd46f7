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

    def upload(experiment: str) -> Counter[str]:
        folder = Path(shutil.copytree(empty_store, tmp_path / "undisturbed"))
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        succeeded(main(f"tracking.uri={uri}", program="sync"))
        return content(MlflowClient(uri), experiment)

    return upload


def copy_database(source: Path, target: Path) -> None:
    """Copy a SQLite database over another that a server has open."""
    with sqlite3.connect(source) as old, sqlite3.connect(target) as new:
        old.backup(new)


def check_champions(store: MlflowClient) -> None:
    """Check that no run has two versions and that the champion is the best version."""
    for champion, versions in champions(store).values():
        accuracies = {}
        for run_id in versions:
            accuracies[run_id] = store.get_run(run_id).data.metrics["best_val_accuracy"]
        assert len(accuracies) == len(versions)
        assert accuracies[champion] == max(accuracies.values())


@pytest.mark.slow(seconds=20)
def test_sync_uploads_sweep_after_store_failed_halfway(
    main, outputs, server, proxy, undisturbed, monkeypatch
):
    request_numbers = itertools.count()
    proxy.choose = lambda: "pass" if next(request_numbers) < 15 else "half"
    line = (*LINE, "seed=1,2,3", f"tracking.uri={proxy.address}", "tracking.experiment=middle")
    with monkeypatch.context() as patch:
        patch.setenv(*HASTY)
        done = succeeded(main("-m", "hydra/launcher=basic", *line))
    warning, last = [text for text in done.stderr.splitlines() if proxy.address in text]
    assert warning.startswith("tracking.uri=")
    assert "lenet-sync sweep=" in last

    proxy.choose = None
    succeeded(main(program="sync"))

    _, address = server
    store = MlflowClient(address)
    assert differences(content(store, "middle"), undisturbed("middle")) == []
    check_champions(store)


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

    _, address = server
    store = MlflowClient(address)
    (run,) = runs(store, experiment="hangs")
    assert run.info.status == "FINISHED"
    losses = points(store, run.info.run_id)["val_loss"]
    assert [step for step, _, _ in losses] == list(range(1, 41))


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
    interrupt_time = time.monotonic()
    done = end(process)
    assert time.monotonic() - interrupt_time < 10
    assert done.returncode == 130, done.stderr
    assert "lenet-sync run=" in done.stderr, done.stderr

    proxy.set("pass")
    succeeded(main(program="sync"))

    _, address = server
    (run,) = runs(MlflowClient(address), experiment="slow")
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
    (path,) = (outputs / "runs").glob("*/record.json")
    assert RunFolder(path.parent).record().outcome == "killed"


# CI runs the test of a sweep whose store fails halfway, and tests of single faults (test_away.py).
@pytest.mark.by_hand
def test_random_faults_leave_undisturbed_content(
    main, outputs, server, proxy, undisturbed, monkeypatch, tmp_path
):
    """Two runs are uploaded repeatedly at random epochs, while requests fail, the process restarts,
    and backups replace the database."""
    server_folder, address = server
    database = server_folder / "server.db"
    experiment = "any"
    unreachable = f"tracking.uri=http://127.0.0.1:{free_port()}"
    line = (*LINE, "seed=1,2", unreachable, f"tracking.experiment={experiment}")
    succeeded(main("-m", "hydra/launcher=basic", *line))
    folders = [RunFolder(path) for path in sorted((outputs / "runs").iterdir())]
    finished_files = [contents(folder) for folder in folders]
    flags = [f"tracking.uri={proxy.address}", f"tracking.experiment={experiment}"]
    tracking = compose(flags).tracking
    draw = random.Random(18)
    proxy.choose = lambda: draw.choices(["pass", *FAULTS], [70, 2, 4, 0.5, 1, 1, 1])[0]
    backups = [tmp_path / "0.db"]
    copy_database(database, backups[0])

    with monkeypatch.context() as patch:
        patch.setenv(*HASTY)
        connection = StoreConnection(tracking, outputs, CallLimit())
        for _ in range(10):
            step = draw.choices(["upload", "restart", "back up", "restore"], [12, 2, 2, 1])[0]
            if step == "upload":
                folder, files = draw.choice([*zip(folders, finished_files, strict=True)])
                put_back(folder, files)
                epochs = draw.randint(0, 3)
                export = None
                if epochs < 3:
                    cut(folder, epochs)
                elif draw.random() < 0.3:
                    export = export_model
                send_run(connection, folder, RunUpload(export=export), last=True)
            elif step == "restart":
                connection = StoreConnection(tracking, outputs, CallLimit())
            elif step == "back up":
                backups.append(tmp_path / f"{len(backups)}.db")
                copy_database(database, backups[-1])
            else:
                copy_database(draw.choice(backups), database)

    for folder, files in zip(folders, finished_files, strict=True):
        put_back(folder, files)
    proxy.choose = None
    store = MlflowClient(address)
    expected = undisturbed(experiment)
    for backup in (None, backups[0], backups[-1]):  # finally without concurrent writes
        if backup is not None:
            copy_database(backup, database)
        succeeded(main(f"tracking.uri={proxy.address}", program="sync"))
        assert differences(content(store, experiment), expected) == [], backup
        check_champions(store)
