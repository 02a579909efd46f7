"""Which store runs go to, and what happens where it can't be used."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from lenet_exp.addresses import SQLITE, hide_password, store_uri
from lenet_exp.api import compose
from lenet_exp.errors import StoreError
from lenet_exp.tracking.store import StoreAway, connect, open_store
from tests.commands import SECRET, SMALL, end, free_port, lenet_train, start
from tests.stores import client, runs

QUICK = (*SMALL, "num_epoch=1", "tracking.plots=false", "tracking.models=none")
OLD_SCHEMA = "451aebb31d03"  # MLflow 1.1's first


def set_schema(database: Path, revision: str) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))


def test_by_default_it_is_a_file_in_the_outputs_folder_with_artifacts_beside_it(ready):
    store = open_store(compose().tracking)
    assert store.uri == f"{SQLITE}{ready / 'mlflow.db'}"
    location = store.client.get_experiment(store.experiment_id).artifact_location
    assert location == (ready / "mlartifacts" / "lenet_exp").as_uri()


def test_a_relative_outputs_folder_becomes_absolute(tmp_path, monkeypatch, empty_store):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LENET_EXP_OUTPUTS", "here")
    shutil.copytree(empty_store, "here")
    assert store_uri(compose().tracking.uri) == f"{SQLITE}{tmp_path}/here/mlflow.db"


def test_the_flag_wins_over_the_environment_and_that_over_the_default(ready, monkeypatch):
    assert store_uri(compose().tracking.uri) == f"{SQLITE}{ready / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5001")
    assert store_uri(compose().tracking.uri) == "http://127.0.0.1:5001"
    assert store_uri(compose(["tracking.uri=http://127.0.0.1:5002"]).tracking.uri) == "http://127.0.0.1:5002"


def test_runs_really_go_where_the_environment_or_the_flag_says(ready, tmp_path, empty_store):
    places = {name: Path(shutil.copytree(empty_store, tmp_path / name)) for name in ("environment", "flag")}
    uris = {name: f"{SQLITE}{place / 'mlflow.db'}" for name, place in places.items()}
    by_environment = lenet_train(*QUICK, outputs=ready, MLFLOW_TRACKING_URI=uris["environment"])
    by_flag = lenet_train(
        *QUICK, "seed=1", f"tracking.uri={uris['flag']}", outputs=ready, MLFLOW_TRACKING_URI=uris["environment"]
    )
    assert (by_environment.returncode, by_flag.returncode) == (0, 0)
    assert [run.data.params["seed"] for run in runs(client(places["environment"]))] == ["0"]
    assert [run.data.params["seed"] for run in runs(client(places["flag"]))] == ["1"]
    assert client(ready).get_experiment_by_name("lenet_exp") is None
    assert uris["flag"] in by_flag.stdout


@pytest.mark.parametrize("revision", [OLD_SCHEMA, "0123456789ab"], ids=["an older MLflow", "an unknown MLflow"])
def test_a_database_of_another_mlflow_is_one_line_and_nothing_is_trained(ready, revision):
    set_schema(ready / "mlflow.db", revision)
    for arguments in (QUICK, ("-m", *QUICK, "seed=0,1")):
        done = lenet_train(*arguments, outputs=ready)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"lenet-train: tracking.uri={SQLITE}{ready / 'mlflow.db'}: made by")
        assert done.stdout == ""
        assert not (ready / "runs").exists()
        assert not (ready / "sweeps").exists()


def test_an_older_database_is_answered_with_the_command_that_upgrades_it(ready):
    set_schema(ready / "mlflow.db", OLD_SCHEMA)
    with pytest.raises(StoreError, match=f"back it up, then run: mlflow db upgrade {SQLITE}{ready / 'mlflow.db'}$"):
        open_store(compose().tracking)


@pytest.mark.parametrize("name", ["mlflow.db", ".mlflow.db.lock"])
def test_a_pipe_where_a_file_of_the_store_should_be_blocks_nobody(outputs, name):
    outputs.mkdir()
    os.mkfifo(outputs / name)
    for opened in (lambda: open_store(compose().tracking), lambda: connect(store_uri(None))):
        with pytest.raises((StoreAway, StoreError), match=r"not a regular file|no such MLflow database"):
            opened()


def test_a_deleted_experiment_is_one_line(ready):
    store = open_store(compose(["tracking.experiment=gone"]).tracking)
    store.client.delete_experiment(store.experiment_id)
    done = lenet_train(*QUICK, "tracking.experiment=gone", outputs=ready)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"mlflow experiments restore --experiment-id {store.experiment_id}" in line


def test_the_experiment_is_another_with_its_own_artifacts(ready):
    store = open_store(compose(["tracking.experiment=with space/and slash"]).tracking)
    assert store.experiment == "with space/and slash"
    location = store.client.get_experiment(store.experiment_id).artifact_location
    assert location == (ready / "mlartifacts" / "with_space_and_slash").as_uri()


@pytest.mark.slow(seconds=18)
def test_eight_first_starts_at_once(tmp_path):
    outputs = tmp_path / "outputs"
    started = [start(*QUICK, f"seed={seed}", "num_threads=1", outputs=outputs) for seed in range(8)]
    for done in map(end, started):
        assert done.returncode == 0, done.stderr
        assert "can't be written" not in done.stderr
    found = runs(client(outputs))
    assert sorted(run.data.params["seed"] for run in found) == [str(seed) for seed in range(8)]
    assert {run.info.status for run in found} == {"FINISHED"}
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]


@pytest.mark.slow(seconds=9)
def test_the_same_run_started_twice_at_once_is_trained_once(tmp_path, empty_store):
    outputs = Path(shutil.copytree(empty_store, tmp_path / "outputs"))
    started = [start(*SMALL, "num_epoch=20", "tracking.plots=false", "num_threads=1", outputs=outputs) for _ in "ab"]
    both = [end(process) for process in started]
    assert [done.returncode for done in both] == [0, 0], both
    assert sum("trained before" in done.stdout for done in both) == 1
    assert len(runs(client(outputs))) == 1


@pytest.mark.parametrize("arguments", [QUICK, ("-m", *QUICK, "seed=0,1")], ids=["run", "sweep"])
def test_where_nothing_answers_training_goes_on_with_one_warning(tmp_path, arguments):
    address = f"http://127.0.0.1:{free_port()}"
    done = lenet_train(*arguments, f"tracking.uri={address}", outputs=tmp_path)
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if "can't be written" in line]
    assert len(warnings) == 1, done.stderr
    assert warnings[0].startswith(f"tracking.uri={address}: can't be written")
    assert "Traceback" not in done.stderr
    assert len(list((tmp_path / "runs").glob("*/record.json"))) == (2 if "-m" in arguments else 1)


def test_a_password_is_nowhere_to_be_read_when_the_store_is_away(tmp_path):
    address = f"http://someone:{SECRET}@127.0.0.1:{free_port()}"
    for arguments in (QUICK, ("-m", *QUICK, "seed=0,1")):
        done = lenet_train(*arguments, f"tracking.uri={address}", outputs=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "someone:***@127.0.0.1" in done.stderr
        assert SECRET not in done.stdout + done.stderr
    assert leaks(tmp_path) == []


def leaks(folder: Path) -> list[Path]:
    """Files with the password in them."""
    return [path for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://me:pw@host:5000", "http://me:***@host:5000"),
        ("http://me:p@w@host/x", "http://me:***@host/x"),
        ("http://:pw@host", "http://:***@host"),
        ("postgresql+psycopg2://me:p%2Fw@host/db", "postgresql+psycopg2://me:***@host/db"),
        ("postgresql://host/db?user=me&password=pw&x=1", "postgresql://host/db?user=me&password=***&x=1"),
        ("tracking.uri=http://me:pw@a seed=1,2 b@c", "tracking.uri=http://me:***@a seed=1,2 b@c"),
        (r"tracking.uri=http\://me\:pw@127.0.0.1\:9", r"tracking.uri=http\://me:***@127.0.0.1\:9"),
        (
            "['a=http://me:pw@a', 'b=http://x:pw2@b,http://y:pw@c']",
            "['a=http://me:***@a', 'b=http://x:***@b,http://y:***@c']",
        ),
        ("http://host:5000/a@b", "http://host:5000/a@b"),
        ("sqlite:////home/me/a:b/mlflow.db", "sqlite:////home/me/a:b/mlflow.db"),
        ("http://me:p/w@host", "http://me:***@host"),
        ("http://token@host", "http://token@host"),
    ],
)
def test_hide_password(uri, shown):
    assert hide_password(uri) == shown
