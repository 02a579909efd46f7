"""Real signals in the middle of training: MLflow and the exit status tell the truth."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import MINE, SMALL, Done, end, start
from tests.stores import client, models, points, runs
from tests.sweeps.layers import GO, REACHED

pytestmark = pytest.mark.slow

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}
WAITS = (f"--config-dir={MINE}", *SMALL, "num_epoch=3", "num_threads=1", "activation=waits", "tracking.plots=false")


@pytest.fixture
def stopped(ready: Path, tmp_path: Path) -> Callable[..., Done]:
    """`stopped(SIGINT, ...)` starts a command whose training waits in its second epoch, and sends the signal there."""
    reached, go = tmp_path / "reached", tmp_path / "go"
    os.mkfifo(reached)
    os.mkfifo(go)

    def run(which: signal.Signals, *arguments: str) -> Done:
        process = start(*arguments, outputs=ready, env={REACHED: str(reached), GO: str(go)})
        pipe = os.open(reached, os.O_RDONLY | os.O_NONBLOCK)
        try:
            there, _, _ = select.select([pipe], [], [], 300)
            assert there, "training did not get there"
            process.send_signal(which)
            return end(process)
        finally:
            process.kill()
            os.close(pipe)

    return run


@pytest.mark.parametrize("which", STATUS)
def test_a_run_that_is_stopped_ends_killed_with_its_first_epoch(stopped, ready, which):
    done = stopped(which, *WAITS)
    assert done.returncode == STATUS[which]
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] in {"lenet-train: stopped", "lenet-train: terminated"}
    (run,) = runs(client(ready))
    assert (run.info.status, run.data.tags["outcome"]) == ("KILLED", "killed")
    assert [step for step, _, _ in points(client(ready), run.info.run_id)["val_accuracy"]] == [1]


@pytest.mark.parametrize("which", STATUS)
def test_a_sweep_that_is_stopped_leaves_nothing_running(stopped, ready, which):
    done = stopped(which, "-m", *WAITS, "seed=0,1,2")
    assert done.returncode == STATUS[which]
    assert "Traceback" not in done.stderr
    assert "3 runs: 1 killed, 2 not started; 1 trained in" in done.stdout
    (line,) = [text for text in done.stdout.splitlines() if text.startswith("killed: seed=0: ")]
    assert Path(line.rpartition("; log: ")[2]).is_file()
    (parent,) = runs(client(ready), "sweep")
    (child,) = runs(client(ready))
    for run in (parent, child):
        assert (run.info.status, run.data.tags["outcome"]) == ("KILLED", "killed")
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.data.metrics | {"best_val_accuracy": 0} == {
        "runs": 3,
        "runs_finished": 0,
        "runs_diverged": 0,
        "runs_failed": 0,
        "runs_killed": 1,
        "runs_missing": 2,
        "best_val_accuracy": 0,
    }
    assert "| killed |" in parent.data.tags["mlflow.note.content"]


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGKILL])
def test_the_same_line_again_trains_a_stopped_run_to_its_end(stopped, ready, which):
    """Also after kill -9, when nobody could close the MLflow run: the next start does."""
    stopped(which, *WAITS)
    (first,) = runs(client(ready))
    assert first.info.status == {signal.SIGINT: "KILLED", signal.SIGKILL: "RUNNING"}[which]
    again = end(start(*WAITS, outputs=ready))
    assert again.returncode == 0, again.stderr
    assert "trained before" not in again.stdout
    states = {run.info.run_id: run.info.status for run in runs(client(ready))}
    assert states.pop(first.info.run_id) == "KILLED"
    assert list(states.values()) == ["FINISHED"]
    (run_id,) = states
    assert [step for step, _, _ in points(client(ready), run_id)["val_accuracy"]] == [1, 2, 3]
    assert [model.source_run_id for model in models(client(ready))] == [run_id]


def test_a_sweep_goes_on_after_kill_9_with_what_is_missing(stopped, ready):
    line = ("-m", f"--config-dir={MINE}", *WAITS[1:-2], "tracking.plots=false", "activation=relu,waits,selu")
    stopped(signal.SIGKILL, *line)
    assert [run.info.run_name for run in runs(client(ready))] == ["relu", "waits"]
    again = end(start(*line, outputs=ready))
    assert again.returncode == 0, again.stderr
    assert "3 runs: 3 finished; 2 trained (1 had been trained before)" in again.stdout
    found = [(run.info.run_name, run.info.status) for run in runs(client(ready))]
    assert found == [("relu", "FINISHED"), ("waits", "KILLED"), ("waits", "FINISHED"), ("selu", "FINISHED")]
