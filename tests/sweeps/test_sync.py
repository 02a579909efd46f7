"""lenet-sync uploads everything that the store lacks, exactly once."""

from __future__ import annotations

import re
import shutil
import signal
from pathlib import Path

import pytest
from mlflow.entities import Run

from tests.tools.commands import SMALL, Done, end, free_port, refused, start, succeeded
from tests.tools.stores import client, models, runs
from tests.tools.waiting import WAITS, wait_until_left, waiting

LINE = (*SMALL, "dataset.train_size=320", "num_epoch=1", "num_threads=1", "tracking.plots=false")
NOTHING = "uploaded: nothing\nmissing: nothing\n"


def upload_counts(done: Done) -> tuple[list[int], ...]:
    """Return the nonzero numbers of runs, models and parent runs that were uploaded, and that are
    missing.
    """
    uploaded, missing = done.stdout.splitlines()[-2:]
    return tuple([int(n) for n in re.findall(r"\d+", line)] for line in (uploaded, missing))


def lenet_sync(*arguments: str, outputs: Path, **environment: str) -> Done:
    return end(start(*arguments, outputs=outputs, program="sync", env=environment))


@pytest.mark.slow(seconds=5)
def test_results_lost_by_store_are_uploaded_again(main, ready, empty_store, tmp_path, monkeypatch):
    line = (*LINE, "tracking.models=all")
    assert main("-m", "hydra/launcher=basic", *line, "seed=1,2").returncode == 0
    assert main(*line, "seed=3").returncode == 0
    assert main(program="sync").stdout == NOTHING
    store = client(ready)
    runs_by_seed = {run.data.params["seed"]: run for run in runs(store)}
    (parent,) = runs(store, "sweep")

    first = runs_by_seed["1"]
    store.delete_run(first.info.run_id)
    sync_of_run = main(f"run={first.data.tags['run_folder'][:6]}", program="sync")
    assert upload_counts(sync_of_run) == ([1, 1], []), sync_of_run.stderr

    store.delete_run(parent.info.run_id)
    store.delete_run(runs_by_seed["3"].info.run_id)
    done = succeeded(main(program="sync"))
    assert upload_counts(done) == ([3, 1, 1], [])
    (new_parent,) = runs(store, "sweep")
    assert new_parent.info.run_id != parent.info.run_id
    last_sweeps = {run.data.tags.get("sweeps", "").rpartition(",")[2] for run in runs(store)}
    assert last_sweeps == {"", new_parent.info.run_id}
    assert main(program="sync").stdout == NOTHING

    moved = Path(shutil.move(ready, tmp_path / "moved"))
    shutil.rmtree(moved / "mlartifacts")
    shutil.copy(empty_store / "mlflow.db", moved / "mlflow.db")
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(moved))
    done = main(program="sync")
    assert upload_counts(done) == ([3, 3, 1], []), done.stderr
    assert len(runs(client(moved))) == 3
    assert len(models(client(moved))) == 3


@pytest.mark.slow(seconds=6)
@pytest.mark.parametrize(
    "arguments", [("-m", *WAITS, "seed=0,1", "sweep.workers=1"), WAITS], ids=["sweep", "run"]
)
def test_sync_skips_running_commands_and_closes_killed_commands(ready, tmp_path, arguments):
    with waiting(*arguments, outputs=ready, tmp_path=tmp_path) as process:
        left_alone = lenet_sync(outputs=ready)
        assert left_alone.returncode == 0
        assert re.fullmatch(rf".*: 1\n{NOTHING}", left_alone.stdout)
        process.send_signal(signal.SIGKILL)
        process.wait()
    (folder,) = (ready / "runs").iterdir()
    wait_until_left(folder)

    done = succeeded(lenet_sync(outputs=ready))

    assert done.stdout.splitlines()[-1] == "missing: nothing"
    uploaded = runs(client(ready))
    if "-m" in arguments:
        uploaded += runs(client(ready), "sweep")
    assert {run.info.status for run in uploaded} == {"KILLED"}
    assert {run.data.tags["outcome"] for run in uploaded} == {"killed"}
    assert lenet_sync(outputs=ready).stdout == NOTHING


