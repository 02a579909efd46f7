"""lenet-sync: what the store has not got is delivered, once, whatever the store did meanwhile."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lenet_exp.folders.owner import owner_of
from tests.commands import SECRET, SMALL, Done, end, free_port, mlflow_server, start
from tests.servers import erring_server, silent_server
from tests.stores import client, everything, models, runs
from tests.sweeps.test_lenet_sweep import WAITS, waiting
from tests.tracking.test_store import leaks

LINE = (*SMALL, "num_epoch=1", "num_threads=1", "tracking.plots=false")
NOTHING = "delivered: nothing\nleft: nothing\n"


def lenet_sync(*arguments: str, outputs: Path, **environment: str) -> Done:
    return end(start(*arguments, outputs=outputs, program="sync", env=environment))


@pytest.mark.slow(seconds=40)
def test_a_server_that_is_away_hangs_errs_and_comes_back(tmp_path):
    port, outputs = free_port(), tmp_path / "outputs"
    address = f"http://someone:{SECRET}@127.0.0.1:{port}"
    trained = [
        start(*line, *LINE, f"tracking.uri={address}", outputs=outputs) for line in (("seed=9",), ("-m", "seed=1,2"))
    ]
    assert [end(process).returncode for process in trained] == [0, 0]
    password = {"MLFLOW_TRACKING_URI": address}
    away = lenet_sync(outputs=outputs, **password)
    with erring_server(port=port):
        errs = lenet_sync(outputs=outputs, **password)
    with silent_server(port):
        started = time.monotonic()
        hangs = lenet_sync(outputs=outputs, **password)
        assert time.monotonic() - started < 10
    without = lenet_sync(outputs=outputs)
    assert "its password was not kept; set MLFLOW_TRACKING_URI" in without.stderr
    for done in (away, errs, hangs, without):
        assert (done.returncode, done.stdout) == (
            1,
            "delivered: nothing\nleft: 3 runs, 3 models, 1 sweep's own run\n",
        ), done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr
    with mlflow_server(tmp_path / "server", port) as plain:
        one = lenet_sync("sweep=last", outputs=outputs, **password)
        assert one.stdout == "delivered: 2 runs, 2 models, 1 sweep's own run\nleft: nothing\n", one.stderr
        back = lenet_sync(outputs=outputs, **password)
        assert (back.returncode, back.stdout) == (0, "delivered: 1 run, 1 model\nleft: nothing\n"), back.stderr
        store = MlflowClient(plain)
        before = everything(store)
        (parent,) = runs(store, "sweep")
        assert [run.info.status for run in (parent, *runs(store))] == ["FINISHED"] * 4
        assert {run.data.tags.get("mlflow.parentRunId") for run in runs(store)} == {None, parent.info.run_id}
        assert parent.data.metrics["runs_finished"] == 2
        again = lenet_sync(outputs=outputs, **password)
        assert (again.returncode, again.stdout, again.stderr) == (0, NOTHING, "")
        assert everything(store) == before
    assert leaks(outputs) == []


@pytest.mark.slow(seconds=12)
def test_what_the_store_lost_is_delivered_once_more(ready, empty_store, tmp_path):
    assert end(start("-m", *LINE, "seed=1,2", outputs=ready)).returncode == 0
    assert end(start(*LINE, "seed=3", outputs=ready)).returncode == 0
    assert lenet_sync(outputs=ready).stdout == NOTHING
    store = client(ready)
    first, alone = (next(run for run in runs(store) if run.data.params["seed"] == seed) for seed in "13")
    (parent,) = runs(store, "sweep")
    store.delete_run(first.info.run_id)
    one = lenet_sync(f"run={first.data.tags['run_folder'][:6]}", outputs=ready)
    assert one.stdout == "delivered: 1 run, 1 model\nleft: nothing\n", one.stderr
    store.delete_run(parent.info.run_id)
    store.delete_run(alone.info.run_id)
    done = lenet_sync(outputs=ready)
    assert (done.returncode, done.stdout) == (0, "delivered: 3 runs, 1 model, 1 sweep's own run\nleft: nothing\n")
    (again,) = runs(store, "sweep")
    assert again.info.run_id != parent.info.run_id
    assert {run.data.tags.get("sweeps", "").rpartition(",")[2] for run in runs(store)} == {"", again.info.run_id}
    assert lenet_sync(outputs=ready).stdout == NOTHING
    moved = Path(shutil.move(ready, tmp_path / "moved"))
    shutil.rmtree(moved / "mlartifacts")
    shutil.copy(empty_store / "mlflow.db", moved / "mlflow.db")
    gone = lenet_sync(outputs=moved)
    assert gone.stdout == "delivered: 3 runs, 3 models, 1 sweep's own run\nleft: nothing\n", gone.stderr
    assert (len(runs(client(moved))), len(models(client(moved)))) == (3, 3)


@pytest.mark.slow(seconds=10)
@pytest.mark.parametrize("arguments", [("-m", *WAITS, "seed=0,1", "sweep.workers=1"), WAITS], ids=["sweep", "run"])
def test_a_living_process_delivers_itself_and_what_a_killed_one_left_is_ended(ready, tmp_path, arguments):
    with waiting(*arguments, outputs=ready, tmp_path=tmp_path) as process:
        left_alone = lenet_sync(outputs=ready)
        assert left_alone.returncode == 0
        assert left_alone.stdout == f"left to the processes that live: 1\n{NOTHING}"
        process.send_signal(signal.SIGKILL)
        process.wait()
    (folder,) = (ready / "runs").iterdir()
    deadline = time.monotonic() + 60
    while owner_of(folder) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    done = lenet_sync(outputs=ready)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "left: nothing"), done.stderr
    found = runs(client(ready)) + (runs(client(ready), "sweep") if "-m" in arguments else [])
    assert {(run.info.status, run.data.tags["outcome"]) for run in found} == {("KILLED", "killed")}
    assert lenet_sync(outputs=ready).stdout == NOTHING


def test_of_a_sweep_only_the_best_model_is_delivered_also_by_its_runs_one_by_one(main, ready):
    away = f"tracking.uri=http://127.0.0.1:{free_port()}"
    assert main("-m", "hydra/launcher=basic", *LINE, "seed=1,2", "tracking.models=best", away).returncode == 0
    here = f"tracking.uri={client(ready).tracking_uri}"
    for folder in (ready / "runs").iterdir():
        one = main(f"run={folder.name}", here, program="sync")
        assert (one.returncode, one.stdout) == (0, "delivered: 1 run\nleft: nothing\n"), one.stderr
    every = main(here, program="sync")
    assert every.stdout == "delivered: 2 runs, 1 model, 1 sweep's own run\nleft: nothing\n"
    (parent,), (model,) = runs(client(ready), "sweep"), models(client(ready))
    best = max(runs(client(ready)), key=lambda run: run.data.metrics["best_val_accuracy"])
    assert model.source_run_id == best.info.run_id
    assert {run.data.tags["sweeps"] for run in runs(client(ready))} == {parent.info.run_id}
    assert main(here, program="sync").stdout == NOTHING
    client(ready).delete_run(best.info.run_id)
    assert main(f"run={best.data.tags['run_folder']}", here, program="sync").stdout.startswith("delivered: 1 run\n")
    assert {run.data.tags["sweeps"] for run in runs(client(ready))} == {parent.info.run_id}
    assert main(here, program="sync").stdout == "delivered: 1 model\nleft: nothing\n"


def test_a_store_that_was_a_slip_of_the_pen_is_not_waited_for(main, ready):
    wrong = f"tracking.uri=http://127.0.0.1:{free_port()}"
    for line in (LINE, ("-m", "hydra/launcher=basic", *LINE, "seed=0,1")):
        assert main(*line, wrong).returncode == 0
        away = main(program="sync")
        assert (away.returncode, away.stdout.startswith("delivered: nothing\nleft: 1 run" if line is LINE else "")) == (
            1,
            True,
        )
        assert main(*line).returncode == 0
        assert (main(program="sync").stdout, len(runs(client(ready)))) == (NOTHING, 1 if line is LINE else 2)


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["--sweep=last"], "--sweep=last: allowed is sweep=, run=, tracking.uri=; did you mean sweep=?"),
        (["sweep=last", "run=abcd"], "sweep= and run=: allowed is one of them"),
        (["sweep=last"], "sweep=last: there is no sweep in {outputs}; lenet-train -m ... starts one"),
        (["run=abcd"], "abcd: no such run in {outputs}/runs; allowed is a run folder or its id"),
        (["tracking.uri=ftp://x"], "tracking.uri=ftp://x: allowed is http(s)://"),
        (["tracking.uri=sqlite:////etc/passwd"], "tracking.uri=sqlite:////etc/passwd: file is not a database"),
    ],
)
def test_a_mistake_is_one_line(main, outputs, typed, says):
    done = main(*typed, program="sync")
    assert done.returncode == 2
    assert done.stderr.startswith(f"lenet-sync: {says.format(outputs=outputs)}")
    assert (done.stderr.count("\n"), done.stdout, outputs.exists()) == (1, "", False)


def test_where_nothing_was_trained_nothing_is_left(main, outputs):
    done = main(program="sync")
    assert (done.returncode, done.stdout, outputs.exists()) == (0, NOTHING, False)
