"""Runs side by side in workers: who they are, what dies, what is counted, and that the weights are the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands import MINE, SMALL, Done, end, start
from tests.stores import client, points, runs
from tests.sweeps.spies import FOLDER

pytestmark = pytest.mark.slow(seconds=25)

QUIET = ("tracking.plots=false", "tracking.models=none")
LINE = ("-m", f"--config-dir={MINE}", *SMALL, *QUIET)


def sweep(*arguments: str, outputs: Path, folder: Path, deaths: int = 0, module: str | None = None) -> Done:
    """Runs a line whose activation `dies` ends its process `deaths` times in all."""
    for n in range(deaths):
        (folder / f"die-{n}").touch()
    return end(start(*LINE, *arguments, outputs=outputs, module=module, env={FOLDER: str(folder)}))


def digests(outputs: Path) -> dict[str, str]:
    return {run.data.tags["fingerprint"]: run.data.tags["weights_digest"] for run in runs(client(outputs))}


def test_workers_are_sessions_of_their_own_with_one_thread_and_without_mlflow(ready, tmp_path):
    done = sweep("activation=spy", "num_epoch=2", "seed=range(4)", "sweep.workers=2", outputs=ready, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    told = [json.loads(path.read_text()) for path in tmp_path.glob("spy-*.json")]
    assert len(told) == 2  # warm: four runs in two processes
    for worker in told:
        assert worker["session"] == worker["pid"]
        assert worker["threads"] == 1
        assert "torch" in worker["modules"]
        assert not {m for m in worker["modules"] if m.partition(".")[0] in {"mlflow", "pandas", "sklearn"}}
        assert not Path(f"/proc/{worker['pid']}").exists()


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_the_weights_do_not_depend_on_launcher_order_or_number_of_workers(launcher, ready, tmp_path):
    line = ("num_epoch=2", "activation=rrelu,selu", "regularization.dropout_rate=0.3")
    local = sweep(*line, "seed=0,1", "sweep.workers=3", outputs=ready, folder=tmp_path)
    assert local.returncode == 0, local.stderr
    first = digests(ready)
    other = end(
        start("-m", f"hydra/launcher={launcher}", *SMALL, *QUIET, *line, "seed=1,0", outputs=tmp_path / "other")
    )
    assert other.returncode == 0, other.stderr
    assert len(first) == 4
    assert digests(tmp_path / "other") == first
    assert {run.info.status for kind in ("run", "sweep") for run in runs(client(tmp_path / "other"), kind)} == {
        "FINISHED"
    }


@pytest.mark.parametrize(
    ("how", "reason"), [("kill", "killed by SIGKILL"), ("exit", "its process ended with status 3")]
)
def test_a_worker_that_dies_costs_a_retry_and_then_its_run_alone(how, reason, ready, tmp_path):
    line = ("activation=dies", f"activation.how={how}", "activation.after=60", "num_epoch=3", "seed=range(3)")
    done = sweep(*line, "sweep.workers=1", outputs=ready, folder=tmp_path, deaths=2)
    assert done.returncode == 1
    assert f"failed: seed=0: {reason}; log: " in done.stdout  # twice
    assert "3 runs: 2 finished, 1 failed" in done.stdout
    states = {run.info.run_name: run.info.status for run in runs(client(ready))}
    assert states == {"seed=0": "FAILED", "seed=1": "FINISHED", "seed=2": "FINISHED"}
    again = sweep(*line, "sweep.workers=1", outputs=ready, folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "1 trained (2 had been trained before)" in again.stdout
    found = runs(client(ready))
    assert [run.info.status for run in found] == ["FINISHED"] * 3
    for run in found:
        assert [step for step, _, _ in points(client(ready), run.info.run_id)["val_accuracy"]] == [1, 2, 3]
    assert found[0].data.tags["resumed"] == "2"  # once by the retry, once by the line


def test_one_death_is_made_good_without_a_word_and_the_weights_are_the_same(ready, tmp_path):
    line = ("activation=dies", "activation.after=60", "num_epoch=3", "seed=range(2)", "sweep.workers=2")
    done = sweep(*line, outputs=ready, folder=tmp_path, deaths=1)
    assert done.returncode == 0, done.stderr
    assert "2 runs: 2 finished; 2 trained" in done.stdout
    calm = sweep(*line, outputs=tmp_path / "calm", folder=tmp_path)
    assert calm.returncode == 0, calm.stderr
    assert digests(ready) == digests(tmp_path / "calm")


@pytest.mark.slow(seconds=16)
def test_a_run_over_its_time_limit_fails_and_the_others_go_on(ready, tmp_path):
    line = ("activation=dies", "activation.how=hang", "activation.after=10", "num_epoch=1", "seed=range(2)")
    impatient = "tests.sweeps.impatient"
    limits = ("sweep.time_limit=8", "sweep.workers=1")
    done = sweep(*line, *limits, outputs=ready, folder=tmp_path, deaths=1, module=impatient)
    assert done.returncode == 1
    assert "failed: seed=0: over the time limit of 8 s" in done.stdout
    assert "2 runs: 1 finished, 1 failed" in done.stdout
    assert {run.info.status for run in runs(client(ready))} == {"FINISHED", "FAILED"}


@pytest.mark.parametrize(("flag", "failed", "left"), [("sweep.fail_fast=true", 1, 4), ("sweep.max_failures=2", 2, 3)])
def test_after_failures_no_more_runs_are_started(flag, failed, left, ready, tmp_path):
    line = ("activation=dies", "activation.how=raise", "activation.after=5", "num_epoch=1", "seed=range(5)")
    done = sweep(*line, flag, "sweep.workers=1", outputs=ready, folder=tmp_path, deaths=5)
    assert done.returncode == 1
    assert f"5 runs: {failed} failed, {left} not started" in done.stdout
    (parent,) = runs(client(ready), "sweep")
    assert parent.info.status == "FAILED"
    assert (parent.data.metrics["runs_failed"], parent.data.metrics["runs_missing"]) == (failed, left)


def test_another_launcher_says_what_it_cannot_do(ready):
    line = ("-m", "hydra/launcher=basic", *SMALL, *QUIET, "num_epoch=1", "sweep.workers=3", "sweep.time_limit=9")
    done = end(start(*line, outputs=ready))
    assert done.returncode == 0, done.stderr
    assert "BasicLauncher: no effect of sweep.workers, sweep.time_limit; hydra/launcher=local has them" in done.stderr
    assert "a process that dies may end the sweep (docs/launchers.md); the same line again goes on" in done.stderr


def test_two_equal_sweeps_at_once_train_each_run_once(ready):
    line = ("-m", *SMALL, *QUIET, "num_epoch=3", "seed=range(6)")
    both = [end(process) for process in [start(*line, outputs=ready) for _ in range(2)]]
    assert [done.returncode for done in both] == [0, 0], both[0].stderr + both[1].stderr
    assert sorted("0 trained (6 had been trained before)" in done.stdout for done in both) == [False, True]
    assert sum("waiting: another process has this very sweep" in done.stderr for done in both) == 1
    assert [run.info.status for run in runs(client(ready))] == ["FINISHED"] * 6
    assert [run.info.status for run in runs(client(ready), "sweep")] == ["FINISHED"]


def test_two_sweeps_that_overlap_train_each_run_once(ready):
    lines = [("-m", *SMALL, *QUIET, "num_epoch=4", f"seed={seeds}") for seeds in ("0,1,2,3", "3,2,1,4")]
    both = [end(process) for process in [start(*line, outputs=ready) for line in lines]]
    assert [done.returncode for done in both] == [0, 0], both[0].stderr + both[1].stderr
    found = runs(client(ready))
    assert [run.info.status for run in found] == ["FINISHED"] * 5
    assert sorted(run.data.params["seed"] for run in found) == ["0", "1", "2", "3", "4"]
    shared = [run for run in found if run.data.params["seed"] in {"1", "2", "3"}]
    assert all(len(run.data.tags["sweeps"].split(",")) == 2 for run in shared)
