"""Invalid stores and names, and servers that are not MLflow, give errors of one line."""

from __future__ import annotations

import sqlite3
import sys

import pytest

import lenet_exp
from lenet_exp.config.check import check_address
from lenet_exp.errors import UserError, printable
from lenet_exp.folders.sweep_folder import all_sweeps
from lenet_exp.tracking.stores.store import open_store
from tests.tools.commands import SECRET, SMALL, refused, succeeded
from tests.tools.configs import compose
from tests.tools.servers import erring_server
from tests.tracking.stores.test_store import counts, leaks

REFUSED = {  # what is typed, and a part of the message
    "tracking.experiment='  '": "tracking.experiment=",
    "tracking.experiment='a\tb'": "tracking.experiment=",
    f"tracking.experiment='{'ü' * 101}'": "200 bytes",
    "++tracking.tags={../a: 1}": "tracking.tags.../a",
    "tracking.uri=http://": "http://HOST",
    "tracking.uri=http://host:99999": "65535",
    "tracking.uri=http://host:port": "65535",
    "tracking.uri='http://a b'": "http://HOST",
    "tracking.uri=ftp://host": "sqlite:///",
    "tracking.uri=sqlite://mlflow.db": "sqlite:///",
    "tracking.uri=mlruns": "mlflow migrate-filestore",
    "tracking.uri=sqlite:///:memory:": "lost",
    "tracking.uri=sqlite:////etc/passwd": "tracking.uri=sqlite:////etc/passwd",
    "tracking.uri=sqlite:////tmp": "not a regular file",
    "tracking.uri=sqlite:////proc/mlflow.db": "tracking.uri=sqlite:////proc/mlflow.db",
    "tracking.uri=postgres://host/db": "did you mean postgresql://?",
    "tracking.uri=sqlite+pysqlite:///mlflow.db": "did you mean sqlite:///?",
    "tracking.uri=uc:catalog": "postgresql://",
    "tracking.uri=postgresql:db": "did you mean postgresql://?",
    "tracking.uri='postgresql://***@host/db'": "MLFLOW_TRACKING_URI",
    "dataset.name=a/b": "dataset.name=a/b",
    "dataset.name=../x": "dataset.name=../x",
    "dataset.name=": "dataset.name=",
}
SWEEP = ("-m", "seed=1,2")
CASES = [  # other arguments of the command, and what is typed
    *(((), typed) for typed in REFUSED),
    (SWEEP, "tracking.uri=http://"),
    (SWEEP, "dataset.name=../x"),
    ((*SWEEP, "sweep.dry_run=true"), "tracking.uri=sqlite:////etc/passwd"),
]


@pytest.mark.parametrize(("arguments", "typed"), CASES)
def test_invalid_store_or_name_gives_one_line_error_and_writes_nothing(
    main, outputs, workdir, tmp_path, arguments, typed
):
    model_path = f"model_path={tmp_path / 'models'}"
    done = main(*arguments, "dataset=digits", "num_epoch=1", model_path, typed)
    refused(done, REFUSED[typed])
    assert [path.name for path in tmp_path.iterdir()] == [workdir.name]


@pytest.mark.parametrize("status", [401, 403])
def test_server_that_denies_access_gives_one_line_error(main, outputs, status):
    with erring_server(status, body=b"\x1b[2J\rfinished\x9b1m\x07") as address:
        uri = address.replace("//", f"//{SECRET}@")
        done = main("dataset=digits", "num_epoch=1", f"tracking.uri={uri}")
    line = refused(done)
    assert f"tracking.uri={address}: " in line.replace("***@", "")
    assert printable(line) == line.replace("\n", " ")
    assert SECRET not in line
    assert not (outputs / "runs").exists()


def test_experiment_with_unwritable_artifacts_gives_one_warning(main, ready):
    (ready / "file").touch()
    location = f"file://{ready}/file/x"
    with sqlite3.connect(ready / "mlflow.db") as connection:
        connection.execute("UPDATE experiments SET artifact_location = ?", (location,))

    done = succeeded(main("dataset=digits", "num_epoch=1", "tracking.experiment=other"))

    warning, last = done.stderr.splitlines()[-2:]
    assert warning.startswith("tracking.experiment=other: ")
    assert f"{ready}/file/x" in warning
    assert counts(last) == [1, 1]


def test_artifacts_of_any_experiment_name_stay_in_artifacts_folder(ready):
    for name in (".", "..", "a/../../b"):
        store = open_store(compose([f"tracking.experiment={name}"]).tracking)
        location = store.client.get_experiment(store.experiment_id).artifact_location
        folder_name = location.removeprefix((ready / "mlartifacts").as_uri() + "/")
        assert "/" not in folder_name
        assert folder_name not in {".", ".."}


@pytest.mark.parametrize(
    ("program", "valid", "invalid"),
    [
        ("predict", "dataset=digits", "dataset.name=../x"),
        ("export", "format=pt2", "dataset=../x"),
    ],
)
def test_predict_and_export_refuse_invalid_dataset_name(main, outputs, program, valid, invalid):
    done = main(valid, invalid, program=program)
    refused(done, invalid, program=program)


ANSWERS = {
    "an object": b"{}",
    "a login page": b"<html>log in</html>",
    "another experiment": b'{"experiment": 5}',
}
READERS = {"compare": ["filter="], "ui": ["sweep=all"], "predict": [], "export": ["format=pt2"]}


