"""PostgreSQL as a store. tests/test_deploy.py tests an MLflow server on PostgreSQL, with users behind TLS."""

from __future__ import annotations

import pytest
from mlflow import MlflowClient

from lenet_exp.tracking.stores.database import driver_uri
from tests.tools.commands import SECRET, SMALL, end, refused, start
from tests.tools.lab import certificate, database, postgres
from tests.tools.stores import models, points, runs
from tests.tools.until import until
from tests.tracking.stores.test_store import leaks

ONE = (*SMALL, "num_epoch=1", "num_threads=1", "tracking.plots=false")
FOLDERS, SEEDS = 3, 2


def check_whole(store):
    """Check that the store has each run once with all points, and that the champion is the best run."""
    found = runs(store)
    assert sorted(int(run.data.params["seed"]) for run in found) == list(range(FOLDERS * SEEDS))
    assert {run.info.status for run in (*found, *runs(store, "sweep"))} == {"FINISHED"}
    assert len(runs(store, "sweep")) == FOLDERS
    for run in found:
        logged = points(store, run.info.run_id)
        assert {len(logged[name]) for name in ("val_accuracy", "train_loss", "best_val_accuracy")} == {1}
    sources = [model.source_run_id for model in models(store)]
    assert sorted(sources) == sorted({run.info.run_id for run in found})
    best = max(run.data.metrics["best_val_accuracy"] for run in found)
    champion = store.get_model_version_by_alias("lenet5-digits", "champion")
    assert float(champion.tags["best_val_accuracy"]) == best
    registered = [version.run_id for version in store.search_model_versions("name = 'lenet5-digits'")]
    assert len(registered) == len(set(registered))


def deliver_all(tmp_path, uri):
    """Run lenet-sync for each outputs folder, repeatedly if requests time out on a busy machine."""
    for n in range(FOLDERS):
        tries = (start(f"tracking.uri={uri}", program="sync", outputs=tmp_path / f"folder{n}") for _ in range(5))
        assert any(end(process).returncode == 0 for process in tries)


@pytest.mark.slow(seconds=18)
def test_concurrent_sweeps_survive_crash_of_new_database(main, outputs, tmp_path):
    with postgres() as cluster:
        uri = f"{database(cluster, 'direct')}?sslmode=verify-full&sslrootcert={cluster.folder}/tls/ca.crt"
        line = ("-m", "hydra/launcher=basic", *ONE, f'tracking.uri="{uri}"')
        seeds = [f"seed=range({SEEDS * n},{SEEDS * (n + 1)})" for n in range(FOLDERS)]
        started = [start(*line, seed, outputs=tmp_path / f"folder{n}") for n, seed in enumerate(seeds)]
        until(lambda: "runs" in cluster.sql("SELECT tablename FROM pg_tables", "direct").split())
        until(lambda: int(cluster.sql("SELECT count(*) FROM runs WHERE status = 'FINISHED'", "direct")) >= 2)
        cluster.stop()
        cluster.start()
        for done in map(end, started):
            assert done.returncode == 0, done.stderr
            assert "Traceback" not in done.stderr
            assert SECRET not in done.stdout + done.stderr
        deliver_all(tmp_path, uri)
        check_whole(MlflowClient(driver_uri(uri)))
        assert cluster.sql("SELECT count(*) FROM datasets", "direct") == "2"  # training and validation
        assert cluster.sql("SELECT name FROM experiments ORDER BY experiment_id", "direct") == "Default\nlenet_exp"
        assert leaks(tmp_path) == []
        check_denied_access_gives_one_line_error(cluster, main, outputs, tmp_path)


REFUSED = {  # PostgreSQL's messages
    ("lab", "wrong", "refused", ""): 'authentication failed for user "***"',
    ("lab", SECRET, "nowhere", ""): '"nowhere" does not exist',
    ("lab", SECRET, "refused", "?sslmode=verify-full&sslrootcert=/no"): '"/no" does not exist',
    ("lab", SECRET, "refused", "?sslmode=verify-full&sslrootcert={other}"): "certificate verify failed",
    ("reader", SECRET, "refused", ""): "permission denied for schema",
}


def check_denied_access_gives_one_line_error(cluster, main, outputs, tmp_path):
    certificate(tmp_path / "other")
    uri = database(cluster, "refused")
    cluster.sql(f"CREATE ROLE reader LOGIN PASSWORD '{SECRET}'")
    cluster.sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC", "refused")

    def answer(address):
        line = refused(main(*ONE, f'tracking.uri="{address}"'))
        assert (SECRET in line, (outputs / "runs").exists()) == (False, False)
        return line

    for (user, password, name, query), message in REFUSED.items():
        assert message in answer(cluster.uri(name, user, password) + query.format(other=tmp_path / "other" / "ca.crt"))
    assert main("filter=", f"tracking.uri={uri}", program="compare").returncode == 2  # creates the tables
    cluster.sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader", "refused")
    assert "reader" not in answer(cluster.uri("refused", "reader"))
    # MLflow alone would upgrade a lab's database without asking.
    cluster.sql("DROP TABLE trace_tags CASCADE; UPDATE alembic_version SET version_num = '451aebb31d03'", "refused")
    assert "mlflow db upgrade" in answer(uri)
    assert cluster.sql("SELECT count(*) FROM pg_tables WHERE tablename = 'trace_tags'", "refused") == "0"
