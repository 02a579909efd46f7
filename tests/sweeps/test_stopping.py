"""Real signals during training: MLflow and the exit status are correct, and a rerun resumes."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.entities import Run

from tests.tools.commands import MINE, SMALL, Done, end, start, succeeded
from tests.tools.counts import counts
from tests.tools.stores import client, models, points, runs
from tests.tools.waiting import wait_until_left, waiting

pytestmark = pytest.mark.slow(seconds=7)

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}
WAITS = (
    f"--config-dir={MINE}",
    *SMALL,
    "num_epoch=3",
    "num_threads=1",
    "activation=waits",
    "tracking.plots=false",
)
SWEEP = ("-m", *WAITS, "tracking.models=none", "sweep.workers=1", "seed=0,1,2")
STEPS = list(range(20, 121, 20))  # three epochs with 40 iterations, an echo every 20


@pytest.fixture
def stopped(ready: Path, tmp_path: Path) -> Callable[..., Done]:
    """Return a function that starts a command and sends a signal while its training waits in the
    second epoch.

    `times=2` sends the signal twice.
    """

    def run(which: signal.Signals, *arguments: str, times: int = 1) -> Done:
        with waiting(*arguments, outputs=ready, tmp_path=tmp_path) as process:
            for n in range(times):
                time.sleep(n * 1.0)
                process.send_signal(which)
            return end(process)

    return run


def steps(outputs: Path, run: Run, metric: str) -> list[int]:
    """Return the steps at which a run logged a metric."""
    curve = points(client(outputs), run.info.run_id)[metric]
    return [step for step, _, _ in curve]


@pytest.mark.parametrize(
    ("which", "launcher"),
    [(signal.SIGINT, "local"), pytest.param(signal.SIGTERM, "basic", marks=pytest.mark.by_hand)],
)
@pytest.mark.slow(seconds=14)
def test_stopped_sweep_leaves_no_process_and_resumes_in_same_parent_run(
    stopped, ready, which, launcher
):
    line = (*SWEEP, f"hydra/launcher={launcher}")

    done = stopped(which, *line)

    assert done.returncode == STATUS[which]
    assert "Traceback" not in done.stderr
    assert counts(done) == ({"killed": 1, "not started": 2}, 1, 0)
    (message,) = [text for text in done.stdout.splitlines() if text.startswith("killed: seed=0: ")]
    _, _, log = message.rpartition("; log: ")
    assert Path(log).is_file()
    assert "lenet-train -m sweep.resume=" in done.stdout

    (parent,) = runs(client(ready), "sweep")
    (child,) = runs(client(ready))
    for run in (parent, child):
        assert run.info.status == "KILLED"
        assert run.data.tags["outcome"] == "killed"
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

    rerun = succeeded(end(start(*line, outputs=ready)))

    assert counts(rerun) == ({"finished": 3}, 3, 0)
    (after,) = runs(client(ready), "sweep")
    assert after.info.run_id == parent.info.run_id
    assert after.info.status == "FINISHED"
    assert after.data.tags["outcome"] == "finished"
    assert after.data.metrics["runs_finished"] == 3
    assert after.data.metrics["runs_killed"] == 0
    assert after.data.metrics["runs_missing"] == 0
    assert "killed" not in after.data.tags["mlflow.note.content"]

    children = runs(client(ready))
    assert sorted(run.data.params["seed"] for run in children) == ["0", "1", "2"]
    assert {run.info.status for run in children} == {"FINISHED"}
    tags_by_id = {run.info.run_id: run.data.tags for run in children}
    assert tags_by_id[child.info.run_id]["resumed"] == "1"


def test_killed_run_that_sweep_did_not_reach_is_not_counted_as_trained(stopped):
    line = (*WAITS, "tracking.models=none")
    alone = stopped(signal.SIGINT, *line, "seed=1")
    assert alone.returncode == 130
    sweep = stopped(signal.SIGINT, "-m", *line, "sweep.workers=1", "seed=0,1")
    assert sweep.returncode == 130
    assert counts(sweep) == ({"killed": 2}, 1, 0)


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGKILL])
def test_rerun_resumes_stopped_run_in_same_mlflow_run(stopped, ready, which):
    """The run also resumes after SIGKILL, when no process closed the MLflow run."""
    done = stopped(which, *WAITS)

    assert done.returncode == STATUS[which]
    assert "Traceback" not in done.stderr
    (first,) = runs(client(ready))
    if which == signal.SIGINT:
        assert "rerun the same command" in done.stdout
        assert first.info.status == "KILLED"
        assert first.data.tags["outcome"] == "killed"
        assert first.data.tags["reason"] == "SIGINT"
        assert steps(ready, first, "val_accuracy") == [1]
    else:
        assert "rerun the same command" not in done.stdout
        assert first.info.status == "RUNNING"
    assert models(client(ready)) == []

    rerun = succeeded(end(start(*WAITS, outputs=ready)))

    (kept_steps,) = re.findall(r"epoch 2 after (\d+) steps", rerun.stderr)
    if which == signal.SIGINT:
        assert int(kept_steps) in range(1, 40)  # it ends the step and writes a checkpoint
    else:
        assert int(kept_steps) == 0  # no checkpoint in this epoch
    assert "epoch 1/3" not in rerun.stderr

    (run,) = runs(client(ready))
    assert run.info.run_id == first.info.run_id
    assert run.info.status == "FINISHED"
    assert run.data.tags["outcome"] == "finished"
    assert run.data.tags["resumed"] == "1"
    assert steps(ready, run, "val_accuracy") == [1, 2, 3]
    assert steps(ready, run, "step_loss") == STEPS
    assert [model.source_run_id for model in models(client(ready))] == [run.info.run_id]


@pytest.mark.slow(seconds=14)
def test_second_signal_ends_sweep_at_once_and_rerun_resumes(stopped, ready):
    done = stopped(signal.SIGTERM, *SWEEP, "activation.stubborn=true", times=2)

    assert done.returncode == 143
    assert "Traceback" not in done.stderr
    (folder,) = (ready / "runs").iterdir()
    wait_until_left(folder)  # the killed worker may still be exiting

    rerun = succeeded(end(start(*SWEEP, "activation.stubborn=true", outputs=ready)))

    assert counts(rerun) == ({"finished": 3}, 3, 0)
    store = client(ready)
    assert {sweep.info.status for sweep in runs(store, "sweep")} == {"FINISHED"}
    assert [run.info.status for run in runs(store)] == ["FINISHED"] * 3
