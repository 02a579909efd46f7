"""PostgreSQL as labs run it: as a store of its own, and under an MLflow server with users behind TLS.

Four outputs folders write at once, as four people do, to a store that was empty; and it goes away in the middle.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from mlflow import MlflowClient

from lenet_exp.tracking.database import driver_uri
from tests.commands import SECRET, SMALL, end, free_port, start
from tests.lab import ADMIN, certificate, database, mlflow_on_postgres, postgres, tls
from tests.stores import files, models, points, runs
from tests.test_cli import is_one_line
from tests.tracking.test_store import leaks

pytestmark = pytest.mark.slow(seconds=80)

ONE = (*SMALL, "num_epoch=1", "num_threads=1", "tracking.plots=false")
FOLDERS = 4


@pytest.fixture(scope="module")
def cluster():
    with postgres() as started:
        yield started


def sweeps(tmp_path, seeds, *flags, env=None):
    """Starts a sweep of so many seeds in each of the outputs folders, all at once."""
    return [
        start("-m", *ONE, f"seed=range({seeds * i},{seeds * (i + 1)})", "sweep.workers=1", *flags,
              outputs=tmp_path / f"folder{i}", env=env or {})
        for i in range(FOLDERS)
    ]  # fmt: skip


def check_whole(store, seeds):
    """All runs are there once, with all their points; the champion is the best of them."""
    found = runs(store)
    assert sorted(int(run.data.params["seed"]) for run in found) == list(range(FOLDERS * seeds))
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


def deliver_all(tmp_path, *flags, env=None):
    """Once more where a busy machine let a request's time pass: what is left is delivered by the same command."""
    left = range(FOLDERS)
    for _ in range(5):
        syncs = {i: start(*flags, program="sync", outputs=tmp_path / f"folder{i}", env=env or {}) for i in left}
        done = {i: end(process) for i, process in syncs.items()}
        left = [i for i in left if done[i].returncode != 0]
        assert all("left: nothing" in done[i].stdout for i in done if i not in left)
        if not left:
            return
    raise AssertionError(done)


def wait_for_runs(cluster, name, number):
    """Until so many runs are finished in MLflow's tables."""
    while int(cluster.sql("SELECT count(*) FROM runs WHERE status = 'FINISHED'", name)) < number:
        time.sleep(0.2)


def test_four_sweeps_at_once_into_an_empty_database_that_crashes_in_the_middle(cluster, tmp_path):
    uri, seeds = database(cluster, "direct"), 25
    uri += f"?sslmode=verify-full&sslrootcert={cluster.folder}/tls/ca.crt"
    started = sweeps(tmp_path, seeds, f'tracking.uri="{uri}"')
    while "runs" not in cluster.sql("SELECT tablename FROM pg_tables", "direct").split():
        time.sleep(0.2)
    wait_for_runs(cluster, "direct", 8)
    cluster.stop()
    cluster.start()
    for done in map(end, started):
        assert done.returncode == 0, done.stderr
        assert f"{seeds} runs: {seeds} finished" in done.stdout
        assert done.stderr.count("can't be") <= 2, done.stderr  # the store, and a run that was under way
        assert "Traceback" not in done.stderr
        assert SECRET not in done.stdout + done.stderr
    deliver_all(tmp_path, f"tracking.uri={uri}")
    check_whole(MlflowClient(driver_uri(uri)), seeds)
    assert cluster.sql("SELECT count(*) FROM datasets", "direct") == "2"  # training and validation
    assert cluster.sql("SELECT name FROM experiments ORDER BY experiment_id", "direct") == "Default\nlenet_exp"
    assert leaks(tmp_path) == []


REFUSED = {
    ("lab", "wrong", "refused", ""): 'password authentication failed for user "lab"',
    ("nobody", SECRET, "refused", ""): 'password authentication failed for user "nobody"',
    ("lab", SECRET, "nowhere", ""): 'database "nowhere" does not exist',
    ("lab", SECRET, "refused", "?sslmode=verify-full&sslrootcert=/no"): 'root certificate file "/no" does not exist',
    ("lab", SECRET, "refused", "?sslmode=verify-full&sslrootcert={other}"): "certificate verify failed",
    ("lab", SECRET, "refused", "?sslmode=maybe"): 'invalid sslmode value: "maybe"',
    ("reader", SECRET, "refused", ""): "permission denied for schema public",
}


