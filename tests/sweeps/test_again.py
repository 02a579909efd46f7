"""The same line again, duplicates in a line, and which models go to MLflow."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.commands import MINE, SMALL, Done, lenet_train
from tests.stores import client, everything, models, points, runs

QUICK = (*SMALL, "num_epoch=1", "tracking.plots=false", "hydra/launcher=basic")
LINE = ("-m", *QUICK, "optimizer=sgd,adam", "optimizer.momentum=0,0.9")


@dataclass(frozen=True)
class Stage:
    """A command, and all that MLflow holds after it."""

    done: Done
    held: dict[str, Any]
    parents: list[Any]
    children: list[Any]


@pytest.fixture(scope="module")
def stages(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Stage]:
    """The line, the line again, with another seed, and with force; all in one outputs folder."""
    outputs = tmp_path_factory.mktemp("again") / "outputs"
    shutil.copytree(empty_store, outputs)
    found = {}
    for name, more in {"first": (), "again": (), "more": ("seed=0,1",), "force": ("sweep.force=true",)}.items():
        done = lenet_train(*LINE, *more, outputs=outputs)
        assert done.returncode == 0, done.stderr
        store = client(outputs)
        found[name] = Stage(done, everything(store), runs(store, "sweep"), runs(store))
    return found


def counts(stage: Stage) -> str:
    (line,) = [text for text in stage.done.stdout.splitlines() if re.match(r"\d+ runs: ", text)]
    return re.sub(r" in [\d.]+ s$", "", line)


def test_duplicates_are_trained_once_and_count_all_the_same(stages):
    first = stages["first"]
    assert counts(first) == "4 runs: 4 finished; 3 trained (1 had been trained before)"
    assert [run.info.run_name for run in first.children] == ["sgd mom=0", "sgd mom=0.9", "adam mom=0"]
    assert first.parents[0].data.metrics["runs_finished"] == 4
    assert first.done.stderr.count("optimizer.momentum has no effect for adam") == 1
    told = [line.partition(": ")[0] for line in first.done.stderr.splitlines()[4:]]
    assert told == ["sgd mom=0", "sgd mom=0.9", "adam mom=0"]


def test_the_same_line_again_trains_nothing(stages):
    again = stages["again"]
    assert counts(again) == "4 runs: 4 finished; 0 trained (4 had been trained before)"
    assert "the same line again goes on" not in again.done.stdout
    assert len(again.children) == 3
    for run in again.children:
        assert again.held[run.info.run_id] == stages["first"].held[run.info.run_id]  # not one point more
    assert "sweep of 4 runs; 4 of them trained before (goes on with " in again.done.stderr


def test_the_same_line_again_is_the_same_sweep_with_the_same_mlflow_run(stages):
    (before,), (after,) = stages["first"].parents, stages["again"].parents
    assert after.info.run_id == before.info.run_id
    assert (before.data.tags["starts"], after.data.tags["starts"]) == ("1", "2")
    assert (after.info.status, after.data.tags["outcome"]) == ("FINISHED", "finished")
    assert after.data.metrics == before.data.metrics
    steps = {tuple(sorted({step for step, _, _ in p})) for p in stages["again"].held[after.info.run_id][4].values()}
    assert steps == {(1, 2)}  # the starts; a slow one tells more than once how it stands


def test_another_seed_is_another_sweep_and_trains_only_what_is_new(stages):
    more = stages["more"]
    assert counts(more) == "8 runs: 8 finished; 3 trained (5 had been trained before)"
    assert len(more.children) == 6
    assert len(more.parents) == 2
    assert more.parents[1].data.metrics["runs_finished"] == 8


def test_results_are_found_under_both_sweeps_that_asked_and_nested_under_the_first(stages):
    (old, new) = (parent.info.run_id for parent in stages["more"].parents)
    known = {run.info.run_id for run in stages["first"].children}
    for run in stages["more"].children:
        asked = [old, new] if run.info.run_id in known else [new]
        assert run.data.tags["sweeps"].split(",") == asked
        assert run.data.tags["mlflow.parentRunId"] == asked[0]


def test_force_trains_again_and_comes_to_the_same_weights(stages):
    before = {run.data.tags["fingerprint"]: run.data.tags["weights_digest"] for run in stages["more"].children}
    known = {run.info.run_id for run in stages["more"].children}
    forced = [run for run in stages["force"].children if run.info.run_id not in known]
    assert counts(stages["force"]) == "4 runs: 4 finished; 3 trained (1 had been trained before)"
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
    assert "2 runs: 2 finished; 1 trained (1 had been trained before)" in done.stdout
    assert len(runs(client(ready), "sweep")) == 1


def test_the_same_sweep_with_a_model_path_serves_it(ready, tmp_path):
    for more in ((), (f"model_path={tmp_path / 'models'}",)):
        assert lenet_train("-m", *QUICK, "seed=0,1", *more, outputs=ready).returncode == 0
    assert len(list((tmp_path / "models").glob("*.safetensors"))) == 2


def test_a_failed_run_goes_on_from_its_last_commit_in_the_same_mlflow_run(ready):
    line = ("-m", f"--config-dir={MINE}", *QUICK, "num_epoch=2", "activation=raises,relu", "engine=torch")
    first = lenet_train(*line, outputs=ready)
    assert first.returncode == 1
    assert "2 runs: 1 finished, 1 failed; 2 trained in" in first.stdout
    failed = {run.info.run_name: run for run in runs(client(ready))}["raises"]
    assert (failed.info.status, failed.data.tags["outcome"]) == ("FAILED", "failed")
    assert "best_val_accuracy" not in failed.data.metrics
    again = lenet_train(*line, outputs=ready)  # the layer counts its batches anew, and so comes to the end
    assert again.returncode == 0, again.stderr
    assert "2 runs: 2 finished; 1 trained (1 had been trained before)" in again.stdout
    ended = {run.info.run_name: run for run in runs(client(ready))}
    assert set(ended) == {"raises", "relu"}
    run = ended["raises"]
    assert run.info.run_id == failed.info.run_id
    assert run.info.status == "FINISHED"
    assert (run.data.tags["outcome"], run.data.tags["reason"], run.data.tags["resumed"]) == ("finished", "", "1")
    assert [step for step, _, _ in points(client(ready), run.info.run_id)["val_loss"]] == [1, 2]
    assert run.data.tags["weights_digest"] == ended["relu"].data.tags["weights_digest"]  # the layer is a ReLU
    assert [model.source_run_id for model in models(client(ready))].count(run.info.run_id) == 1


@pytest.mark.parametrize(("which", "number"), [("all", 2), ("best", 1), ("none", 0)])
def test_models_go_to_mlflow_as_asked(ready, which, number):
    line = ("-m", *QUICK, "optimizer.lr=0.01,0.0001", f"tracking.models={which}")
    for _ in "ab":  # and none is added when the line is typed again
        done = lenet_train(*line, outputs=ready)
        assert done.returncode == 0, done.stderr
        logged = models(client(ready))
        assert len(logged) == number
    best = max(runs(client(ready)), key=lambda run: run.data.metrics["best_val_accuracy"])
    if number:
        (model,) = [m for m in logged if m.source_run_id == best.info.run_id]
        linked = {m.key: m.value for m in model.metrics}
        assert linked["val_accuracy"] == best.data.metrics["best_val_accuracy"]
    (parent,) = runs(client(ready), "sweep")
    assert parent.data.metrics["best_val_accuracy"] == best.data.metrics["best_val_accuracy"]


def test_a_run_alone_is_its_own_best(ready):
    done = lenet_train(*QUICK, "tracking.models=best", outputs=ready)
    assert done.returncode == 0, done.stderr
    assert len(models(client(ready))) == 1


def test_a_sweep_over_stores_is_refused(ready):
    done = lenet_train("-m", *SMALL, "tracking.experiment=a,b", outputs=ready)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "lenet-train: tracking.uri, tracking.experiment: a sweep goes to one place; allowed is one value"
    ]
    assert not (ready / "sweeps").exists()
