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
    contents: dict[str, Any]
    parents: list[Any]
    children: list[Any]


FLAGS_OF_STAGES = {
    "first": (),
    "rerun": ("tracking.tags.group=c",),
    "more seeds": ("seed=0,1",),
    "force": ("sweep.force=true",),
}


@pytest.fixture(scope="module")
def outputs_of_all(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(empty_store, tmp_path_factory.mktemp("again") / "outputs"))


@pytest.fixture(scope="module")
def stages(outputs_of_all: Path) -> dict[str, Stage]:
    """Run the command, rerun it, add a seed, and force it, all in one outputs folder."""
    stages = {}
    for name, flags in FLAGS_OF_STAGES.items():
        done = succeeded(lenet_train(*LINE, *flags, outputs=outputs_of_all))
        store = client(outputs_of_all)
        stages[name] = Stage(
            done=done,
            contents=everything(store),
            parents=runs(store, "sweep"),
            children=runs(store),
        )
    return stages


def test_duplicate_jobs_are_trained_once_but_counted_twice(stages):
    first = stages["first"]
    names = ["sgd mom=0", "sgd mom=0.9", "adam mom=0"]
    lines = first.done.stderr.splitlines()

    assert counts(first.done) == ({"finished": 4}, 3, 1)
    assert [run.info.run_name for run in first.children] == names
    assert first.parents[0].data.metrics["runs_finished"] == 4
    (note,) = [line for line in lines if "optimizer.momentum" in line]
    assert "adam" in note
    assert [line.partition(": ")[0] for line in lines if "% in epoch" in line] == names


def test_rerun_trains_nothing_and_reuses_mlflow_run(stages):
    first = stages["first"]
    rerun = stages["rerun"]
    assert counts(rerun.done) == ({"finished": 4}, 0, 4)
    with_resume = [line for line in rerun.done.stdout.splitlines() if "sweep.resume" in line]
    # there is nothing to resume; the next step adds seeds
    assert all(line.startswith("next: ") for line in with_resume)

    assert len(rerun.children) == 3
    for run in rerun.children:
        # no additional points
        assert rerun.contents[run.info.run_id] == first.contents[run.info.run_id]

    (before,) = first.parents
    (after,) = rerun.parents
    assert after.info.run_id == before.info.run_id
    assert before.data.tags["starts"] == "1"
    assert after.data.tags["starts"] == "2"
    assert after.info.status == "FINISHED"
    assert after.data.tags["outcome"] == "finished"
    assert after.data.metrics == before.data.metrics
    curves = rerun.contents[after.info.run_id][4]
    assert curves
    for points_of_metric in curves.values():
        # one step per start; a slow start logs its progress repeatedly
        assert {step for step, _, _ in points_of_metric} == {1, 2}


def test_tags_of_rerun_are_added_only_to_parent_run(stages):
    (after,) = stages["rerun"].parents
    assert after.data.tags["group"] == "c"
    assert [run for run in stages["rerun"].children if "group" in run.data.tags] == []


def test_additional_seed_makes_new_sweep_that_shares_finished_runs(stages, outputs_of_all):
    more_seeds = stages["more seeds"]
    assert counts(more_seeds.done) == ({"finished": 8}, 3, 5)
    assert len(more_seeds.children) == 6
    old, new = (parent.info.run_id for parent in more_seeds.parents)
    assert more_seeds.parents[1].data.metrics["runs_finished"] == 8

    old_runs = {run.info.run_id for run in stages["first"].children}
    for run in more_seeds.children:
        sweeps = [new]
        if run.info.run_id in old_runs:
            sweeps = [old, new]
        assert run.data.tags["sweeps"].split(",") == sweeps
        assert run.data.tags["mlflow.parentRunId"] == sweeps[0]

    jobs = Path(client(outputs_of_all).download_artifacts(new, "jobs.json")).read_text()
    assert all(run.info.run_id in jobs for run in more_seeds.children)


def test_forced_rerun_gives_same_weights(stages):
    force = stages["force"]
    old_runs = stages["more seeds"].children
    old_ids = {run.info.run_id for run in old_runs}
    digests = {}
    for run in old_runs:
        digests[run.data.tags["fingerprint"]] = run.data.tags["weights_digest"]

    assert counts(force.done) == ({"finished": 4}, 3, 1)
    forced = [run for run in force.children if run.info.run_id not in old_ids]
    assert len(forced) == 3
    assert len({run.data.tags["fingerprint"] for run in forced} & set(digests)) == 3
    for run in forced:
        assert run.data.tags["weights_digest"] == digests[run.data.tags["fingerprint"]]
        assert run.data.tags["mlflow.parentRunId"] == stages["first"].parents[0].info.run_id
    assert {run.info.status for run in force.children} == {"FINISHED"}
    assert len(force.parents) == 2


def test_error_of_forced_job_counts_instead_of_its_earlier_result(stages, outputs_of_all):
    (sweep, *_) = all_sweeps(outputs_of_all)
    job = sweep.jobs()[0]
    sweep.end_job(job.number, "lost")

    earlier = job_result(sweep, job, 0, running=False, is_duplicate=False)
    forced = job_result(sweep, job, now_ms(), running=False, is_duplicate=False)

    assert earlier.outcome == "finished"
    assert forced.outcome == "failed"


def test_failed_run_resumes_at_last_checkpoint_in_same_mlflow_run(ready):
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
    assert failed.info.status == "FAILED"
    assert failed.data.tags["outcome"] == "failed"
    assert "best_val_accuracy" not in failed.data.metrics

    # the layer counts its batches anew, so training finishes
    rerun = succeeded(lenet_train(*line, outputs=ready))

    assert counts(rerun) == ({"finished": 2}, 1, 1)
    runs_by_name = {run.info.run_name: run for run in runs(client(ready))}
    assert set(runs_by_name) == {"raises", "relu"}
    resumed = runs_by_name["raises"]
    tags = resumed.data.tags
    assert resumed.info.run_id == failed.info.run_id
    assert resumed.info.status == "FINISHED"
    assert tags["outcome"] == "finished"
    assert tags["reason"] == ""
    assert tags["resumed"] == "1"
    losses = points(client(ready), resumed.info.run_id)["val_loss"]
    assert [step for step, _, _ in losses] == [1, 2]
    # the layer is a ReLU
    assert tags["weights_digest"] == runs_by_name["relu"].data.tags["weights_digest"]


def test_tracking_models_best_uploads_a_model_per_configuration(ready):
    line = (*QUICK, "optimizer.lr=0.01,0.0001", "seed=0,1", "tracking.models=best")
    for _ in range(2):  # the rerun adds no model
        succeeded(lenet_train("-m", *line, outputs=ready))
        models_by_run = {model.source_run_id: model for model in models(client(ready))}
        assert len(models_by_run) == 2

    for lr in ("0.01", "0.0001"):
        of_configuration = [
            run for run in runs(client(ready)) if run.data.params["optimizer.lr"] == lr
        ]
        best = max(of_configuration, key=lambda run: run.data.metrics["best_val_accuracy"])
        metrics = {metric.key: metric.value for metric in models_by_run[best.info.run_id].metrics}
        assert metrics["val_accuracy"] == best.data.metrics["best_val_accuracy"]

    succeeded(lenet_train(*QUICK, "seed=7", "tracking.models=best", outputs=ready))
    assert len(models(client(ready))) == 3  # a single run is the best run
