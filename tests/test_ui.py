"""lenet-ui: which store and sweep it shows, and how it ends. Its pages are looked at in tests/browser."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import requests

from lenet_exp.api import compose
from lenet_exp.tracking.store import open_store
from lenet_exp.tracking.ui_links import MOST_COLUMNS, View, _differing
from lenet_exp.tracking.ui_server import listen, serving
from tests.browser.served import lenet_ui, links_in, read_links
from tests.commands import ROOT, SMALL, end, free_port, lenet_train, mlflow_server, start
from tests.stores import runs

OTHER = "experiment=other"  # of `empty_store`
SWEEP = ("-m", "hydra/launcher=basic", *SMALL, "num_epoch=1", "seed=0,1", "tracking.plots=false")


def health(address: str) -> int:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"{address}/health", timeout=30) as answer:
        return answer.status


def processes_of(port: int) -> list[str]:
    """The processes of a server on this port."""
    listed = subprocess.run(["ps", "-ww", "-eo", "pid=,args="], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if f"--port {port} " in f"{line} "]


def wait_for_processes(port: int, there: bool) -> None:
    for _ in range(600):
        if bool(processes_of(port)) == there:
            return
        time.sleep(0.1)
    raise AssertionError(processes_of(port))


def test_help_and_mistakes_are_quick_and_short(main):
    shown = main("--help", program="ui")
    assert shown.returncode == 0
    assert "sweep=" in shown.stdout
    for argument, said in {
        "prot=1": "prot=1: allowed is sweep=, open=, host=, port=, tracking.uri=, experiment=; did you mean port=?",
        "open=True": "open=True: allowed is true or false; did you mean true?",
        "port=http": "port=http: allowed is a number from 0 (any free port) to 65535",
        "port=70000": "port=70000: allowed is a number from 0 (any free port) to 65535",
    }.items():
        done = main(argument, program="ui")
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"lenet-ui: {said}\n")


def test_help_imports_neither_mlflow_nor_torch(tmp_path):
    code = "import sys; sys.argv[1:] = ['--help']; from lenet_exp.commands.ui import main\n"
    code += "try: main()\nexcept SystemExit: pass\n"
    code += "assert not {'mlflow', 'torch', 'hydra'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)})


def test_what_is_not_there_is_said_in_one_line(main, ready):
    for arguments, said in {
        (): "experiment=lenet_exp: not in the store; there are other",
        ("experiment=othr",): "experiment=othr: not in the store; there are other, Default; did you mean other?",
        ("sweep=last",): "sweep=last: there is no sweep in",
        ("sweep=abcd",): "abcd: no such sweep in",
        ("sweep=" + "0" * 32, OTHER): f"sweep={'0' * 32}: not in sqlite:///",
    }.items():
        done = main(*arguments, program="ui")
        assert done.returncode == 2
        assert done.stderr.startswith(f"lenet-ui: {said}")
        assert done.stderr.count("\n") == 1


def test_a_store_that_is_none_is_said_in_one_line(main, outputs):
    done = main(program="ui")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"{outputs}/mlflow.db: no such MLflow database" in done.stderr
    outputs.mkdir()
    (outputs / "mlflow.db").write_text("this is no database, but long enough to look like a file that holds one\n" * 9)
    done = main(program="ui")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "file is not a database" in done.stderr


def test_params_that_tell_the_runs_apart():
    both = {"optimizer.lr": "0.1", "schedule.shape": "cosine", "schedule.warmup": "0", "seed": "0"}
    runs = [both, both | {"schedule.shape": "linear", "seed": "1"}, both | {"schedule.warmup": "0.1", "seed": "2"}]
    assert _differing(["optimizer.lr", "seed"], runs) == ["optimizer.lr", "seed"]  # as swept, though one value is left
    assert _differing(["seed", "schedule"], runs) == ["seed", "schedule.shape", "schedule.warmup"]
    assert _differing(["experiment"], runs) == ["schedule.shape", "schedule.warmup", "seed"]
    assert _differing(["seed"], []) == []
    many = [{f"optimizer.flag_{i}": value for i in range(40)} for value in "ab"]
    assert len(_differing(["optimizer"], many)) == MOST_COLUMNS


def test_the_longest_view_fits_in_a_tag_of_the_oldest_mlflow():
    params = [f"regularization.a_long_name_of_a_flag_{i}" for i in range(MOST_COLUMNS)]
    saved = View(f"sweep-{'0' * 32}", "name " * 40, 10**13, f'tags.sweeps LIKE "%{"0" * 32}%"', params).saved()
    assert len(saved) <= 5000


def test_a_saved_view_is_whole_for_releases_of_mlflow_that_take_it_as_it_is():
    """MLflow 3.11 shows "Something went wrong" without one of these."""
    grouped = View("sweep", "name", 0, "", ["seed"], grouped=["seed"], accuracies=(0.1, 0.9))
    for view in (
        View("sweep", "name", 0, "", ["seed"]),
        grouped,
        View("sweep", "name", 0, "", ["seed"], parallel=True),
    ):
        saved = json.loads(view.saved())
        assert (saved["runsPinned"], saved["runsHidden"], saved["runsVisibilityMap"]) == ([], [], {})
        assert saved["globalLineChartConfig"]["xAxisKey"] == "step"


@pytest.mark.slow(seconds=5)
def test_a_file_of_the_working_directory_is_not_imported_by_the_server(ready, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    for name in ("mlflow", "uvicorn", "flask", "sklearn", "torch", "secrets"):
        (here / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nraise ImportError\n")
    monkeypatch.chdir(here)
    with serving(f"sqlite:///{ready / 'mlflow.db'}", listen(0)) as server:
        server.wait_until_up()
        assert health(server.address) == 200
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow(seconds=6)
@pytest.mark.parametrize(("which", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_and_leaves_nothing_behind(ready, tmp_path, which, status):
    here = tmp_path / "here"
    here.mkdir()
    before = sorted(path.relative_to(ready) for path in ready.rglob("*"))
    with lenet_ui(OTHER, outputs=ready, cwd=here) as served:
        assert health(served.address) == 200
        assert len(processes_of(served.port)) == 2  # mlflow server and its one uvicorn
        served.process.send_signal(which)
        assert served.process.wait(60) == status
        assert processes_of(served.port) == []
    assert list(here.iterdir()) == []
    assert sorted(path.relative_to(ready) for path in ready.rglob("*")) == before


@pytest.mark.slow(seconds=6)
def test_host_lets_others_in_by_the_machines_name_and_says_what_that_means(ready):
    name = socket.gethostname()
    with lenet_ui(OTHER, "host=0.0.0.0", outputs=ready) as served:
        assert served.address == f"http://{name}:{served.port}"
        search = {"experiment_ids": ["1"]}
        at = f"http://127.0.0.1:{served.port}/ajax-api/2.0/mlflow/runs/search"
        for asked_as, status in {
            f"{name}:{served.port}": 200,
            f"10.1.2.3:{served.port}": 200,
            "evil.example": 403,
        }.items():
            headers = {"Host": asked_as, "Origin": f"http://{asked_as}"}
            assert requests.post(at, json=search, headers=headers, timeout=30).status_code == status
        served.process.send_signal(signal.SIGINT)
        done = end(served.process)
    assert "host=0.0.0.0: whoever reaches this machine can read and change these runs" in done.stderr


@pytest.mark.slow(seconds=5)
def test_over_ssh_it_says_how_to_see_the_pages_where_one_sits(ready):
    there = {"SSH_CONNECTION": "192.0.2.7 50000 192.0.2.1 22", "USER": "ada"}
    with lenet_ui(OTHER, outputs=ready, env=there) as served:
        served.process.send_signal(signal.SIGINT)
        done = end(served.process)
    assert f"ssh -N -L {served.port}:127.0.0.1:{served.port} ada@192.0.2.1" in done.stderr


def test_a_host_of_another_machine_is_refused(main, ready):
    for host in ("192.0.2.1", "no.such.name.invalid", ""):
        done = main(OTHER, f"host={host}", program="ui")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert done.stderr.startswith(f"lenet-ui: host={host}: allowed is an address or a name of this machine")


@pytest.mark.slow(seconds=1)
def test_ctrl_c_while_the_server_starts_leaves_nothing_behind(ready):
    port = free_port()
    process = start(OTHER, f"port={port}", outputs=ready, program="ui")
    wait_for_processes(port, there=True)
    process.send_signal(signal.SIGINT)
    assert end(process).returncode == 130
    assert processes_of(port) == []


@pytest.mark.slow(seconds=5)
def test_killed_outright_it_takes_its_server_along(ready):
    with lenet_ui(OTHER, outputs=ready) as served:
        served.process.kill()
        served.process.wait()
        wait_for_processes(served.port, there=False)


@pytest.mark.slow(seconds=6)
def test_a_busy_port_is_replaced_and_that_is_said(ready):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        with lenet_ui(OTHER, f"port={port}", outputs=ready) as served:
            assert served.port != port
            assert health(served.address) == 200
            served.process.send_signal(signal.SIGINT)
            assert f"port {port} is in use; taken instead: {served.port}" in end(served.process).stderr


@pytest.mark.slow(seconds=4)
def test_a_server_that_does_not_start_is_one_line_with_what_it_said(ready):
    done = end(start(OTHER, "port=0", outputs=ready, program="ui", env={"UVICORN_LOG_LEVEL": "loud"}))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith(
        "lenet-ui: MLflow's server ended; it said last: Error: Invalid value"
    )
    assert "'loud'" in done.stderr


@pytest.mark.slow(seconds=6)
def test_settings_of_the_shell_for_other_servers_do_no_harm(ready):
    settings = {"MLFLOW_STATIC_PREFIX": "/elsewhere", "MLFLOW_GUNICORN_OPTS": "--preload", "MLFLOW_ARTIFACTS_ONLY": "1"}
    with lenet_ui(OTHER, outputs=ready, env=settings) as served:
        assert health(served.address) == 200


@pytest.mark.slow(seconds=36)
def test_a_sweep_is_shown_from_its_own_store_wherever_it_is_asked_from(ready, tmp_path):
    """The last, by id and by folder; the folder may have been moved. By MLflow run id: below, of a server."""
    assert lenet_train(*SWEEP, "tracking.experiment=mine", outputs=ready).returncode == 0
    moved = Path(shutil.move(ready, tmp_path / "moved"))
    (folder,) = (moved / "sweeps").iterdir()
    (parent,) = runs(
        open_store(compose([f"tracking.uri=sqlite:///{moved / 'mlflow.db'}"]).tracking).client, "sweep", "mine"
    )
    asked = {
        (): moved,
        (f"sweep={folder.name[:6]}",): moved,
        (f"sweep={folder}",): tmp_path / "empty",
    }
    for arguments, where in asked.items():
        process = start(
            *arguments, "port=0", outputs=where, program="ui", env={"MLFLOW_TRACKING_URI": "sqlite:///no.db"}
        )
        assert read_links(process)["sweep"].partition("?")[0].endswith(f"/runs/{parent.info.run_id}")
        process.send_signal(signal.SIGINT)
        end(process)


@pytest.mark.slow(seconds=13)
def test_of_a_server_only_the_links_are_printed(tmp_path):
    with mlflow_server(tmp_path / "server", free_port()) as address:
        assert lenet_train(*SWEEP, f"tracking.uri={address}", outputs=tmp_path / "outputs").returncode == 0
        done = end(start(outputs=tmp_path / "outputs", program="ui"))
        assert (done.returncode, done.stderr) == (0, "")
        links = links_in(done.stdout)
        assert set(links) == {"runs", "curves", "sweep", "parallel"}
        assert all(url.startswith(f"{address}/#/") for url in links.values())
        parent = links["sweep"].partition("?")[0].rpartition("/")[2]
        secret = f"tracking.uri={address.replace('//', '//someone:hunter2@')}"
        elsewhere = end(start(f"sweep={parent}", secret, outputs=tmp_path / "elsewhere", program="ui"))
        assert links_in(elsewhere.stdout) == links
        assert "hunter2" not in elsewhere.stdout + elsewhere.stderr
