"""What no run can ever be delivered to, or under what name, is refused in one line before anything is trained."""

from __future__ import annotations

import sqlite3

import pytest

from lenet_exp.api import compose
from lenet_exp.tracking.store import open_store
from tests.commands import SECRET, end, start
from tests.servers import erring_server
from tests.test_cli import is_one_line

REFUSED = {
    "tracking.experiment=": "tracking.experiment=: allowed is a name",
    "tracking.experiment='  '": "tracking.experiment= : allowed is a name",
    "tracking.experiment='a\tb'": "allowed is a name",
    f"tracking.experiment={'x' * 201}": "1 to 200 bytes",
    f"tracking.experiment='{'ü' * 101}'": "1 to 200 bytes",
    "++tracking.tags={a$b: 1}": "tracking.tags.a$b: allowed are names of letters",
    "++tracking.tags={../a: 1}": "tracking.tags.../a: allowed are names of letters",
    "tracking.uri=http://": "tracking.uri=http://: allowed is http://HOST or http://HOST:PORT",
    "tracking.uri=https://:5000": "allowed is https://HOST or https://HOST:PORT",
    "tracking.uri=http://host:99999": "tracking.uri=http://host:99999: allowed is a host, and a port from 1 to 65535",
    "tracking.uri=http://host:0": "a port from 1 to 65535",
    "tracking.uri=http://host:port": "a port from 1 to 65535",
    "tracking.uri='http://a b'": "allowed is http://HOST",
    "tracking.uri=ftp://host": "allowed is http(s)://..., sqlite:///FILE",
    "tracking.uri=sqlite:///": "would be lost when the command ends",
    "tracking.uri=sqlite:///:memory:": "would be lost when the command ends",
    "tracking.uri=sqlite:////etc/passwd": "tracking.uri=sqlite:////etc/passwd: file is not a database",
    "tracking.uri=sqlite:////tmp": "tracking.uri=sqlite:////tmp: is a folder; allowed is a file",
    "tracking.uri=sqlite:////proc/mlflow.db": "tracking.uri=sqlite:////proc/mlflow.db: can't be written (",
    "tracking.uri=sqlite:////etc/passwd/mlflow.db": "can't be written (Not a directory)",
    "tracking.uri=postgresql+nosuch://host/db": "SQLAlchemy knows no such database or driver",
    "tracking.uri=postgresql+psycopg2://host:99999/db": "a port from 1 to 65535",
    "dataset.name=a/b": "dataset.name=a/b: allowed are letters, digits, _, -, + and spaces inside, 200 bytes at most",
    "dataset.name='a:b'": "dataset.name=a:b: allowed",
    "dataset.name=../x": "dataset.name=../x: allowed",
    "dataset.name=a.b": "dataset.name=a.b: allowed",
    "dataset.name=": "dataset.name=: allowed",
}
EVERYWHERE = ("tracking.experiment=", "tracking.uri=http://", "tracking.uri=sqlite:////etc/passwd", "dataset.name=../x")
HOW = {"run": (), "sweep": ("-m", "seed=1,2"), "dry run": ("-m", "seed=1,2", "sweep.dry_run=true")}


@pytest.mark.parametrize(
    ("typed", "how"),
    [(typed, "run") for typed in REFUSED] + [(typed, how) for typed in EVERYWHERE for how in ("sweep", "dry run")],
)
def test_it_is_one_line_and_nothing_is_written(main, outputs, workdir, tmp_path, typed, how):
    done = main(*HOW[how], "dataset=digits", "num_epoch=1", f"model_path={tmp_path / 'models'}", typed)
    assert done.returncode == 2
    assert is_one_line(done.stderr), done.stderr
    assert REFUSED[typed] in done.stderr
    assert (done.stdout, sorted(p.name for p in tmp_path.iterdir())) == ("", [workdir.name])


def test_a_missing_driver_is_named_and_the_password_is_not(main, outputs):
    pytest.importorskip("sqlalchemy")
    missing = [driver for driver in ("psycopg2", "psycopg", "pg8000") if not _installed(driver)]
    if not missing:
        pytest.skip("this machine has all of them")
    done = main("dataset=digits", "num_epoch=1", f"tracking.uri=postgresql+{missing[0]}://me:{SECRET}@host/db")
    assert done.returncode == 2
    assert is_one_line(done.stderr)
    assert f"postgresql+{missing[0]}://me:***@host/db: its driver {missing[0]} is not installed" in done.stderr
    assert not outputs.exists()


def _installed(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_lets_nobody_in_is_one_line(main, outputs, status):
    with erring_server(status) as address:
        done = main("dataset=digits", "num_epoch=1", f"tracking.uri={address}")
    assert done.returncode == 2
    assert is_one_line(done.stderr), done.stderr
    assert f"tracking.uri={address}: " in done.stderr
    assert not (outputs / "runs").exists()


def test_an_experiment_whose_artifacts_can_not_be_written_is_one_line(main, ready):
    (ready / "file").touch()
    with sqlite3.connect(ready / "mlflow.db") as connection:
        connection.execute("UPDATE experiments SET artifact_location = ?", (f"file://{ready}/file/x",))
    done = main("dataset=digits", "num_epoch=1", "tracking.experiment=other")
    assert done.returncode == 2
    assert is_one_line(done.stderr), done.stderr
    assert f"tracking.experiment=other: its artifacts' folder {ready}/file/x can't be written" in done.stderr
    assert not (ready / "runs").exists()


@pytest.mark.parametrize("name", [".", "..", "...", "a/../../b"])
def test_artifacts_of_an_experiment_stay_in_their_folder(ready, name):
    store = open_store(compose([f"tracking.experiment={name}"]).tracking)
    location = store.client.get_experiment(store.experiment_id).artifact_location
    inside = location.removeprefix((ready / "mlartifacts").as_uri() + "/")
    assert "/" not in inside
    assert inside not in {".", ".."}


def test_another_command_refuses_such_a_name_too(outputs):
    for program, flags in (
        ("predict", ("dataset=digits", "dataset.name=../x")),
        ("export", ("format=pt2", "dataset=../x")),
    ):
        done = end(start(*flags, outputs=outputs, program=program))
        assert done.returncode == 2
        assert is_one_line(done.stderr, f"lenet-{program}")
        assert "=../x: allowed are letters" in done.stderr