def test_a_database_that_lets_one_not_in_or_not_write_is_one_line(cluster, outputs, main, tmp_path):
    certificate(tmp_path / "other")
    uri = database(cluster, "refused")
    cluster.sql(f"CREATE ROLE reader LOGIN PASSWORD '{SECRET}'")
    cluster.sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC", "refused")

    def refused(address):
        done = main(*ONE, f'tracking.uri="{address}"')
        assert done.returncode == 2, done.stderr
        assert is_one_line(done.stderr), done.stderr
        assert SECRET not in done.stderr
        assert not (outputs / "runs").exists()
        return done.stderr

    for (user, password, name, query), said in REFUSED.items():
        assert said in refused(cluster.uri(name, user, password) + query.format(other=tmp_path / "other" / "ca.crt"))
    assert main("filter=", f"tracking.uri={uri}", program="compare").returncode == 2  # makes the tables
    assert "permission denied for table" in refused(cluster.uri("refused", "reader"))
    cluster.sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader", "refused")
    assert "user reader may not write it" in refused(cluster.uri("refused", "reader"))
    # MLflow itself would bring a lab's database up to its own release, unasked.
    cluster.sql("DROP TABLE trace_tags CASCADE; UPDATE alembic_version SET version_num = '451aebb31d03'", "refused")
    assert "run: mlflow db upgrade" in refused(uri)
    assert cluster.sql("SELECT count(*) FROM pg_tables WHERE tablename = 'trace_tags'", "refused") == "0"


@dataclass(frozen=True)
class Lab:
    """A server with users behind TLS. `direct` is the server itself."""

    address: str
    direct: str
    folder: Path
    ca: dict[str, str]

    def user(self, name):
        """Makes one; the environment in which commands are hers."""
        made = requests.post(
            f"{self.direct}/api/2.0/mlflow/users/create",
            json={"username": name, "password": f"{SECRET}-of-{name}"},
            auth=("admin", ADMIN),
            timeout=60,
        )
        assert made.status_code == 200, made.text
        login = {"MLFLOW_TRACKING_USERNAME": name, "MLFLOW_TRACKING_PASSWORD": f"{SECRET}-of-{name}"}
        return {**self.ca, **login, "MLFLOW_TRACKING_URI": self.address}


@pytest.fixture
def lab(cluster, tmp_path):
    folder, upstream, port = tmp_path / "lab", free_port(), free_port()
    uri = database(cluster, "lab")
    with contextlib.ExitStack() as stack:
        group = stack.enter_context(mlflow_on_postgres(folder, uri, upstream, auth=uri))
        stack.enter_context(tls(folder / "tls", port, upstream))
        made = Lab(
            f"https://127.0.0.1:{port}",
            f"http://127.0.0.1:{upstream}",
            folder,
            {"MLFLOW_TRACKING_SERVER_CERT_PATH": str(folder / "tls" / "ca.crt")},
        )

        def restart():
            nonlocal group
            os.killpg(group, signal.SIGKILL)
            group = stack.enter_context(mlflow_on_postgres(folder, uri, upstream, auth=uri))

        yield made, restart


def admin(lab, monkeypatch):
    for name, value in lab.ca.items():
        monkeypatch.setenv(name, value)
    return MlflowClient(lab.address.replace("//", f"//admin:{ADMIN}@"))


def test_a_server_with_users_behind_tls(cluster, lab, outputs, main, tmp_path, monkeypatch):
    """One test, since a server takes long to start."""
    server, restart = lab
    with monkeypatch.context() as patch:
        four_sweeps_at_once_while_it_is_killed(cluster, server, restart, tmp_path / "alice", patch)
    with monkeypatch.context() as patch:
        a_colleague_may_look_and_write_what_is_her_own(server, tmp_path / "colleagues", patch)
    a_server_that_lets_nobody_in_or_is_not_trusted_is_one_line(server, outputs, main, monkeypatch)
    every_command_takes_mlflows_credentials_from_their_file(server, outputs, main, tmp_path / "home", monkeypatch)


def four_sweeps_at_once_while_it_is_killed(cluster, server, restart, tmp_path, monkeypatch):
    seeds = 3
    hers = server.user("alice")
    started = sweeps(tmp_path, seeds, env=hers)
    wait_for_runs(cluster, "lab", 2)
    restart()
    for done in map(end, started):
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("can't be") <= 2, done.stderr  # the store, and a run that was under way
        assert SECRET not in done.stdout + done.stderr
    deliver_all(tmp_path, env=hers)
    store = admin(server, monkeypatch)
    check_whole(store, seeds)
    for run in runs(store):
        assert files(store, run.info.run_id) >= {"config.yaml", "record.json", "run.log"}
    # Nobody's password is in a folder, in what the server keeps, or in a table (where the users' are hashes).
    assert leaks(tmp_path) == leaks(server.folder / "files") == []
    socket = ["-h", str(cluster.folder), "-p", str(cluster.port), "-U", "postgres"]
    assert SECRET not in subprocess.check_output(["pg_dump", *socket, "lab"], text=True)


