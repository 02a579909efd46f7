"""Parallel runs in worker processes: isolation, lost workers, limits, and equal weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lenet_exp.executors.local import pool
from tests.tools.commands import MINE, SMALL, Done, end, lenet_train, start, succeeded
from tests.tools.counts import counts
from tests.tools.spies import FOLDER
from tests.tools.stores import client, points, runs

pytestmark = pytest.mark.slow(seconds=12)

QUIET = ("tracking.plots=false", "tracking.models=none")
LINE = ("-m", f"--config-dir={MINE}", *SMALL, *QUIET)


def sweep(*arguments: str, outputs: Path, folder: Path, deaths: int = 0) -> Done:
    """Run a sweep whose activation `dies` ends its process `deaths` times in total."""
    for n in range(deaths):
        (folder / f"die-{n}").touch()
    return end(start(*LINE, *arguments, outputs=outputs, env={FOLDER: str(folder)}))


def failure_of_first_seed(done: Done) -> str:
    """Return the only line that says why the run with seed 0 failed."""
    (line,) = [text for text in done.stdout.splitlines() if text.startswith("failed: seed=0: ")]
    return line


def statuses(outputs: Path, kind: str = "run") -> list[str]:
    """Return the MLflow status of each run, or of each sweep with `kind="sweep"`."""
    return [run.info.status for run in runs(client(outputs), kind)]


def end_both(one: tuple[str, ...], other: tuple[str, ...], outputs: Path) -> tuple[Done, Done]:
    """Run two concurrent sweeps, which must succeed."""
    first = start(*one, outputs=outputs)
    second = start(*other, outputs=outputs)
    first_done = end(first)
    second_done = end(second)
    stderr = first_done.stderr + second_done.stderr
    assert first_done.returncode == 0, stderr
    assert second_done.returncode == 0, stderr
    return first_done, second_done


def test_workers_have_separate_sessions_single_threads_and_no_mlflow(ready, tmp_path):
    done = sweep(
        "activation=spy",
        "num_epoch=4",
        "seed=range(4)",
        "sweep.workers=2",
        outputs=ready,
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr

    workers = [json.loads(path.read_text()) for path in tmp_path.glob("spy-*.json")]
    assert len(workers) == 2  # warm: four runs in two processes
    for worker in workers:
        assert worker["session"] == worker["pid"]
        assert worker["threads"] == 1
        assert "torch" in worker["modules"]
        packages = {module.partition(".")[0] for module in worker["modules"]}
        assert packages.isdisjoint({"mlflow", "pandas", "sklearn"})
        assert not Path(f"/proc/{worker['pid']}").exists()


@pytest.mark.slow(seconds=20)
def test_run_fails_alone_after_retry_of_dead_worker(ready, tmp_path):
    line = ("activation=dies", "activation.after=60", "num_epoch=3", "seed=range(2)")

    done = sweep(*line, "sweep.workers=1", outputs=ready, folder=tmp_path, deaths=2)

    assert done.returncode == 1
    assert "SIGKILL" in failure_of_first_seed(done)
    (log,) = ready.glob("sweeps/*/sweep.log")
    assert "SIGKILL; retrying" in log.read_text()
    outcomes, _, _ = counts(done)
    assert outcomes == {"finished": 1, "failed": 1}
    status_by_name = {run.info.run_name: run.info.status for run in runs(client(ready))}
    assert status_by_name == {"seed=0": "FAILED", "seed=1": "FINISHED"}

    rerun = succeeded(sweep(*line, "sweep.workers=1", outputs=ready, folder=tmp_path))

    _, trained, reused = counts(rerun)
    assert trained == 1
    assert reused == 1
    assert statuses(ready) == ["FINISHED", "FINISHED"]
    first, second = runs(client(ready))
    for run in (first, second):
        curve = points(client(ready), run.info.run_id)["val_accuracy"]
        assert [epoch for epoch, _, _ in curve] == [1, 2, 3]
    assert first.data.tags["resumed"] == "2"  # once by the retry, once by the rerun


@pytest.mark.slow(seconds=25)
def test_run_over_time_limit_fails_and_others_continue(ready, tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "STOP_SECONDS", 1.0)
    (tmp_path / "die-0").touch()
    line = (
        *LINE,
        "activation=dies",
        "activation.how=hang",
        "activation.after=10",
        "num_epoch=1",
        "seed=range(2)",
    )
    limits = ("sweep.time_limit=20", "sweep.workers=1")

    done = lenet_train(*line, *limits, outputs=ready, **{FOLDER: str(tmp_path)})

    assert done.returncode == 1
    assert " 20 s" in failure_of_first_seed(done)
    outcomes, _, _ = counts(done)
    assert outcomes == {"finished": 1, "failed": 1}
    assert set(statuses(ready)) == {"FINISHED", "FAILED"}


@pytest.mark.slow(seconds=5)
def test_max_failures_stops_starting_runs(ready, tmp_path):
    most_failures = 2
    line = (
        "activation=dies",
        "activation.how=raise",
        "activation.after=5",
        "num_epoch=1",
        "seed=range(3)",
    )

    done = sweep(
        *line,
        f"sweep.max_failures={most_failures}",
        "sweep.workers=1",
        outputs=ready,
        folder=tmp_path,
        deaths=3,
    )

    assert done.returncode == 1
    not_started = 3 - most_failures
    outcomes, _, _ = counts(done)
    assert outcomes == {"failed": most_failures, "not started": not_started}
    (parent,) = runs(client(ready), "sweep")
    assert parent.info.status == "FAILED"
    assert parent.data.metrics["runs_failed"] == most_failures
    assert parent.data.metrics["runs_missing"] == not_started


def test_diverged_run_counts_as_failure(ready, tmp_path):
    line = ("num_epoch=1", "optimizer.lr=1e30,0.01", "sweep.workers=1", "sweep.max_failures=1")
    done = sweep(*line, outputs=ready, folder=tmp_path)
    assert done.returncode == 1, done.stderr
    outcomes, _, _ = counts(done)
    assert outcomes == {"diverged": 1, "not started": 1}, done.stderr


@pytest.mark.slow(seconds=1)
def test_basic_launcher_names_flags_that_it_ignores(ready):
    line = (
        "-m",
        "hydra/launcher=basic",
        *SMALL,
        *QUIET,
        "num_epoch=1",
        "sweep.workers=3",
        "sweep.time_limit=9",
    )
    done = succeeded(lenet_train(*line, outputs=ready))
    assert "sweep.workers, sweep.time_limit" in done.stderr


def test_concurrent_equal_sweeps_train_each_run_once(ready):
    line = ("-m", *SMALL, *QUIET, "num_epoch=3", "seed=range(4)", "sweep.workers=1")

    both = end_both(line, line, ready)

    trained_and_reused = sorted(counts(done)[1:] for done in both)
    assert trained_and_reused == [(0, 4), (4, 0)]
    assert sum("waiting for " in done.stderr for done in both) == 1
    assert statuses(ready) == ["FINISHED"] * 4
    assert statuses(ready, "sweep") == ["FINISHED"]


@pytest.mark.by_hand
def test_overlapping_concurrent_sweeps_train_each_run_once(ready):
    line = ("-m", *SMALL, *QUIET, "num_epoch=4", "sweep.workers=1")

    end_both((*line, "seed=0,1,2"), (*line, "seed=2,1,3"), ready)

    assert statuses(ready) == ["FINISHED"] * 4
    run_by_seed = {run.data.params["seed"]: run for run in runs(client(ready))}
    assert sorted(run_by_seed) == ["0", "1", "2", "3"]
    for shared_seed in ("1", "2"):
        sweeps = run_by_seed[shared_seed].data.tags["sweeps"].split(",")
        assert len(sweeps) == 2
