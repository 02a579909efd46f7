"""The store that runs use, and errors if it cannot be used."""

from __future__ import annotations

import re
import shutil
import sqlite3
from pathlib import Path

import pytest

from lenet_exp.addresses import SQLITE, hide_password, store_name
from lenet_exp.tracking.stores.store import open_store
from tests.tools.commands import SECRET, SMALL, end, lenet_train, start, succeeded
from tests.tools.configs import compose
from tests.tools.stores import client, runs

QUICK = (*SMALL, "num_epoch=1", "tracking.plots=false", "tracking.models=none")


def test_default_store_is_database_in_outputs_folder(ready):
    store = open_store(compose().tracking)
    assert store.uri == f"{SQLITE}{ready / 'mlflow.db'}"
    location = store.client.get_experiment(store.experiment_id).artifact_location
    assert location == (ready / "mlartifacts" / "lenet_exp").as_uri()


def test_environment_variable_or_flag_selects_store(ready, tmp_path, empty_store):
    places = {
        name: Path(shutil.copytree(empty_store, tmp_path / name))
        for name in ("environment", "flag")
    }
    uris = {name: f"{SQLITE}{place / 'mlflow.db'}" for name, place in places.items()}
    by_environment = lenet_train(*QUICK, outputs=ready, MLFLOW_TRACKING_URI=uris["environment"])
    flag = f"tracking.uri={uris['flag']}"
    by_flag = lenet_train(
        *QUICK, "seed=1", flag, outputs=ready, MLFLOW_TRACKING_URI=uris["environment"]
    )
    assert (by_environment.returncode, by_flag.returncode) == (0, 0)
    assert [run.data.params["seed"] for run in runs(client(places["environment"]))] == ["0"]
    assert [run.data.params["seed"] for run in runs(client(places["flag"]))] == ["1"]
    assert client(ready).get_experiment_by_name("lenet_exp") is None
    assert uris["flag"] in by_flag.stdout


@pytest.mark.parametrize(
    "revision", ["451aebb31d03", "0123456789ab"], ids=["an older MLflow", "an unknown MLflow"]
)
def test_database_of_another_mlflow_version_gives_one_warning(ready, revision):
    with sqlite3.connect(ready / "mlflow.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    uri = f"{SQLITE}{ready / 'mlflow.db'}"
    for arguments in (QUICK, ("-m", *QUICK, "seed=0,1")):
        done = succeeded(lenet_train(*arguments, outputs=ready))
        (line,) = [line for line in done.stderr.splitlines() if f"mlflow db upgrade {uri}" in line]
        assert line.startswith(f"tracking.uri={uri}: ")
        assert counts(done.stderr.splitlines()[-1])[0] == len(list((ready / "runs").iterdir()))
        shutil.rmtree(ready / "runs")


def test_deleted_experiment_gives_one_warning_with_restore_command(ready):
    store = open_store(compose(["tracking.experiment=gone"]).tracking)
    store.client.delete_experiment(store.experiment_id)
    done = succeeded(lenet_train(*QUICK, "tracking.experiment=gone", outputs=ready))
    assert f"mlflow experiments restore --experiment-id {store.experiment_id}" in done.stderr
    assert counts(done.stderr.splitlines()[-1]) == [1]


@pytest.mark.slow(seconds=3)
def test_concurrent_first_runs_create_store_once(tmp_path):
    outputs = tmp_path / "outputs"
    started = [start(*QUICK, f"seed={seed}", "num_threads=1", outputs=outputs) for seed in range(2)]
    for process in started:
        assert "tracking.uri" not in succeeded(end(process)).stderr
    found = runs(client(outputs))
    assert sorted(run.data.params["seed"] for run in found) == ["0", "1"]
    assert {run.info.status for run in found} == {"FINISHED"}
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]


def leaks(folder: Path) -> list[Path]:
    """Return the files that contain the password."""
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and SECRET.encode() in path.read_bytes()
    ]


def counts(line: str) -> list[int]:
    """Return the numbers of runs, models and sweeps in a line."""
    return [int(number) for number in re.findall(r"\b(\d+) (?:run|model|sweep)", line)]


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://me:pw@host:5000", "http://***@host:5000"),
        ("http://token@host:5000/x", "http://***@host:5000/x"),
        (
            "lenet-train 'tracking.uri=http://host/?token=a&b=' seed=1",
            "lenet-train 'tracking.uri=http://host/?***' seed=1",
        ),
        ("with url: /api?token=pw (Caused by x)", "with url: /api?*** (Caused by x)"),
        ("is it http://? http://host/#/runs?a=b", "is it http://? http://host/#/runs?a=b"),
        ("postgresql+psycopg2://me:p%2Fw@host/db", "postgresql+psycopg2://***@host/db"),
        ("postgresql://host/db?user=me&password=pw&x=1", "postgresql://host/db?***"),
        ("postgresql://host/db?password=pw: why", "postgresql://host/db?***: why"),
        (r"tracking.uri=http\://me\:pw@127.0.0.1\:9", r"tracking.uri=http\://***@127.0.0.1\:9"),
        (
            "['a=http://me:pw@a', 'b=http://x:pw2@b,http://y:pw@c']",
            "['a=http://***@a', 'b=http://***@b,http://***@c']",
        ),
        ("http://host:5000/a@b", "http://host:5000/a@b"),
        ("sqlite:////home/me/a:b/mlflow.db", "sqlite:////home/me/a:b/mlflow.db"),
    ],
)
def test_hide_password_replaces_password_in_any_address(uri, shown):
    assert hide_password(uri) == hide_password(shown) == shown


SAME = (
    (
        "http://host:5000",
        "http://token@host:5000/",
        "http://me:pw@host:5000",
        "http://me:***@host:5000",
        "http://host:5000?token=a",
    ),
    ("http://host:5001",),
    (
        "postgresql://***@host/db",
        "postgresql://me:pw@host/db?password=pw",
        "postgresql://you:@host/db",
        "postgresql://host/db?user=me",
        "postgresql://***@host/db#1a2b3c4d",  # a name that release 0.2 recorded
    ),
    ("postgresql://host/db",),
    ("postgresql+psycopg://***@host/db", "postgresql+psycopg://me@host/db"),
    ("mssql+pyodbc://***@/#1a2b3c4d", "mssql+pyodbc:///?odbc_connect=UID%3Dme"),
    ("sqlite:////home/me/a:b@c/mlflow.db", "sqlite:////home/me/a:b@c/mlflow.db?timeout=3"),
)


def test_store_name_ignores_credentials_and_differs_by_store():
    names = [{store_name(uri) for uri in uris} for uris in SAME]
    assert [len(group) for group in names] == [1] * len(SAME)
    assert len(set.union(*names)) == len(SAME)
    for name in set.union(*names):
        assert (store_name(name), hide_password(name)) == (name, name)
    assert not any(
        re.search(r"\b(me|pw|token)\b", n) for n in set.union(*names) if "sqlite" not in n
    )
