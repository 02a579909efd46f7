"""lenet-ui: the store and sweep that it shows, and how it ends. tests/browser tests its pages."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from lenet_exp.ui.links import MOST_COLUMNS, View
from tests.browser.served import Served, lenet_ui, links_in
from tests.tools.commands import ROOT, SMALL, end, free_port, lenet_train, refused, start, succeeded
from tests.tools.stores import client, files, runs
from tests.tools.until import until

OTHER = "experiment=other"  # in `empty_store`
BARE = ("tracking.plots=false", "tracking.models=none")
SWEEP = ("-m", "hydra/launcher=basic", *SMALL, *BARE, "num_epoch=1", "seed=0,1")


SEARCH = {"experiment_ids": ["1"]}  # the body of each request


def status_of(
    served: Served, method: str, path: str, login: tuple[str, str] | None, **headers: str
) -> int:
    """Return the status with which the server answers a request with or without the user and
    password.
    """
    with requests.Session() as session:
        session.trust_env = False  # no proxy, no password of ~/.netrc
        url = f"{served.address}{path}"
        return session.request(
            method, url, json=SEARCH, headers=headers, auth=login, timeout=30
        ).status_code


def mlflow_routes() -> list[tuple[str, str]]:
    """Return the methods and paths of all routes of MLflow's server, with a value for each
    variable.
    """
    listed = subprocess.run(
        [sys.executable, "-m", "tests.ui.routes"],  # MLflow's modules change this process
        cwd=ROOT,
        env=os.environ | {"MLFLOW_FLASK_SERVER_SECRET_KEY": "any"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [(method, path) for method, path in map(str.split, listed.splitlines())]


def processes_of(port: int) -> list[str]:
    """Return the processes of a server on this port."""
    listed = subprocess.run(
        ["ps", "-ww", "-eo", "pid=,args="], capture_output=True, text=True, check=True
    ).stdout
    return [line for line in listed.splitlines() if f"--port {port} " in f"{line} "]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("prot=1",), ("prot=1", "port=?")),
        (("port=70000",), ("port=70000", "65535")),
        ((), ("experiment=lenet_exp", "other")),
        (("sweep=last",), ("sweep=last",)),
        (("sweep=abcd",), ("abcd",)),
        (("sweep=" + "0" * 32, OTHER), ("0" * 32, "sqlite:///")),
        ((OTHER, "host=0.0.0.0"), ("host=0.0.0.0", "port=")),
        (("tracking.uri=sqlite:////no/mlflow.db",), ("/no/mlflow.db",)),
        (("tracking.uri=sqlite:///none.db",), ("none.db", "not a database")),
    ],
)
def test_invalid_request_gives_one_line_error(main, ready, workdir, arguments, said):
    (workdir / "none.db").write_text(
        "this is no database, but long enough to look like a file that holds one\n" * 9
    )
    refused(main(*arguments, program="ui"), *said, program="ui")


def test_saved_view_fits_into_tag_of_oldest_supported_mlflow():
    params = [f"regularization.a_long_name_of_a_flag_{i}" for i in range(MOST_COLUMNS)]
    longest = View("sweep", f'tags.sweeps LIKE "%{"0" * 32}%"', params, grouped=params)
    assert len(longest.tag_value()) <= 5000


@pytest.mark.slow(seconds=10)
def test_ui_works_in_hostile_environment_and_ctrl_c_leaves_nothing(
    ready, tmp_path, tmp_path_factory
):
    """The environment has a busy port, files that hide modules, SSH, and a browser with visible
    arguments.
    """
    here, ran = tmp_path / "here", tmp_path / "ran"
    here.mkdir()
    for name in ("mlflow", "uvicorn", "flask", "sklearn", "torch", "secrets"):
        (here / f"{name}.py").write_text(f"open({str(ran)!r}, 'w')\nraise ImportError\n")
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    settings = {"SSH_CONNECTION": "192.0.2.7 50000 192.0.2.1 22", "USER": "ada"}
    more = {"cwd": here, "env": settings, "module": "tests.documents.console"}
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        with lenet_ui(OTHER, f"port={port}", outputs=ready, **more) as served:
            assert served.port != port
            assert status_of(served, "GET", "/version", served.login) == 200
            assert len(processes_of(served.port)) == 2  # mlflow server and its one uvicorn
            assert len(served.login[1]) >= 16
            assert served.login[1] not in "".join(processes_of(served.port))
            served.process.send_signal(signal.SIGINT)
            done = end(served.process)
    assert done.returncode == 130
    assert {str(port), str(served.port)} <= set(re.findall(r"\d+", done.stderr))
    assert f"ssh -N -L {served.port}:127.0.0.1:{served.port} ada@192.0.2.1" in done.stderr
    assert processes_of(served.port) == []
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before


# The routes that MLflow answers without a password. They show neither runs nor settings of the
# store.
OPEN = re.compile(r"/health|/static-files/.*|/(ajax-)?api/3\.0/mlflow/server-info")


@pytest.mark.slow(seconds=30)
def test_every_mlflow_route_requires_password(ready):
    """The server's password protects MLflow's assistant, too, which could run commands as the
    user.
    """
    routes = mlflow_routes()
    assert {
        ("PUT", "/api/2.0/mlflow-artifacts/artifacts/1"),
        ("POST", "/api/2.0/mlflow/runs/search"),
    } <= set(routes)
    assert {("GET", "/"), ("GET", "/get-artifact"), ("POST", "/v1/traces")} <= set(routes)
    assert ("POST", "/ajax-api/3.0/mlflow/assistant/message") in routes
    with lenet_ui(OTHER, outputs=ready) as served:
        user, password = served.login
        for login in (None, (user, ""), (user, password[:-1]), ("admin", password)):
            assert status_of(served, "GET", "/version", login) == 401
        assert status_of(served, "GET", "/version", served.login) == 200
        statuses = {
            (method, path): status_of(served, method, path, None)
            for method, path in routes
            if OPEN.fullmatch(path) is None
        }
        assert {route: status for route, status in statuses.items() if status != 401} == {}


@pytest.mark.slow(seconds=8)
def test_server_refuses_other_hosts_and_origins(ready):
    search = ("POST", "/ajax-api/2.0/mlflow/runs/search")
    with lenet_ui(OTHER, outputs=ready) as served:
        here = f"127.0.0.1:{served.port}"
        assert status_of(served, *search, served.login, Host=here, Origin=f"http://{here}") == 200
        for host in (
            f"10.evil.example:{served.port}",
            f"localhost:{served.port}",
            "127.0.0.1",
            "evil.example",
        ):
            assert status_of(served, *search, served.login, Host=host) == 403
        other_port = f"http://127.0.0.1:{served.port + 1}"
        same_port = f"http://localhost:{served.port}"
        for origin in (
            "http://evil.example",
            "http://127.0.0.1.evil.example",
            "null",
            other_port,
            same_port,
        ):
            assert status_of(served, *search, served.login, Host=here, Origin=origin) == 403


@pytest.mark.slow(seconds=15)
def test_other_commands_log_in_with_password(ready, tmp_path):
    line = (*SMALL, *BARE, "num_epoch=1", "tracking.experiment=other")
    with lenet_ui(OTHER, outputs=ready) as served:
        uri = f"tracking.uri={served.address}"
        for login in ({}, served.environment | {"MLFLOW_TRACKING_PASSWORD": "another"}):
            refused(lenet_train(*line, uri, outputs=tmp_path / "mine", **login), "authentication")
        assert not (tmp_path / "mine" / "runs").exists()
        succeeded(lenet_train(*line, uri, outputs=tmp_path / "mine", **served.environment))
        (run,) = runs(client(ready), "run", "other")
        assert "record.json" in files(client(ready), run.info.run_id)
        served.process.send_signal(signal.SIGTERM)
        assert end(served.process).returncode == 143


@pytest.mark.slow(seconds=20)
def test_ui_of_empty_folder_prints_links_of_later_sweeps(tmp_path):
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    with lenet_ui(outputs=outputs) as served:
        assert status_of(served, "GET", "/version", served.login) == 200
        for seeds in ("seed=0,1", "seed=2,3"):
            assert lenet_train(*SWEEP, seeds, outputs=outputs).returncode == 0
            (parent, *_) = sorted(
                runs(client(outputs), "sweep"), key=lambda run: -run.info.start_time
            )
            text = ""
            while "started later" not in text:
                text += served.process.stdout.readline()
            assert parent.info.run_id in links_in(text)["sweep"]


@pytest.mark.slow(seconds=1)
def test_ctrl_c_during_server_start_leaves_no_process(ready):
    port = free_port()
    process = start(OTHER, f"port={port}", outputs=ready, program="ui")
    until(lambda: processes_of(port))
    process.send_signal(signal.SIGINT)
    assert end(process).returncode == 130
    assert processes_of(port) == []


@pytest.mark.slow(seconds=4)
def test_failed_server_start_gives_one_line_error_with_cause(ready):
    done = end(start(OTHER, "port=0", outputs=ready, program="ui", env={"UVICORN_LOOP": "loud"}))
    assert (done.returncode, done.stdout) == (2, "")
    last = done.stderr.splitlines()[-1]
    assert (last.startswith("lenet-ui: "), '"loud"' in last) == (True, True)


@pytest.mark.slow(seconds=12)
def test_ui_prints_links_of_server_and_killed_ui_ends_own_server(
    main, ready, tmp_path, monkeypatch
):
    """The first lenet-ui serves a moved sweep's store, although the environment names another
    store.
    """
    assert main(*SWEEP, "tracking.experiment=mine").returncode == 0
    moved = Path(shutil.move(ready, tmp_path / "moved"))
    (folder,), (parent,) = (moved / "sweeps").iterdir(), runs(client(moved), "sweep", "mine")
    elsewhere = {"MLFLOW_TRACKING_URI": "sqlite:///no.db"}
    with lenet_ui(f"sweep={folder}", outputs=tmp_path / "empty", env=elsewhere) as served:
        for name, value in served.environment.items():
            monkeypatch.setenv(name, value)
        assert (
            urlsplit(served.links["sweep"])
            .fragment.partition("?")[0]
            .endswith(f"/runs/{parent.info.run_id}")
        )
        here = tmp_path / "here"
        monkeypatch.setenv("LENET_EXP_OUTPUTS", str(here))
        assert main(*SWEEP, f"tracking.uri={served.address}").returncode == 0
        (folder,) = (here / "sweeps").iterdir()
        user, password = served.login
        secret = f"tracking.uri={served.address.replace('//', f'//{user}:{password}@')}"
        links = links_in(main(program="ui").stdout)
        parent = links["sweep"].partition("?")[0].rpartition("/")[2]
        assert set(links) == {"runs", "curves", "sweep"}
        assert all(url.startswith(f"{served.address}/#/") for url in links.values())
        assert links_in(main(f"sweep={folder.name[:6]}", program="ui").stdout) == links
        monkeypatch.setenv("LENET_EXP_OUTPUTS", str(tmp_path / "elsewhere"))
        output = main(f"sweep={parent}", secret, program="ui")
        assert links_in(output.stdout) == links
        assert password not in output.stdout + output.stderr
        served.process.kill()
        served.process.wait()
        until(lambda: not processes_of(served.port))
