"""A separate process uploads a single run; nothing is lost if that process dies."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools.commands import ROOT, SMALL, end, start, succeeded
from tests.tools.stores import client, files, models, points, runs
from tests.tools.until import alive, until

pytestmark = pytest.mark.slow(seconds=7)

QUICK = (*SMALL, "num_epoch=2", "engine=native", "num_threads=1")
LONG = (*SMALL, "num_epoch=2000", "num_threads=1")


def uploader_of(process: subprocess.Popen[str]) -> int:
    """Wait for the uploading process, and return its process ID."""

    def find_uploader() -> int | None:
        for children in Path(f"/proc/{process.pid}/task").glob("*/children"):
            for pid in children.read_text().split():
                with contextlib.suppress(OSError):  # another child, which has ended
                    command = Path(f"/proc/{pid}/cmdline").read_bytes()
                    if b"lenet_exp.tracking.uploader.process" in command:
                        return int(pid)
        return None

    return until(find_uploader)


def test_single_run_is_uploaded_without_mlflow_in_training_process(ready):
    code = (
        "import sys; sys.argv[0] = 'lenet-train'\n"
        "from lenet_exp.commands.train import main\n"
        "try: main()\n"
        "finally:\n"
        "    names = ('mlflow', 'matplotlib.figure')\n"
        "    print('loaded:', [name for name in names if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *QUICK], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "loaded: []" in done.stdout
    (run,) = runs(client(ready))
    assert run.info.run_id in done.stdout
    assert run.info.status == "FINISHED"
    assert run.data.metrics.keys() >= {"best_val_accuracy", "lr"}
    assert len(points(client(ready), run.info.run_id)["val_accuracy"]) == 2
    pictures = {"learning_curves.svg", "confusion_matrix.svg"}
    assert files(client(ready), run.info.run_id) >= {"record.json"} | pictures
    assert len(models(client(ready))) == 1


NOTES_IMPORTS = """
import os, sys

what = " ".join(sys.orig_argv)
uploads = "lenet_exp.tracking" in what


def note(name):
    with open(os.environ["LENET_EXP_TEST_NOTES"], "a") as file:
        file.write(f"{name}: {what}\\n")


class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "mlflow":
            note("imports mlflow")


note("uploads" if uploads else "trains")
if not uploads:
    sys.meta_path.insert(0, Finder)
"""


def test_no_process_of_a_sweep_that_trains_imports_mlflow(ready, tmp_path):
    """Each interpreter notes how it was started, and whether it imports mlflow although it does not
    upload.
    """
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(NOTES_IMPORTS)
    notes = tmp_path / "notes"
    environment = {"PYTHONPATH": f"{hooks}:{ROOT}", "LENET_EXP_TEST_NOTES": str(notes)}
    line = ("-m", *QUICK, "seed=0,1", "sweep.workers=2")

    succeeded(end(start(*line, outputs=ready, cold=True, env=environment)))

    interpreters = notes.read_text().splitlines()
    assert [note for note in interpreters if note.startswith("imports")] == []
    assert sum("lenet_exp.executors.local.worker" in note for note in interpreters) == 2
    assert sum("lenet_exp train" in note for note in interpreters) == 1
    assert sum("uploader.process" in note for note in interpreters) == 1
    assert [run.info.status for run in runs(client(ready))] == ["FINISHED"] * 2

    notes.unlink()
    repeated = succeeded(end(start(*line, outputs=ready, cold=True, env=environment)))
    assert "uploader.process" not in notes.read_text()  # nothing is trained, nothing is missing
    assert "lenet-ui sweep=" in repeated.stdout


def test_run_survives_killed_uploader_and_sync_uploads_results(ready):
    process = start(*SMALL, "num_epoch=60", "num_threads=1", outputs=ready, cold=True)
    pid = uploader_of(process)
    until(lambda: list(ready.glob("runs/*/history.json")))
    os.kill(pid, signal.SIGKILL)
    done = succeeded(end(process))
    lines = done.stderr.splitlines()
    assert any("lenet-sync" in line and "-9" in line for line in lines)

    succeeded(end(start(outputs=ready, program="sync")))

    (run,) = runs(client(ready))
    assert run.info.status == "FINISHED"
    accuracies = points(client(ready), run.info.run_id)["val_accuracy"]
    assert [step for step, _, _ in accuracies] == list(range(1, 61))


@pytest.mark.parametrize(
    ("which", "awaited_file"),
    [
        (signal.SIGTERM, "history.json"),
        (signal.SIGKILL, "delivered.json"),
        pytest.param(signal.SIGKILL, "history.json", marks=pytest.mark.by_hand),
    ],
)
def test_ended_run_leaves_no_uploading_process(ready, which, awaited_file):
    """SIGTERM goes to the whole process group, which must end the run like SIGTERM to the run's
    process.

    When the run has its first history.json, the uploading process still imports mlflow.
    """
    process = start(*LONG, outputs=ready, cold=True, start_new_session=True)
    pid = uploader_of(process)
    until(lambda: list(ready.glob(f"runs/*/{awaited_file}")))
    if which == signal.SIGTERM:
        os.killpg(process.pid, which)
    else:
        process.kill()
    done = end(process)
    until(lambda: not alive(pid))
    if which == signal.SIGTERM:
        assert done.returncode == 143, done.stderr
        (run,) = runs(client(ready))
        assert run.info.status == "KILLED"


def test_impossible_store_gives_one_line_error_and_is_not_created(outputs):
    uri = "tracking.uri=sqlite:////proc/nowhere/x.db"
    done = end(start(*QUICK, uri, outputs=outputs, cold=True))
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert uri in done.stderr
    assert not list(outputs.glob("*.db"))


def test_unreachable_store_gives_one_warning_and_run_finishes(outputs):
    uri = "tracking.uri=http://127.0.0.1:9"
    done = succeeded(end(start(*QUICK, uri, outputs=outputs, cold=True)))
    warning, last = [line for line in done.stderr.splitlines() if "127.0.0.1:9" in line]
    assert warning.startswith(uri)
    assert "lenet-sync run=" in last
    (log,) = outputs.glob("runs/*/run.log")
    assert "epoch 2/2" in log.read_text()


@pytest.mark.slow(seconds=1)
def test_uploading_process_starts_without_torch():
    """The uploading process imports mlflow while the run's process imports torch."""
    code = (
        "import sys, lenet_exp.reports.terminal.progress, lenet_exp.tracking.uploader.process\n"
        "print([name for name in ('torch', 'mlflow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