def a_colleague_may_look_and_write_what_is_her_own(server, tmp_path, monkeypatch):
    """The rest is told before anything is trained; the champion, which is another's, is one warning."""
    first = end(
        start(*ONE, "seed=99", "tracking.experiment=carols", outputs=tmp_path / "carol", env=server.user("carol"))
    )
    assert first.returncode == 0, first.stderr
    theirs = server.user("bob")
    done = end(start(*ONE, "tracking.experiment=carols", outputs=tmp_path / "bob", env=theirs))
    assert done.returncode == 2
    assert is_one_line(done.stderr), done.stderr
    assert "experiment carols can't be written: user bob may not do this" in done.stderr
    assert "tracking.experiment=name" in done.stderr
    scored = end(start("dataset=digits", program="predict", outputs=tmp_path / "bob", env=theirs))  # carol's champion
    assert scored.returncode == 0, scored.stderr
    assert "user bob may not do this here (Permission denied)" in scored.stderr
    line = ("-m", *ONE, "num_epoch=12", "seed=0,1", "tracking.experiment=bobs")
    own = end(start(*line, outputs=tmp_path / "bob", env=theirs))
    assert own.returncode == 0, own.stderr
    assert own.stderr.count("lenet5-digits: this user may not write it in MLflow") == 1
    store = admin(server, monkeypatch)
    assert {run.info.status for run in runs(store, experiment="bobs")} == {"FINISHED"}


def a_server_that_lets_nobody_in_or_is_not_trusted_is_one_line(server, outputs, main, monkeypatch):
    login = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": ADMIN}
    wrong = {**login, "MLFLOW_TRACKING_PASSWORD": SECRET}
    address = server.address
    for said, uri, environment in (
        ("its certificate is not trusted", address, login),
        ("no such file of a certificate: /no", address, {**login, "MLFLOW_TRACKING_SERVER_CERT_PATH": "/no"}),
        ("no such file of a certificate: /no", address, {**login, "REQUESTS_CA_BUNDLE": "/no"}),
        ("it speaks TLS; is it https://?", address.replace("https", "http"), {**login, **server.ca}),
        ("it does not speak TLS; is it http://?", server.direct.replace("http", "https"), {**login, **server.ca}),
        ("it lets nobody in without a user and a password: MLFLOW_TRACKING_USERNAME", address, server.ca),
        ("it does not let user admin in with this password", address, {**wrong, **server.ca}),
        ("it does not let user me in", address.replace("//", f"//me:{SECRET}@"), server.ca),
    ):
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            done = main(*ONE, f"tracking.uri={uri}")
        assert done.returncode == 2, done.stderr
        assert is_one_line(done.stderr), done.stderr
        assert said in done.stderr
        assert SECRET not in done.stderr
        assert not (outputs / "runs").exists()


COMMANDS = {
    "train": ONE,
    "compare": ("filter=",),
    "ui": (),
    "sync": (),
    "predict": ("dataset=digits",),
    "reproduce": ("run=champion:digits", "check=true"),
    "export": ("format=safetensors", "dataset=digits"),
}


def every_command_takes_mlflows_credentials_from_their_file(server, outputs, main, tmp_path, monkeypatch):
    credentials = tmp_path / ".mlflow" / "credentials"
    credentials.parent.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", server.ca["MLFLOW_TRACKING_SERVER_CERT_PATH"])
    credentials.write_text(f"[mlflow]\nmlflow_tracking_username = admin\nmlflow_tracking_password = {ADMIN}\n")
    for program, arguments in COMMANDS.items():
        done = main(*arguments, program=program)
        assert done.returncode == 0, (program, done.stdout, done.stderr)
    credentials.unlink()
    for program, arguments in COMMANDS.items():
        done = main(*arguments, program=program)
        if program not in ("sync", "train"):  # they have nothing left to deliver, and the result
            assert done.returncode == 2, program
        assert "it lets nobody in without a user and a password" in done.stderr, program
