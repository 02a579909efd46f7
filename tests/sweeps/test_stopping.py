"""Real signals in the middle of training: MLflow and the exit status tell the truth, and the same line goes on."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lenet_exp.folders.owner import owner_of
from tests.commands import MINE, SMALL, Done, end, start
from tests.stores import client, models, points, runs
from tests.sweeps.layers import REACHED

pytestmark = pytest.mark.slow(seconds=7)

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}
WAITS = (f"--config-dir={MINE}", *SMALL, "num_epoch=3", "num_threads=1", "activation=waits", "tracking.plots=false")
SWEEP = ("-m", *WAITS, "sweep.workers=1", "seed=0,1,2")
STEPS = list(range(20, 121, 20))  # of three epochs with 40 iterations, an echo every 20


@pytest.fixture
def stopped(ready: Path, tmp_path: Path) -> Callable[..., Done]:
    """`stopped(SIGINT, ...)` starts a command whose training waits in its second epoch, and sends the signal there.

    `times=2`: sends it twice.
    """
    reached = tmp_path / "reached"
    os.mkfifo(reached)

    def run(which: signal.Signals, *arguments: str, times: int = 1) -> Done:
        process = start(*arguments, outputs=ready, env={REACHED: str(reached)})
        pipe = os.open(reached, os.O_RDONLY | os.O_NONBLOCK)
        try:
            there, _, _ = select.select([pipe], [], [], 300)
            assert there, "training did not get there"
            for n in range(times):
                time.sleep(n * 1.0)
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
    assert run.data.tags["reason"] == which.name
    assert [step for step, _, _ in points(client(ready), run.info.run_id)["val_accuracy"]] == [1]
    assert models(client(ready)) == []


@pytest.mark.parametrize("launcher", ["local", "basic"])
@pytest.mark.parametrize("which", STATUS)
def test_a_sweep_that_is_stopped_leaves_nothing_running(stopped, ready, which, launcher):
    done = stopped(which, *SWEEP, f"hydra/launcher={launcher}")
    assert done.returncode == STATUS[which]
    assert "Traceback" not in done.stderr
    assert "3 runs: 1 killed, 2 not started; 1 trained in" in done.stdout
    (line,) = [text for text in done.stdout.splitlines() if text.startswith("killed: seed=0: ")]
    assert Path(line.rpartition("; log: ")[2]).is_file()
    assert "the same line again goes on; or: lenet-train -m sweep.resume=" in done.stdout
    (parent,) = runs(client(ready), "sweep")
    (child,) = runs(client(ready))
    for run in (parent, child):
        assert (run.info.status, run.data.tags["outcome"]) == ("KILLED", "killed")
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.tags["reason"] == which.name
    assert parent.data.metrics == {
        "runs": 3,
        "runs_finished": 0,
        "runs_diverged": 0,
        "runs_failed": 0,
        "runs_killed": 1,
        "runs_missing": 2,
    }
    assert "1 killed, 2 not started" in parent.data.tags["mlflow.note.content"]


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGKILL])
def test_the_same_line_again_goes_on_with_a_stopped_run_in_the_same_mlflow_run(stopped, ready, which):
    """Also after kill -9, when nobody could close the MLflow run."""
    stopped(which, *WAITS)
    (first,) = runs(client(ready))
    assert first.info.status == {signal.SIGINT: "KILLED", signal.SIGKILL: "RUNNING"}[which]
    again = end(start(*WAITS, outputs=ready))
    assert again.returncode == 0, again.stderr
    assert "trained before" not in again.stdout
    # It came to the end of its step; or to no commit there.
    steps = {signal.SIGINT: range(1, 40), signal.SIGKILL: [0]}[which]
    assert any(f"digits waits sgd: goes on in epoch 2 after {n} steps" in again.stderr for n in steps)
    assert "epoch 1/3" not in again.stderr
    (run,) = runs(client(ready))
    assert run.info.run_id == first.info.run_id
    assert (run.info.status, run.data.tags["outcome"], run.data.tags["resumed"]) == ("FINISHED", "finished", "1")
    logged = points(client(ready), run.info.run_id)
    assert [step for step, _, _ in logged["val_accuracy"]] == [1, 2, 3]
    assert [step for step, _, _ in logged["step_loss"]] == STEPS
    assert [model.source_run_id for model in models(client(ready))] == [run.info.run_id]


def test_the_same_line_again_goes_on_with_a_stopped_sweep_under_the_same_parent(stopped, ready):
    stopped(signal.SIGINT, *SWEEP)
    (parent,), (first,) = runs(client(ready), "sweep"), runs(client(ready))
    again = end(start(*SWEEP, outputs=ready))
    assert again.returncode == 0, again.stderr
    assert "3 runs: 3 finished; 3 trained in" in again.stdout
    (after,) = runs(client(ready), "sweep")
    assert after.info.run_id == parent.info.run_id
    assert (after.info.status, after.data.tags["outcome"]) == ("FINISHED", "finished")
    assert after.data.metrics["runs_finished"] == 3
    assert after.data.metrics["runs_killed"] == after.data.metrics["runs_missing"] == 0
    assert "killed" not in after.data.tags["mlflow.note.content"]
    children = runs(client(ready))
    assert sorted(run.data.params["seed"] for run in children) == ["0", "1", "2"]
    assert {run.info.status for run in children} == {"FINISHED"}
    assert {run.info.run_id: run.data.tags.get("resumed") for run in children}[first.info.run_id] == "1"


def test_a_sweep_goes_on_after_kill_9_with_what_is_missing(stopped, ready):
    line = ("-m", f"--config-dir={MINE}", *WAITS[1:-2], "tracking.plots=false", "activation=relu,waits,selu")
    stopped(signal.SIGKILL, *line, "sweep.workers=1")
    again = end(start(*line, outputs=ready))
    assert again.returncode == 0, again.stderr
    assert "3 runs: 3 finished; 2 trained (1 had been trained before)" in again.stdout
    (parent,) = runs(client(ready), "sweep")
    assert (parent.info.status, parent.data.tags["starts"]) == ("FINISHED", "2")
    children = runs(client(ready))
    found = {run.info.run_name: (run.info.status, run.data.tags.get("resumed")) for run in children}
    assert found == {"relu": ("FINISHED", None), "waits": ("FINISHED", "1"), "selu": ("FINISHED", None)}
    assert len(children) == 3
    for run in children:
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert [step for step, _, _ in points(client(ready), run.info.run_id)["step_loss"]] == STEPS


@pytest.mark.parametrize("which", STATUS)
def test_a_second_signal_ends_a_sweep_at_once_with_its_workers_and_it_goes_on_all_the_same(stopped, ready, which):
    done = stopped(which, *SWEEP, "activation.stubborn=true", times=2)
    assert done.returncode == STATUS[which]
    assert "Traceback" not in done.stderr
    (folder,) = (ready / "runs").iterdir()
    deadline = time.monotonic() + 10
    while owner_of(folder) is not None:  # the worker was killed, but the kernel may not be done with it
        assert time.monotonic() < deadline
        time.sleep(0.05)
    again = end(start(*SWEEP, "activation.stubborn=true", outputs=ready))
    assert again.returncode == 0, again.stderr
    assert "3 runs: 3 finished; 3 trained in" in again.stdout
    assert {run.info.status for run in (*runs(client(ready), "sweep"), *runs(client(ready)))} == {"FINISHED"}
    assert len(runs(client(ready))) == 3
