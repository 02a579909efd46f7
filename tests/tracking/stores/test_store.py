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
    store_of_environment = Path(shutil.copytree(empty_store, tmp_path / "environment"))
    store_of_flag = Path(shutil.copytree(empty_store, tmp_path / "flag"))
    environment = {"MLFLOW_TRACKING_URI": f"{SQLITE}{store_of_environment / 'mlflow.db'}"}
    uri = f"{SQLITE}{store_of_flag / 'mlflow.db'}"

    succeeded(lenet_train(*QUICK, outputs=ready, **environment))
    flags = ("seed=1", f"tracking.uri={uri}")
    by_flag = succeeded(lenet_train(*QUICK, *flags, outputs=ready, **environment))

    (run,) = runs(client(store_of_environment))
    assert run.data.params["seed"] == "0"
    (run,) = runs(client(store_of_flag))
    assert run.data.params["seed"] == "1"
    assert client(ready).get_experiment_by_name("lenet_exp") is None
    assert uri in by_flag.stdout


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
        num_missing_runs = counts(done.stderr.splitlines()[-1])[0]
        assert num_missing_runs == len(list((ready / "runs").iterdir()))
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
    logged_runs = runs(client(outputs))
    assert sorted(run.data.params["seed"] for run in logged_runs) == ["0", "1"]
    assert {run.info.status for run in logged_runs} == {"FINISHED"}
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]


def leaks(folder: Path) -> list[Path]:
    """Return the files that contain the password."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if SECRET.encode() in path.read_bytes()]


def counts(line: str) -> list[int]:
    """Return the numbers of runs, models and sweeps in a line."""
    return [int(number) for number in re.findall(r"\b(\d+) (?:run|model|sweep)", line)]


@pytest.mark.parametrize(
    ("uri", "without_password"),
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
def test_hide_password_replaces_password_in_any_address(uri, without_password):
    assert hide_password(uri) == without_password
    assert hide_password(without_password) == without_password


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
    names = set()
    for uris in SAME:
        names_of_store = {store_name(uri) for uri in uris}
        assert len(names_of_store) == 1
        names |= names_of_store
    assert len(names) == len(SAME)

    for name in names:
        assert store_name(name) == name
        assert hide_password(name) == name
        if "sqlite" not in name:
            assert not re.search(r"\b(me|pw|token)\b", name)
