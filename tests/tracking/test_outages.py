"""A server that fails in the middle, in any way, or comes back as an older backup: nothing is missing or doubled.

Behind the proxy is a real MLflow server; what it holds in the end is compared with a store that nobody disturbed.
"""

from __future__ import annotations

import itertools
import random
import shutil
import signal
import sqlite3
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lenet_exp.api import compose
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.tracking.delivery import StoreDelivery
from tests.commands import SMALL, end, free_port, mlflow_server, start
from tests.faulty_proxy import faulty_proxy
from tests.stores import champions, content, differences, points, runs
from tests.tracking.test_deliver import contents, cut, put_back

pytestmark = pytest.mark.slow(seconds=7)

LINE = (*SMALL, "num_epoch=3", "num_threads=1", "tracking.plots=false")
FAULTS = ("drop", "half", "hang", "hang_body", "429", "500", "503")
PATIENT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "600"}  # so that whoever waits for the store does so for ever


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    with mlflow_server(folder, free_port()) as address:
        yield folder, address


@pytest.fixture
def proxy(server, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")  # the machine may be busy
    with faulty_proxy(server[1]) as proxy:
        yield proxy


@pytest.fixture
def hasty(monkeypatch):
    """Around what is to give up soon."""

    @contextmanager
    def giving_up():
        with monkeypatch.context() as patch:
            patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
            yield

    return giving_up


@pytest.fixture
def undisturbed(main, empty_store, tmp_path):
    """What a store has of the outputs folder that nothing happened to."""

    def deliver(experiment: str) -> Counter[str]:
        other = Path(shutil.copytree(empty_store, tmp_path / "undisturbed")) / "mlflow.db"
        done = main(f"tracking.uri=sqlite:///{other}", program="sync")
        assert done.stdout.endswith("left: nothing\n"), done.stderr
        return content(MlflowClient(f"sqlite:///{other}"), experiment)

    return deliver


def copied(source: Path, target: Path) -> None:
    """One SQLite database over another, which a server has open."""
    with sqlite3.connect(source) as old, sqlite3.connect(target) as new:
        old.backup(new)


def wait_for(process, happened) -> None:
    """While the process lives."""
    while not happened():
        assert process.poll() is None
        time.sleep(0.05)


def well_crowned(store: MlflowClient) -> bool:
    """No run has two versions, and the champion is the best of them."""
    ok = True
    for champion, versions in champions(store).values():
        best = max(store.get_run(run).data.metrics["best_val_accuracy"] for run in versions)
        ok &= len(set(versions)) == len(versions)
        ok &= store.get_run(champion).data.metrics["best_val_accuracy"] == best
    return ok


@pytest.mark.parametrize("fault", ["half", "hang_writes"])
def test_a_sweep_whose_store_fails_from_its_middle_on_is_delivered_by_sync(
    main, outputs, server, proxy, hasty, undisturbed, fault
):
    count = itertools.count()
    proxy.choose = lambda: "pass" if next(count) < 15 else fault
    experiment = f"in the middle {fault}"
    line = (*LINE, "seed=1,2,3", f"tracking.uri={proxy.address}", f"tracking.experiment={experiment}")
    with hasty():
        done = main("-m", "hydra/launcher=basic", *line)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("can't be written") == 1, done.stderr
    assert "to deliver: lenet-sync sweep=" in done.stderr.splitlines()[-1]
    proxy.choose = None
    assert main(program="sync").stdout.endswith("left: nothing\n")
    assert differences(content(MlflowClient(server[1]), experiment), undisturbed(experiment)) == []
    assert well_crowned(MlflowClient(server[1]))


def test_no_epoch_waits_for_a_store_that_hangs_and_the_end_delivers_what_it_did_not_take(outputs, server, proxy):
    line = (*SMALL, "num_epoch=40", "num_threads=1", f"tracking.uri={proxy.address}", "tracking.experiment=hangs")
    process = start(*line, outputs=outputs, env=PATIENT)
    next(text for text in process.stderr if text.startswith("epoch 1/"))
    proxy.set("hang")
    next(text for text in process.stderr if text.startswith("epoch 40/"))
    proxy.set("pass")
    done = end(process)
    assert done.returncode == 0, done.stderr
    (run,) = runs(MlflowClient(server[1]), experiment="hangs")
    assert run.info.status == "FINISHED"
    assert [step for step, _, _ in points(MlflowClient(server[1]), run.info.run_id)["val_loss"]] == [*range(1, 41)]


def test_a_second_signal_ends_a_run_whose_store_hangs(outputs, proxy):
    line = (*SMALL, "num_epoch=1000", "num_threads=1", f"tracking.uri={proxy.address}", "tracking.experiment=signals")
    process = start(*line, outputs=outputs, env=PATIENT)
    next(text for text in process.stderr if text.startswith("epoch 1/"))
    proxy.set("hang")
    proxy.wait_for_requests(1)
    (folder,) = (outputs / "runs").iterdir()
    process.send_signal(signal.SIGINT)
    wait_for(process, (folder / "record.json").exists)
    process.send_signal(signal.SIGINT)
    assert end(process).returncode == 130
    assert RunFolder(folder).record().outcome == "killed"


def test_a_request_to_stop_is_heard_while_the_store_hangs(outputs, proxy):
    line = ("-m", *SMALL, "num_epoch=100000", "seed=0,1", "sweep.workers=1", "tracking.experiment=stops")
    process = start(*line, f"tracking.uri={proxy.address}", outputs=outputs, env=PATIENT)
    wait_for(process, lambda: list((outputs / "runs").glob("*/history.json")))
    proxy.set("hang")
    proxy.wait_for_requests(1)
    stop = start("stop", "sweep=last", outputs=outputs, program="sweep")
    wait_for(process, lambda: list((outputs / "runs").glob("*/record.json")))
    proxy.set("pass")
    assert end(process).returncode == 143
    assert end(stop).returncode == 0


def test_a_server_that_has_too_much_to_do_is_left_alone_for_as_long_as_it_says(main, outputs, server, proxy):
    assert main(*LINE, f"tracking.uri=http://127.0.0.1:{free_port()}", "tracking.experiment=busy").returncode == 0
    (folder,) = (RunFolder(path) for path in (outputs / "runs").iterdir())
    tracking = compose([f"tracking.uri={proxy.address}", "tracking.experiment=busy"]).tracking
    deliveries = [StoreDelivery(tracking) for _ in range(2)]
    proxy.set("429")
    for delivery, seconds in zip(deliveries, ("2", "3600"), strict=True):
        proxy.retry_after, before = seconds, len(proxy.asked)
        delivery.live(folder)
        asked = len(proxy.asked)
        assert asked - before == 2  # what was refused, and the question for how long
        for _ in range(3):
            delivery._last.clear()
            delivery.live(folder)
        assert len(proxy.asked) == asked
    proxy.set("pass")
    asked = len(proxy.asked)
    assert deliveries[1].send(folder) is None
    assert len(proxy.asked) == asked
    assert deliveries[0].send(folder) is not None  # two seconds are waited for
    (run,) = runs(MlflowClient(server[1]), experiment="busy")
    assert run.info.status == "FINISHED"


def test_a_sweep_whose_store_is_put_back_in_its_middle_delivers_all_of_it_once_more(
    main, outputs, server, proxy, undisturbed, tmp_path
):
    """Nothing fails meanwhile, so its process is not told; and the backup knows neither sweep nor experiment."""
    database, backup = server[0] / "server.db", tmp_path / "backup.db"
    copied(database, backup)
    experiment = "put back"
    line = (*LINE, "seed=1,2", f"tracking.uri={proxy.address}", f"tracking.experiment={experiment}")
    store = MlflowClient(server[1])

    def restore() -> str:
        if proxy.asked[-1].endswith("/runs/update") and not restored:
            found = store.get_experiment_by_name(experiment)
            if found is not None and any(run.info.status == "FINISHED" for run in runs(store, "run", experiment)):
                copied(backup, database)
                restored.append(True)
        return "pass"

    restored: list[bool] = []
    proxy.choose = restore
    done = main("-m", "hydra/launcher=basic", *line)
    assert (done.returncode, restored) == (0, [True]), done.stderr
    assert "not in MLflow" not in done.stderr
    assert differences(content(store, experiment), undisturbed(experiment)) == []
    assert well_crowned(store)


def test_sync_and_the_same_line_deliver_to_an_older_backup(main, outputs, server, proxy, undisturbed, tmp_path):
    database = server[0] / "server.db"
    experiment = "older"
    line = (*LINE, "seed=1,2", f"tracking.uri={proxy.address}", f"tracking.experiment={experiment}")
    store = MlflowClient(server[1])
    taken, backups = itertools.count(), []

    def back_up() -> str:
        if next(taken) % 5 == 0:
            backups.append(tmp_path / f"{len(backups)}.db")
            copied(database, backups[-1])
        return "pass"

    proxy.choose = back_up
    assert main("-m", "hydra/launcher=basic", *line).returncode == 0
    whole = content(store, experiment)
    assert differences(whole, undisturbed(experiment)) == []
    assert len(backups) > 8
    for number, backup in enumerate(backups[:: len(backups) // 3]):
        copied(backup, database)
        done = main(f"tracking.uri={proxy.address}", program="sync")
        assert (done.returncode, done.stdout.endswith("left: nothing\n")) == (0, True), done.stderr
        assert differences(content(store, experiment), whole) == [], number
        assert well_crowned(store)


def test_any_faults_in_any_order_leave_what_an_undisturbed_delivery_would(
    main, outputs, server, proxy, hasty, undisturbed, tmp_path
):
    """Two runs are delivered again and again, at any number of epochs, while every tenth request fails, the process
    begins anew, and the database is put back."""
    database = server[0] / "server.db"
    experiment = "any"
    line = (*LINE, "seed=1,2", f"tracking.uri=http://127.0.0.1:{free_port()}", f"tracking.experiment={experiment}")
    assert main("-m", "hydra/launcher=basic", *line).returncode == 0
    folders = [RunFolder(path) for path in sorted((outputs / "runs").iterdir())]
    whole = [contents(folder) for folder in folders]
    tracking = compose([f"tracking.uri={proxy.address}", f"tracking.experiment={experiment}"]).tracking
    draw = random.Random(18)
    proxy.choose = lambda: draw.choices(["pass", *FAULTS], [70, 2, 4, 0.3, 0.3, 1, 1, 1])[0]
    backups = [tmp_path / "0.db"]
    copied(database, backups[0])
    with hasty():
        delivery = StoreDelivery(tracking, in_sweep=True)
        for _ in range(50):
            what = draw.choices(["deliver", "restart", "back up", "restore"], [12, 2, 2, 1])[0]
            if what == "deliver":
                folder, content_of = draw.choice([*zip(folders, whole, strict=True)])
                put_back(folder, content_of)
                epochs = draw.randint(0, 4)
                if epochs < 4:
                    cut(folder, epochs)
                delivery.send(folder, model=epochs == 4 and draw.random() < 0.3, at_once=True)
            elif what == "restart":
                delivery = StoreDelivery(tracking, in_sweep=True)
            elif what == "back up":
                backups.append(tmp_path / f"{len(backups)}.db")
                copied(database, backups[-1])
            else:
                copied(draw.choice(backups), database)
    for folder, content_of in zip(folders, whole, strict=True):
        put_back(folder, content_of)
    proxy.choose = None
    done = main(f"tracking.uri={proxy.address}", program="sync")
    assert done.stdout.endswith("left: nothing\n"), done.stderr
    store = MlflowClient(server[1])
    assert differences(content(store, experiment), undisturbed(experiment)) == []
    assert well_crowned(store)
