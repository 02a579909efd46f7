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
        assert not {
            m for m in worker["modules"] if m.partition(".")[0] in {"mlflow", "pandas", "sklearn"}
        }
        assert not Path(f"/proc/{worker['pid']}").exists()


@pytest.mark.slow(seconds=20)
def test_run_fails_alone_after_retry_of_dead_worker(ready, tmp_path):
    line = ("activation=dies", "activation.after=60", "num_epoch=3", "seed=range(2)")
    done = sweep(*line, "sweep.workers=1", outputs=ready, folder=tmp_path, deaths=2)
    assert done.returncode == 1
    (message,) = [text for text in done.stdout.splitlines() if text.startswith("failed: seed=0: ")]
    assert "SIGKILL" in message
    (log,) = ready.glob("sweeps/*/sweep.log")
    assert "SIGKILL; retrying" in log.read_text()
    assert counts(done)[0] == {"finished": 1, "failed": 1}
    states = {run.info.run_name: run.info.status for run in runs(client(ready))}
    assert states == {"seed=0": "FAILED", "seed=1": "FINISHED"}
    again = succeeded(sweep(*line, "sweep.workers=1", outputs=ready, folder=tmp_path))
    assert counts(again)[1:] == (1, 1)
    found = runs(client(ready))
    assert [run.info.status for run in found] == ["FINISHED"] * 2
    for run in found:
        assert [step for step, _, _ in points(client(ready), run.info.run_id)["val_accuracy"]] == [
            1,
            2,
            3,
        ]
    assert found[0].data.tags["resumed"] == "2"  # once by the retry, once by the rerun


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
    (message,) = [text for text in done.stdout.splitlines() if text.startswith("failed: seed=0: ")]
    assert " 20 s" in message
    assert counts(done)[0] == {"finished": 1, "failed": 1}
    assert {run.info.status for run in runs(client(ready))} == {"FINISHED", "FAILED"}


@pytest.mark.slow(seconds=5)
def test_max_failures_stops_starting_runs(ready, tmp_path):
    failed = 2
    line = (
        "activation=dies",
        "activation.how=raise",
        "activation.after=5",
        "num_epoch=1",
        "seed=range(3)",
    )
    done = sweep(
        *line,
        f"sweep.max_failures={failed}",
        "sweep.workers=1",
        outputs=ready,
        folder=tmp_path,
        deaths=3,
    )
    assert done.returncode == 1
    assert counts(done)[0] == {"failed": failed, "not started": 3 - failed}
    (parent,) = runs(client(ready), "sweep")
    assert parent.info.status == "FAILED"
    assert (parent.data.metrics["runs_failed"], parent.data.metrics["runs_missing"]) == (
        failed,
        3 - failed,
    )


def test_diverged_run_counts_as_failure(ready, tmp_path):
    line = ("num_epoch=1", "optimizer.lr=1e30,0.01", "sweep.workers=1", "sweep.max_failures=1")
    done = sweep(*line, outputs=ready, folder=tmp_path)
    assert (done.returncode, counts(done)[0]) == (1, {"diverged": 1, "not started": 1}), done.stderr


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
    both = [end(process) for process in [start(*line, outputs=ready) for _ in range(2)]]
    assert [done.returncode for done in both] == [0, 0], both[0].stderr + both[1].stderr
    assert sorted(counts(done)[1:] for done in both) == [(0, 4), (4, 0)]
    assert sum("waiting for " in done.stderr for done in both) == 1
    assert [run.info.status for run in runs(client(ready))] == ["FINISHED"] * 4
    assert [run.info.status for run in runs(client(ready), "sweep")] == ["FINISHED"]


@pytest.mark.by_hand
def test_overlapping_concurrent_sweeps_train_each_run_once(ready):
    lines = [
        ("-m", *SMALL, *QUIET, "num_epoch=4", "sweep.workers=1", f"seed={s}")
        for s in ("0,1,2", "2,1,3")
    ]
    both = [end(process) for process in [start(*line, outputs=ready) for line in lines]]
    assert [done.returncode for done in both] == [0, 0], both[0].stderr + both[1].stderr
    found = runs(client(ready))
    assert [run.info.status for run in found] == ["FINISHED"] * 4
    assert sorted(run.data.params["seed"] for run in found) == ["0", "1", "2", "3"]
    shared = [run for run in found if run.data.params["seed"] in {"1", "2"}]
    assert all(len(run.data.tags["sweeps"].split(",")) == 2 for run in shared)
