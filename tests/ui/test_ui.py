"""lenet-ui: the store and sweep that it shows, and how it ends. tests/browser tests its pages."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from lenet_exp.tracking.stores.refused import TOKEN_REQUIRED
from lenet_exp.ui.links import MOST_COLUMNS, View
from tests.browser.served import Served, lenet_ui, links_in
from tests.tools.commands import SMALL, end, free_port, lenet_train, refused, start, succeeded
from tests.tools.stores import client, files, runs
from tests.tools.until import until

OTHER = "experiment=other"  # in `empty_store`
BARE = ("tracking.plots=false", "tracking.models=none")
SWEEP = ("-m", "hydra/launcher=basic", *SMALL, *BARE, "num_epoch=1", "seed=0,1")


def health(served: Served) -> int:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(urllib.request.Request(f"{served.address}/health", headers=served.headers), timeout=30) as answer:
        return answer.status


def processes_of(port: int) -> list[str]:
    """Return the processes of a server on this port."""
    listed = subprocess.run(["ps", "-ww", "-eo", "pid=,args="], capture_output=True, text=True, check=True).stdout
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
        ((OTHER, "host=192.0.2.1"), ("host=192.0.2.1",)),
        ((OTHER, "host=no.such.name.invalid"), ("no.such.name.invalid",)),
        ((OTHER, "host=nope host"), ("host=nope host",)),
        ((OTHER, "host="), ("host=",)),
        ((OTHER, "token=a b"), ("token=",)),
        (("tracking.uri=sqlite:////no/mlflow.db",), ("/no/mlflow.db",)),
        (("tracking.uri=sqlite:///none.db",), ("none.db", "not a database")),
    ],
)
def test_invalid_request_gives_one_line_error(main, ready, workdir, arguments, said):
    (workdir / "none.db").write_text("this is no database, but long enough to look like a file that holds one\n" * 9)
    refused(main(*arguments, program="ui"), *said, program="ui")


def test_saved_view_fits_into_tag_of_oldest_supported_mlflow():
    params = [f"regularization.a_long_name_of_a_flag_{i}" for i in range(MOST_COLUMNS)]
    longest = View("sweep", f'tags.sweeps LIKE "%{"0" * 32}%"', params, grouped=params)
    assert len(longest.tag_value()) <= 5000


@pytest.mark.slow(seconds=10)
def test_ui_works_in_hostile_environment_and_ctrl_c_leaves_nothing(ready, tmp_path, tmp_path_factory):
    """The environment has a busy port, files that hide modules, SSH, and a browser with visible arguments."""
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
            assert health(served) == 200
            assert len(processes_of(served.port)) == 2  # mlflow server and its one uvicorn
            assert len(served.token) >= 22
            assert served.token not in "".join(processes_of(served.port))
            served.process.send_signal(signal.SIGINT)
            done = end(served.process)
    assert done.returncode == 130
    assert {str(port), str(served.port)} <= set(re.findall(r"\d+", done.stderr))
    assert f"ssh -N -L {served.port}:127.0.0.1:{served.port} ada@192.0.2.1" in done.stderr
    assert processes_of(served.port) == []
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before


@pytest.mark.by_hand
def test_host_flag_gives_token_holders_access_and_prints_warning(ready, tmp_path):
    name = socket.gethostname()
    with lenet_ui(OTHER, "host=0.0.0.0", outputs=ready) as served:
        assert served.address == f"http://{name}:{served.port}"
        search = {"experiment_ids": ["1"]}
        at = f"http://127.0.0.1:{served.port}/ajax-api/2.0/mlflow/runs/search"
        for asked_as, status in ((f"{name}:{served.port}", 200), ("evil.example", 403)):
            headers = {"Host": asked_as, "Origin": f"http://{asked_as}"} | served.headers
            assert requests.post(at, json=search, headers=headers, timeout=30).status_code == status
        assert requests.post(at, json=search, timeout=30).status_code == 403
        uri = f"tracking.uri=http://127.0.0.1:{served.port}"
        line = (*SMALL, *BARE, "num_epoch=1", "tracking.experiment=other", uri)
        for token in ({}, {"MLFLOW_TRACKING_TOKEN": "another"}):
            refused(lenet_train(*line, outputs=tmp_path / "mine", **token), TOKEN_REQUIRED)
        assert not (tmp_path / "mine" / "runs").exists()
        succeeded(lenet_train(*line, outputs=tmp_path / "mine", MLFLOW_TRACKING_TOKEN=served.token))
        (run,) = runs(client(ready), "run", "other")
        assert "record.json" in files(client(ready), run.info.run_id)
        served.process.send_signal(signal.SIGTERM)
        done = end(served.process)
    assert done.returncode == 143
    assert "host=0.0.0.0" in done.stderr


@pytest.mark.slow(seconds=20)
def test_ui_of_empty_folder_prints_links_of_later_sweeps(tmp_path):
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    with lenet_ui(outputs=outputs) as served:
        assert health(served) == 200
        for seeds in ("seed=0,1", "seed=2,3"):
            assert lenet_train(*SWEEP, seeds, outputs=outputs).returncode == 0
            (parent, *_) = sorted(runs(client(outputs), "sweep"), key=lambda run: -run.info.start_time)
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
def test_ui_prints_links_of_server_and_killed_ui_ends_own_server(main, ready, tmp_path, monkeypatch):
    """The first lenet-ui serves a moved sweep's store, although the environment names another store."""
    assert main(*SWEEP, "tracking.experiment=mine").returncode == 0
    moved = Path(shutil.move(ready, tmp_path / "moved"))
    (folder,), (parent,) = (moved / "sweeps").iterdir(), runs(client(moved), "sweep", "mine")
    elsewhere = {"MLFLOW_TRACKING_URI": "sqlite:///no.db"}
    with lenet_ui(f"sweep={folder}", "token=none", outputs=tmp_path / "empty", env=elsewhere) as served:
        assert urlsplit(served.links["sweep"]).fragment.partition("?")[0].endswith(f"/runs/{parent.info.run_id}")
        here = tmp_path / "here"
        monkeypatch.setenv("LENET_EXP_OUTPUTS", str(here))
        assert main(*SWEEP, f"tracking.uri={served.address}").returncode == 0
        (folder,) = (here / "sweeps").iterdir()
        secret = f"tracking.uri={served.address.replace('//', '//someone:hunter2@')}"
        links = links_in(main(program="ui").stdout)
        parent = links["sweep"].partition("?")[0].rpartition("/")[2]
        assert set(links) == {"runs", "curves", "sweep"}
        assert all(url.startswith(f"{served.address}/#/") for url in links.values())
        assert links_in(main(f"sweep={folder.name[:6]}", program="ui").stdout) == links
        monkeypatch.setenv("LENET_EXP_OUTPUTS", str(tmp_path / "elsewhere"))
        shown = main(f"sweep={parent}", secret, program="ui")
        assert links_in(shown.stdout) == links
        assert "hunter2" not in shown.stdout + shown.stderr
        served.process.kill()
        served.process.wait()
        until(lambda: not processes_of(served.port))
