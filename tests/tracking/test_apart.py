"""A lone run is delivered by a process beside its own; whatever becomes of that one, nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import SMALL, end, start
from tests.stores import client, files, models, points, runs

pytestmark = pytest.mark.slow(seconds=10)

QUICK = (*SMALL, "num_epoch=2", "engine=native", "num_threads=1")
LONG = (*SMALL, "num_epoch=2000", "num_threads=1")


def beside(process: subprocess.Popen[str], wait_seconds: float = 60) -> int:
    """The process that delivers, once it is there."""
    until = time.monotonic() + wait_seconds
    while time.monotonic() < until:
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == process.pid and b"lenet_exp.tracking.apart" in (entry / "cmdline").read_bytes():
                    return int(entry.name)
            except (FileNotFoundError, ProcessLookupError):
                continue
        time.sleep(0.02)
    raise AssertionError("no process delivers")


def is_there(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def gone(pid: int) -> bool:
    until = time.monotonic() + 60
    while is_there(pid) and time.monotonic() < until:
        time.sleep(0.05)
    return not is_there(pid)


def committed(outputs: Path) -> None:
    """Waits for a first commit."""
    until = time.monotonic() + 60
    while not list(outputs.glob("runs/*/history.json")):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_lone_run_is_delivered_whole_and_its_own_process_never_loads_mlflow(ready):
    code = (
        "import sys; sys.argv[0] = 'lenet-train'\n"
        "from lenet_exp.commands.train import main\n"
        "try: main()\n"
        "finally: print('loaded:', [m for m in ('mlflow', 'matplotlib.figure', 'torch._dynamo') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, *QUICK], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "loaded: []" in done.stdout
    (run,) = runs(client(ready))
    assert run.info.run_id in done.stdout
    assert (run.info.status, run.data.metrics.keys() >= {"best_val_accuracy", "lr"}) == ("FINISHED", True)
    assert len(points(client(ready), run.info.run_id)["val_accuracy"]) == 2
    assert files(client(ready), run.info.run_id) >= {"learning_curves.png", "confusion_matrix.png", "record.json"}
    assert len(models(client(ready))) == 1


@pytest.mark.parametrize("when", ["at once", "while it trains"])
def test_a_run_whose_delivery_is_killed_delivers_itself(ready, when):
    process = start(*SMALL, "num_epoch=150", "num_threads=1", outputs=ready, cold=True)
    pid = beside(process)
    if when == "while it trains":
        committed(ready)
    os.kill(pid, signal.SIGKILL)
    done = end(process)
    assert done.returncode == 0, done.stderr
    (run,) = runs(client(ready))
    assert (run.info.status, run.info.run_id in done.stdout) == ("FINISHED", True)
    assert [step for step, _, _ in points(client(ready), run.info.run_id)["val_accuracy"]] == list(range(1, 151))


def test_a_signal_to_all_of_its_processes_ends_it_as_one_to_itself(ready):
    process = start(*LONG, outputs=ready, cold=True, start_new_session=True)
    pid = beside(process)
    committed(ready)
    os.killpg(process.pid, signal.SIGTERM)
    done = end(process)
    assert done.returncode == 143, done.stderr
    assert gone(pid)
    (run,) = runs(client(ready))
    assert run.info.status == "KILLED"


def test_a_killed_run_leaves_no_process_behind(ready):
    process = start(*LONG, outputs=ready, cold=True)
    pid = beside(process)
    committed(ready)
    process.kill()
    end(process)
    assert gone(pid)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("optimizer.lr=-1", "optimizer.lr=-1"),
        ("tracking.uri=sqlite:////proc/nowhere/x.db", "tracking.uri=sqlite:////proc/nowhere/x.db"),
    ],
)
def test_what_is_wrong_is_one_line_and_no_store_is_made(outputs, wrong, said):
    process = start(*QUICK, wrong, outputs=outputs, cold=True)
    done = end(process)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert said in done.stderr
    assert not list(outputs.glob("*.db"))


def test_a_store_that_is_away_is_said_once_and_the_run_ends_well(outputs):
    process = start(*QUICK, "tracking.uri=http://127.0.0.1:9", outputs=outputs, cold=True)
    done = end(process)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("can't be written") == 1, done.stderr
    assert "to deliver: lenet-sync" in done.stderr
    (log,) = outputs.glob("runs/*/run.log")
    assert "epoch 2/2" in log.read_text()
