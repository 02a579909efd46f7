"""PostgreSQL as a store, without an MLflow server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
from mlflow import MlflowClient

from lenet_exp.folders.sweep_folder import all_sweeps
from tests.browser.served import lenet_ui
from tests.tools.commands import SECRET, SMALL, end, refused, start, succeeded
from tests.tools.lab import Postgres, postgres
from tests.tools.stores import client, content, differences, everything, runs
from tests.tracking.stores.test_store import counts, leaks

ONE = (*SMALL, "num_epoch=1", "num_threads=1", "tracking.plots=false")
SWEEP = ("-m", "hydra/launcher=basic", *ONE, "seed=0,1")
RELEASE_0_2_NAME = "postgresql+psycopg://***@{}#1a2b3c4d"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Postgres]:
    """Yield a running PostgreSQL with a user `lab`, who can connect with the password `SECRET`."""
    with postgres() as started:
        started.sql(f"CREATE ROLE lab LOGIN PASSWORD '{SECRET}'")
        yield started


def new_database(cluster: Postgres, name: str) -> str:
    """Create an empty database that belongs to `lab`, and return its host, port, and name."""
    cluster.sql(f"CREATE DATABASE {name} OWNER lab")
    return f"127.0.0.1:{cluster.port}/{name}"


def address(place: str, user: str = "lab", password: str = SECRET) -> str:
    return f"postgresql+psycopg://{user}:{password}@{place}"


@pytest.mark.slow(seconds=20)
def test_commands_use_database_without_server(cluster, main, outputs, workdir, monkeypatch):
    place = new_database(cluster, "direct")
    uri = address(place)

    succeeded(main(*SWEEP, f"tracking.uri={uri}"))
    store = MlflowClient(uri)
    uploaded = everything(store)
    assert len(runs(store, "sweep")) == 1
    assert [run.data.params["seed"] for run in runs(store)] == ["0", "1"]

    succeeded(main(*SWEEP, f"tracking.uri={uri}"))
    assert everything(store) == uploaded

    succeeded(main(f"tracking.uri=sqlite:///{outputs / 'mlflow.db'}", program="sync"))
    assert differences(content(store), content(client(outputs))) == []

    refused(main(program="ui"), "MLFLOW_TRACKING_URI", place, program="ui")
    environment = {"MLFLOW_TRACKING_URI": uri}
    run_id = runs(store)[0].info.run_id
    paths = (
        f"api/2.0/mlflow/runs/get?run_id={run_id}",
        f"get-artifact?path=record.json&run_id={run_id}",
    )
    with lenet_ui(outputs=outputs, env=environment) as served, requests.Session() as session:
        session.trust_env = False
        for path in paths:
            response = session.get(f"{served.address}/{path}", auth=served.login, timeout=30)
            assert response.status_code == 200

    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert "uploaded: nothing" in succeeded(main(program="sync")).stdout
    assert "2 runs" in succeeded(main("filter=", program="compare")).stdout
    assert "logged to MLflow run" in succeeded(main("dataset=digits", program="predict")).stdout
    predicted = succeeded(main("sweep=last", program="predict"))
    assert "logged to the sweep's MLflow run" in predicted.stdout
    assert leaks(outputs) == []
    assert [path.name for path in workdir.iterdir()] == []

    for registry in (store, client(outputs)):  # runs with a registered model are not removed
        for version in registry.search_model_versions():
            registry.delete_model_version(version.name, version.version)
    succeeded(main("rm", "sweep=last", "dry_run=false", program="sweep"))
    assert runs(store) == []
    assert runs(store, "sweep") == []


@pytest.mark.slow(seconds=6)
def test_outputs_of_release_0_2_find_their_database(cluster, main, outputs, monkeypatch):
    place = new_database(cluster, "older")
    uri = address(place)
    old_name = RELEASE_0_2_NAME.format(place)
    succeeded(main(*SWEEP, "tracking.models=none", f"tracking.uri={uri}"))
    (sweep,) = all_sweeps(outputs)
    ((name, run_id),) = sweep.delivered().run_ids().items()
    for path in outputs.glob("runs/*/delivered.json"):
        path.write_text(path.read_text().replace(name, old_name))
    (sweep.path / "delivered.json").unlink()
    sweep.save(tracking_uri=old_name, other={"mlflow_runs": {old_name: run_id}})

    store = MlflowClient(uri)
    uploaded = everything(store)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    succeeded(main(program="sync"))
    assert everything(store).keys() == uploaded.keys()

    succeeded(main("rm", "sweep=last", "dry_run=false", program="sweep"))
    assert runs(store) == []
    assert runs(store, "sweep") == []


@pytest.mark.slow(seconds=10)
def test_concurrent_first_runs_create_tables_once(cluster, tmp_path):
    uri = address(new_database(cluster, "empty"))
    command = (*ONE, f"tracking.uri={uri}")
    processes = []
    for seed in range(4):
        outputs = tmp_path / f"folder{seed}"
        processes.append(start(*command, f"seed={seed}", outputs=outputs))
    for process in processes:
        done = succeeded(end(process))
        assert "tracking.uri" not in done.stderr

    seeds = [run.data.params["seed"] for run in runs(MlflowClient(uri))]
    assert sorted(seeds) == ["0", "1", "2", "3"]
    locations = cluster.sql("SELECT artifact_location FROM experiments", "empty").splitlines()
    assert [path for path in locations if not path.startswith(f"file://{tmp_path}/folder")] == []
    assert leaks(tmp_path) == []


@pytest.mark.slow(seconds=4)
def test_wrong_password_gives_one_warning_and_run_finishes(cluster, main, outputs):
    place = new_database(cluster, "denied")
    uri = address(place, password=f"{SECRET}x")
    done = succeeded(main(*ONE, f"tracking.uri={uri}"))
    warnings = [line for line in done.stderr.splitlines() if "tracking.uri=" in line]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"tracking.uri=postgresql+psycopg://***@{place}: ")
    assert "password authentication failed" in warnings[0]
    assert counts(done.stderr.splitlines()[-1]) == [1, 1]
    assert SECRET not in done.stdout + done.stderr
    assert leaks(outputs) == []

    succeeded(main(f"tracking.uri={address(place)}", program="sync"))
    (run,) = runs(MlflowClient(address(place)))
    assert run.info.status == "FINISHED"
    assert leaks(outputs) == []


@pytest.mark.slow(seconds=4)
def test_tables_of_older_mlflow_are_not_upgraded(cluster, main, outputs):
    place = new_database(cluster, "outdated")
    uri = f"tracking.uri={address(place)}"
    assert main("filter=", uri, program="compare").returncode == 2  # creates the tables
    cluster.sql("DROP TABLE trace_tags CASCADE", "outdated")
    cluster.sql("UPDATE alembic_version SET version_num = '451aebb31d03'", "outdated")

    refused(main("filter=", uri, program="compare"), "mlflow db upgrade", program="compare")
    done = main(*ONE, uri)  # fails if the store responds before training, and warns otherwise

    assert "mlflow db upgrade" in done.stderr
    query = "SELECT count(*) FROM pg_tables WHERE tablename = 'trace_tags'"
    assert cluster.sql(query, "outdated") == "0"