def test_sync_uploads_only_best_model_even_run_by_run(main, ready):
    away = f"tracking.uri=http://127.0.0.1:{free_port()}"
    line = ("-m", "hydra/launcher=basic", *LINE, "seed=1,2", "tracking.models=best")
    succeeded(main(*line, away))
    here = f"tracking.uri={client(ready).tracking_uri}"

    for folder in (ready / "runs").iterdir():
        sync_of_run = succeeded(main(f"run={folder.name}", here, program="sync"))
        assert upload_counts(sync_of_run) == ([1], []), sync_of_run.stderr
    assert upload_counts(main("sweep=last", here, program="sync")) == ([2, 1, 1], [])

    (parent,) = runs(client(ready), "sweep")
    (model,) = models(client(ready))
    best = max(runs(client(ready)), key=lambda run: run.data.metrics["best_val_accuracy"])
    assert model.source_run_id == best.info.run_id
    assert {run.data.tags["sweeps"] for run in runs(client(ready))} == {parent.info.run_id}
    assert main(here, program="sync").stdout == NOTHING

    client(ready).delete_run(best.info.run_id)
    sync_of_run = main(f"run={best.data.tags['run_folder']}", here, program="sync")
    assert upload_counts(sync_of_run)[0] == [1]
    assert {run.data.tags["sweeps"] for run in runs(client(ready))} == {parent.info.run_id}
    assert upload_counts(main(here, program="sync")) == ([1], [])


@pytest.mark.slow(seconds=2)
def test_run_stays_in_its_sweeps_if_it_or_a_sweep_is_deleted_in_mlflow(main, ready):
    line = ("-m", "hydra/launcher=basic", *LINE, "tracking.models=none")
    assert main(*line, "seed=1,2").returncode == 0
    assert main(*line, "seed=1,3").returncode == 0
    store = client(ready)
    shared = run_with_seed_1(ready)
    first, second = shared.data.tags["sweeps"].split(",")

    store.delete_run(shared.info.run_id)
    assert main(f"run={shared.data.tags['run_folder']}", program="sync").returncode == 0
    uploaded = run_with_seed_1(ready)
    assert uploaded.data.tags["sweeps"].split(",") == [first, second]

    store.delete_run(first)
    store.delete_run(uploaded.info.run_id)
    assert main(program="sync").returncode == 0
    uploaded = run_with_seed_1(ready)
    assert uploaded.data.tags["mlflow.parentRunId"] == second
    sweeps = {sweep.info.run_id for sweep in runs(store, "sweep")}
    assert len(sweeps) == 2
    assert first not in sweeps
    assert set(uploaded.data.tags["sweeps"].split(",")) == sweeps


def test_runs_are_nested_under_new_mlflow_run_of_deleted_sweep(main, ready):
    line = ("-m", "hydra/launcher=basic", *LINE, "tracking.models=none", "seed=1,2")
    assert main(*line).returncode == 0
    store = client(ready)
    (deleted,) = runs(store, "sweep")
    store.delete_run(deleted.info.run_id)

    assert main(program="sync").returncode == 0

    (sweep,) = runs(store, "sweep")
    tags = [run.data.tags for run in runs(store)]
    assert [run["sweeps"] for run in tags] == [sweep.info.run_id] * 2
    assert [run["mlflow.parentRunId"] for run in tags] == [sweep.info.run_id] * 2


def run_with_seed_1(outputs: Path) -> Run:
    """Return the MLflow run of seed 1."""
    (run,) = [run for run in runs(client(outputs)) if run.data.params["seed"] == "1"]
    return run


def test_rerun_uploads_run_and_model_that_were_deleted_in_mlflow(main, ready):
    assert main(*LINE).returncode == 0
    store = client(ready)
    (deleted,) = runs(store)
    store.delete_run(deleted.info.run_id)

    assert main(*LINE).returncode == 0

    (uploaded,) = runs(store)
    assert uploaded.info.run_id != deleted.info.run_id
    (output,) = uploaded.outputs.model_outputs
    assert store.get_logged_model(output.model_id).source_run_id == uploaded.info.run_id


def test_mistyped_store_causes_no_wait(main, ready):
    mistyped = f"tracking.uri=http://127.0.0.1:{free_port()}"
    line = ("-m", "hydra/launcher=basic", *LINE, "seed=0,1", "tracking.models=none")

    succeeded(main(*line, mistyped))
    failed_sync = main(program="sync")
    assert failed_sync.returncode == 1
    assert upload_counts(failed_sync)[0] == []

    succeeded(main(*line))
    assert main(program="sync").stdout == NOTHING
    assert len(runs(client(ready))) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sweep=last"], "did you mean sweep=?"),
        (["sweep=last", "run=abcd"], "sweep= and run= "),
        (["sweep=last"], "sweep=last: "),
        (["run=abcd"], "abcd: "),
        (["tracking.uri=ftp://x"], "tracking.uri=ftp://x: "),
        (["tracking.uri=sqlite:////etc/passwd"], "tracking.uri=sqlite:////etc/passwd: "),
    ],
)
def test_invalid_request_gives_one_line_error(main, outputs, arguments, message):
    refused(main(*arguments, program="sync"), message, program="sync")
    assert not outputs.exists()


def test_sync_without_outputs_creates_no_folder(main, outputs):
    done = succeeded(main(program="sync"))
    assert done.stdout == NOTHING
    assert not outputs.exists()
