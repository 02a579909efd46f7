"""The same line again, duplicates in a line, and which models go to MLflow."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.tools.commands import MINE, SMALL, Done, lenet_train
from tests.tools.counts import counts
from tests.tools.stores import client, everything, models, points, runs

QUICK = (*SMALL, "num_epoch=1", "tracking.plots=false", "tracking.models=none", "hydra/launcher=basic")
LINE = ("-m", *QUICK, "optimizer=sgd,adam", "optimizer.momentum=0,0.9")


@dataclass(frozen=True)
class Stage:
    """A command, and all that MLflow holds after it."""

    done: Done
    held: dict[str, Any]
    parents: list[Any]
    children: list[Any]


@pytest.fixture(scope="module")
def outputs_of_all(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(empty_store, tmp_path_factory.mktemp("again") / "outputs"))


@pytest.fixture(scope="module")
def stages(outputs_of_all: Path) -> dict[str, Stage]:
    """The line, the line again, with another seed, and with force; all in one outputs folder."""
    outputs, found = outputs_of_all, {}
    mores = {"first": (), "again": ("tracking.tags.group=c",), "more": ("seed=0,1",), "force": ("sweep.force=true",)}
    for name, more in mores.items():
        done = lenet_train(*LINE, *more, outputs=outputs)
        assert done.returncode == 0, done.stderr
        store = client(outputs)
        found[name] = Stage(done, everything(store), runs(store, "sweep"), runs(store))
    return found


def test_duplicates_are_trained_once_and_count_all_the_same(stages):
    first = stages["first"]
    assert counts(first.done) == ({"finished": 4}, 3, 1)
    assert [run.info.run_name for run in first.children] == ["sgd mom=0", "sgd mom=0.9", "adam mom=0"]
    assert first.parents[0].data.metrics["runs_finished"] == 4
    (said,) = [line for line in first.done.stderr.splitlines() if "optimizer.momentum" in line]
    assert "adam" in said
    told = [line.partition(": ")[0] for line in first.done.stderr.splitlines() if "% in epoch" in line]
    assert told == ["sgd mom=0", "sgd mom=0.9", "adam mom=0"]


def test_the_same_line_again_is_the_same_sweep_with_the_same_mlflow_run_and_trains_nothing(stages):
    again, (before,), (after,) = stages["again"], stages["first"].parents, stages["again"].parents
    assert counts(again.done) == ({"finished": 4}, 0, 4)
    assert "sweep.resume" not in again.done.stdout  # there is nothing to go on with
    assert len(again.children) == 3
    for run in again.children:
        assert again.held[run.info.run_id] == stages["first"].held[run.info.run_id]  # not one point more
    assert after.info.run_id == before.info.run_id
    assert (before.data.tags["starts"], after.data.tags["starts"]) == ("1", "2")
    assert (after.info.status, after.data.tags["outcome"]) == ("FINISHED", "finished")
    assert after.data.metrics == before.data.metrics
    steps = {tuple(sorted({step for step, _, _ in p})) for p in again.held[after.info.run_id][4].values()}
    assert steps == {(1, 2)}  # the starts; a slow one tells more than once how it stands


def test_tags_of_a_rerun_are_added_to_the_run_of_the_sweep_and_not_to_its_runs(stages):
    (after,) = stages["again"].parents
    assert after.data.tags["group"] == "c"
    assert [run for run in stages["again"].children if "group" in run.data.tags] == []


def test_another_seed_is_another_sweep_that_trains_what_is_new_and_lists_what_it_shares(stages, outputs_of_all):
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


def test_force_trains_again_and_comes_to_the_same_weights(stages):
    before = {run.data.tags["fingerprint"]: run.data.tags["weights_digest"] for run in stages["more"].children}
    known = {run.info.run_id for run in stages["more"].children}
    forced = [run for run in stages["force"].children if run.info.run_id not in known]
    assert counts(stages["force"].done) == ({"finished": 4}, 3, 1)
    assert len({run.data.tags["fingerprint"] for run in forced} & set(before)) == len(forced) == 3
    for run in forced:
        assert run.data.tags["weights_digest"] == before[run.data.tags["fingerprint"]]
        assert run.data.tags["mlflow.parentRunId"] == stages["first"].parents[0].info.run_id
    assert {run.info.status for run in stages["force"].children} == {"FINISHED"}
    assert len(stages["force"].parents) == 2


def test_the_same_sweep_in_another_order_trains_what_is_missing(ready):
    assert lenet_train("-m", *QUICK, "seed=0,1", outputs=ready).returncode == 0
    (second,) = [run for run in runs(client(ready)) if run.data.params["seed"] == "1"]
    shutil.rmtree(ready / "runs" / second.data.tags["run_folder"])
    done = lenet_train("-m", *QUICK, "seed=1,0", outputs=ready)
    assert counts(done) == ({"finished": 2}, 1, 1)
    assert len(runs(client(ready), "sweep")) == 1


def test_the_same_sweep_with_a_model_path_serves_it(ready, tmp_path):
    for more in ((), (f"model_path={tmp_path / 'models'}",)):
        assert lenet_train("-m", *QUICK, "seed=0", *more, outputs=ready).returncode == 0
    assert len(list((tmp_path / "models").glob("*.safetensors"))) == 1


def test_failed_run_resumes_from_its_last_checkpoint_in_the_same_mlflow_run(ready):
    line = ("-m", f"--config-dir={MINE}", *QUICK, "num_epoch=2", "activation=raises,relu", "engine=torch")
    first = lenet_train(*line, outputs=ready)
    assert first.returncode == 1
    assert counts(first) == ({"finished": 1, "failed": 1}, 2, 0)
    failed = {run.info.run_name: run for run in runs(client(ready))}["raises"]
    assert (failed.info.status, failed.data.tags["outcome"]) == ("FAILED", "failed")
    assert "best_val_accuracy" not in failed.data.metrics
    again = lenet_train(*line, outputs=ready)  # the layer counts its batches anew, and so comes to the end
    assert again.returncode == 0, again.stderr
    assert counts(again) == ({"finished": 2}, 1, 1)
    ended = {run.info.run_name: run for run in runs(client(ready))}
    assert set(ended) == {"raises", "relu"}
    run = ended["raises"]
    assert run.info.run_id == failed.info.run_id
    assert run.info.status == "FINISHED"
    assert (run.data.tags["outcome"], run.data.tags["reason"], run.data.tags["resumed"]) == ("finished", "", "1")
    assert [step for step, _, _ in points(client(ready), run.info.run_id)["val_loss"]] == [1, 2]
    assert run.data.tags["weights_digest"] == ended["relu"].data.tags["weights_digest"]  # the layer is a ReLU


def test_the_best_model_alone_goes_to_mlflow_where_that_is_asked(ready):
    line = (*QUICK, "optimizer.lr=0.01,0.0001", "tracking.models=best")
    for _ in "ab":  # and none is added when the line is typed again
        done = lenet_train("-m", *line, outputs=ready)
        assert done.returncode == 0, done.stderr
        (model,) = models(client(ready))
    best = max(runs(client(ready)), key=lambda run: run.data.metrics["best_val_accuracy"])
    assert model.source_run_id == best.info.run_id
    linked = {m.key: m.value for m in model.metrics}
    assert linked["val_accuracy"] == best.data.metrics["best_val_accuracy"]
    (parent,) = runs(client(ready), "sweep")
    assert parent.data.metrics["best_val_accuracy"] == best.data.metrics["best_val_accuracy"]
    assert lenet_train(*QUICK, "seed=7", "tracking.models=best", outputs=ready).returncode == 0
    assert len(models(client(ready))) == 2  # a run alone is its own best


def test_a_sweep_over_stores_is_refused(ready):
    done = lenet_train("-m", *SMALL, "tracking.experiment=a,b", outputs=ready)
    assert done.returncode == 2
    assert done.stderr.startswith("lenet-train: tracking.uri, tracking.experiment: ")
    assert done.stderr.count("\n") == 1
    assert not (ready / "sweeps").exists()
