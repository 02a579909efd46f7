"""Reruns of a sweep, duplicate jobs in a command, and the models that go to MLflow."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lenet_exp.folders.results import job_result
from lenet_exp.folders.sweep_folder import all_sweeps
from lenet_exp.machine import now_ms
from tests.tools.commands import MINE, SMALL, Done, lenet_train, succeeded
from tests.tools.counts import counts
from tests.tools.stores import client, everything, models, points, runs

QUICK = (
    *SMALL,
    "num_epoch=1",
    "tracking.plots=false",
    "tracking.models=none",
    "hydra/launcher=basic",
)
LINE = ("-m", *QUICK, "optimizer=sgd,adam", "optimizer.momentum=0,0.9")


@dataclass(frozen=True)
class Stage:
    """A command and the content of MLflow after it."""

    done: Done
    held: dict[str, Any]
    parents: list[Any]
    children: list[Any]


@pytest.fixture(scope="module")
def outputs_of_all(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(empty_store, tmp_path_factory.mktemp("again") / "outputs"))


@pytest.fixture(scope="module")
def stages(outputs_of_all: Path) -> dict[str, Stage]:
    """Run the command, rerun it, add a seed, and force it, all in one outputs folder."""
    outputs, found = outputs_of_all, {}
    mores = {
        "first": (),
        "again": ("tracking.tags.group=c",),
        "more": ("seed=0,1",),
        "force": ("sweep.force=true",),
    }
    for name, more in mores.items():
        done = succeeded(lenet_train(*LINE, *more, outputs=outputs))
        store = client(outputs)
        found[name] = Stage(done, everything(store), runs(store, "sweep"), runs(store))
    return found


def test_duplicate_jobs_are_trained_once_but_counted_twice(stages):
    first = stages["first"]
    assert counts(first.done) == ({"finished": 4}, 3, 1)
    assert [run.info.run_name for run in first.children] == [
        "sgd mom=0",
        "sgd mom=0.9",
        "adam mom=0",
    ]
    assert first.parents[0].data.metrics["runs_finished"] == 4
    (note,) = [line for line in first.done.stderr.splitlines() if "optimizer.momentum" in line]
    assert "adam" in note
    trained = [
        line.partition(": ")[0] for line in first.done.stderr.splitlines() if "% in epoch" in line
    ]
    assert trained == ["sgd mom=0", "sgd mom=0.9", "adam mom=0"]


def test_rerun_trains_nothing_and_reuses_mlflow_run(stages):
    again, (before,), (after,) = stages["again"], stages["first"].parents, stages["again"].parents
    assert counts(again.done) == ({"finished": 4}, 0, 4)
    with_resume = [line for line in again.done.stdout.splitlines() if "sweep.resume" in line]
    # there is nothing to resume; the next step adds seeds
    assert all(line.startswith("next: ") for line in with_resume)
    assert len(again.children) == 3
    for run in again.children:
        # no additional points
        assert again.held[run.info.run_id] == stages["first"].held[run.info.run_id]
    assert after.info.run_id == before.info.run_id
    assert (before.data.tags["starts"], after.data.tags["starts"]) == ("1", "2")
    assert (after.info.status, after.data.tags["outcome"]) == ("FINISHED", "finished")
    assert after.data.metrics == before.data.metrics
    steps = {
        tuple(sorted({step for step, _, _ in p})) for p in again.held[after.info.run_id][4].values()
    }
    assert steps == {(1, 2)}  # one step per start; a slow start logs its progress repeatedly


def test_tags_of_rerun_are_added_only_to_parent_run(stages):
    (after,) = stages["again"].parents
    assert after.data.tags["group"] == "c"
    assert [run for run in stages["again"].children if "group" in run.data.tags] == []


def test_additional_seed_makes_new_sweep_that_shares_finished_runs(stages, outputs_of_all):
    more = stages["more"]
    assert counts(more.done) == ({"finished": 8}, 3, 5)
    assert len(more.children) == 6
    old, new = (parent.info.run_id for parent in more.parents)
    assert more.parents[1].data.metrics["runs_finished"] == 8
    known = {run.info.run_id for run in stages["first"].children}
    for run in more.children:
        asked = [old, new] if run.info.run_id in known else [new]
        assert run.data.tags["sweeps"].split(",") == asked
        assert run.data.tags["mlflow.parentRunId"] == asked[0]
    listed = Path(client(outputs_of_all).download_artifacts(new, "jobs.json")).read_text()
    assert all(run.info.run_id in listed for run in more.children)


def test_forced_rerun_gives_same_weights(stages):
    before = {
        run.data.tags["fingerprint"]: run.data.tags["weights_digest"]
        for run in stages["more"].children
    }
    known = {run.info.run_id for run in stages["more"].children}
    forced = [run for run in stages["force"].children if run.info.run_id not in known]
    assert counts(stages["force"].done) == ({"finished": 4}, 3, 1)
    assert len({run.data.tags["fingerprint"] for run in forced} & set(before)) == len(forced) == 3
    for run in forced:
        assert run.data.tags["weights_digest"] == before[run.data.tags["fingerprint"]]
        assert run.data.tags["mlflow.parentRunId"] == stages["first"].parents[0].info.run_id
    assert {run.info.status for run in stages["force"].children} == {"FINISHED"}
    assert len(stages["force"].parents) == 2


def test_error_of_forced_job_counts_instead_of_its_earlier_result(stages, outputs_of_all):
    (sweep, *_) = all_sweeps(outputs_of_all)
    job = sweep.jobs()[0]
    sweep.end_job(job.number, "lost")
    found = [
        job_result(sweep, job, since, running=False, is_duplicate=False).outcome
        for since in (0, now_ms())
    ]
    assert found == ["finished", "failed"]


def test_failed_run_resumes_from_last_checkpoint_in_same_mlflow_run(ready):
    line = (
        "-m",
        f"--config-dir={MINE}",
        *QUICK,
        "num_epoch=2",
        "activation=raises,relu",
        "engine=torch",
    )
    first = lenet_train(*line, outputs=ready)
    assert first.returncode == 1
    assert counts(first) == ({"finished": 1, "failed": 1}, 2, 0)
    failed = {run.info.run_name: run for run in runs(client(ready))}["raises"]
    assert (failed.info.status, failed.data.tags["outcome"]) == ("FAILED", "failed")
    assert "best_val_accuracy" not in failed.data.metrics
    # the layer counts its batches anew, so training finishes
    again = lenet_train(*line, outputs=ready)
    assert again.returncode == 0, again.stderr
    assert counts(again) == ({"finished": 2}, 1, 1)
    ended = {run.info.run_name: run for run in runs(client(ready))}
    assert set(ended) == {"raises", "relu"}
    run = ended["raises"]
    assert run.info.run_id == failed.info.run_id
    assert run.info.status == "FINISHED"
    assert (run.data.tags["outcome"], run.data.tags["reason"], run.data.tags["resumed"]) == (
        "finished",
        "",
        "1",
    )
    assert [step for step, _, _ in points(client(ready), run.info.run_id)["val_loss"]] == [1, 2]
    # the layer is a ReLU
    assert run.data.tags["weights_digest"] == ended["relu"].data.tags["weights_digest"]


def test_tracking_models_best_uploads_best_model_of_each_configuration(ready):
    line = (*QUICK, "optimizer.lr=0.01,0.0001", "seed=0,1", "tracking.models=best")
    for _ in "ab":  # the rerun adds no model
        succeeded(lenet_train("-m", *line, outputs=ready))
        logged = {model.source_run_id: model for model in models(client(ready))}
        assert len(logged) == 2
    for lr in ("0.01", "0.0001"):
        rivals = [run for run in runs(client(ready)) if run.data.params["optimizer.lr"] == lr]
        best = max(rivals, key=lambda run: run.data.metrics["best_val_accuracy"])
        linked = {m.key: m.value for m in logged[best.info.run_id].metrics}
        assert linked["val_accuracy"] == best.data.metrics["best_val_accuracy"]
    assert lenet_train(*QUICK, "seed=7", "tracking.models=best", outputs=ready).returncode == 0
    assert len(models(client(ready))) == 3  # a single run is the best run