@pytest.mark.parametrize("answer", ANSWERS)
def test_server_with_foreign_answers_gives_one_line_error(answer, main, outputs):
    with erring_server(200, body=ANSWERS[answer]) as uri:
        for program, arguments in READERS.items():
            done = main(*arguments, f"tracking.uri={uri}", program=program)
            refused(done, program=program)
        if answer == "a login page":
            return
        done = succeeded(main(*SMALL, "num_epoch=1", f"tracking.uri={uri}"))
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert uri in last
    assert "lenet-sync run=" in last
    assert counts(last) == [1, 1]


ACCEPTED = (
    "databricks",
    "databricks://profile",
    "mssql+pyodbc:///?odbc_connect=a",
    "mysql+pymysql://me:pw@host:3306/db",
    "postgresql:///db?host=/run/postgresql",
)


@pytest.mark.parametrize("uri", ACCEPTED)
def test_addresses_that_mlflow_accepts_are_accepted(uri):
    check_address(uri)


def test_addresses_of_mlflow_plugins_are_accepted(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="must start with"):
        check_address("lab-store:runs")
    (tmp_path / "plugin-1.dist-info").mkdir()
    entry_points = tmp_path / "plugin-1.dist-info" / "entry_points.txt"
    entry_points.write_text("[mlflow.tracking_store]\nlab-store = plugin:Store\n")
    monkeypatch.syspath_prepend(tmp_path)
    check_address("lab-store:runs")


DRIVERS = [("psycopg2", "psycopg2-binary"), ("psycopg", "'psycopg[binary]'")]


@pytest.mark.parametrize(("driver", "package"), DRIVERS)
def test_missing_driver_gives_one_line_error(main, outputs, monkeypatch, driver, package):
    monkeypatch.setitem(sys.modules, driver, None)
    uri = f"tracking.uri=postgresql+{driver}://me:{SECRET}@host/db"
    commands = (
        ["train", "dataset=digits"],
        ["train", "-m", "dataset=digits", "seed=1,2"],
        ["sync"],
    )
    for program, *arguments in commands:
        done = main(*arguments, uri, program=program)
        line = refused(done, f"pip install {package}", program=program)
        assert SECRET not in line
    assert not outputs.exists()


DATABASE = f"postgresql+psycopg://me:{SECRET}@127.0.0.1:9/db"  # no server listens on this port
COMMANDS = {
    "predict": ["dataset=digits"],
    "compare": ["filter="],
    "export": ["format=pt2"],
    "reproduce": ["run=champion:digits"],
    "ui": [],
}


@pytest.mark.parametrize("program", COMMANDS)
def test_unreachable_database_gives_one_line_error(program, main, outputs, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", DATABASE)
    without_password = "tracking.uri=postgresql+psycopg://***@127.0.0.1:9/db"
    for typed in ([], [f"tracking.uri={DATABASE}"]):
        done = main(*COMMANDS[program], *typed, program=program)
        line = refused(done, "Connection refused", program=program)
        assert line.startswith(f"lenet-{program}: {without_password}: unreachable")
        assert SECRET not in line
    assert not outputs.exists()


def test_run_without_reachable_database_is_trained_with_one_warning(main, outputs):
    uri = f"tracking.uri={DATABASE}"
    done = succeeded(main(*SMALL, "num_epoch=1", "tracking.plots=false", uri))
    assert done.stderr.count("cannot be written (Connection refused)") == 1
    assert counts(done.stderr.splitlines()[-1]) == [1, 1]

    done = main(uri, program="sync")
    assert done.returncode == 1
    assert done.stderr.count("refused") == 1
    assert leaks(outputs) == []


def test_functions_refuse_unreachable_database(ready):
    with pytest.raises(UserError, match="unreachable"):
        lenet_exp.load("lenet5-digits", tracking_uri=DATABASE)
    with pytest.raises(UserError, match="unreachable"):
        lenet_exp.compare(filter="lenet5-digits", tracking_uri=DATABASE)


def test_outputs_uploaded_to_database_by_release_0_2_stay_readable(main, ready):
    name = "postgresql://***@host/db#1a2b3c4d"  # as that release recorded it
    line = ("-m", "hydra/launcher=basic", *SMALL, "num_epoch=1", "seed=0,1", "tracking.models=none")
    succeeded(main(*line))
    (sweep,) = all_sweeps(ready)
    ((store, run_id),) = sweep.delivered().run_ids().items()
    for path in ready.glob("runs/*/delivered.json"):
        path.write_text(path.read_text().replace(store, name))
    (sweep.path / "delivered.json").unlink()
    sweep.save(tracking_uri=name, other={"mlflow_runs": {name: run_id}})

    readers = (["compare"], ["sweep", "list"], ["predict", "sweep=last"], ["sync"])
    for program, *arguments in readers:
        succeeded(main(*arguments, program=program))

    need_database = (["ui"], ["sweep", "rm", "sweep=last"], ["train", "-m", "sweep.resume=last"])
    for program, *arguments in need_database:
        done = main(*arguments, program=program)
        line = refused(done, "MLFLOW_TRACKING_URI", program=program)
        assert line.startswith(f"lenet-{program}: tracking.uri=postgresql://***@host/db: ")
