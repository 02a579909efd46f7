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

LINE = ("-m", *SMALL, "num_epoch=1", "tracking.plots=false", "optimizer=sgd,adam", "optimizer.momentum=0,0.9")


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
    assert "adam mom=0.9: " in first.done.stderr


def test_the_same_line_again_trains_nothing(stages):
    again = stages["again"]
    assert counts(again) == "4 runs: 4 finished; 0 trained (4 had been trained before)"
    assert len(again.children) == 3
    for run in again.children:
        assert again.held[run.info.run_id][4] == stages["first"].held[run.info.run_id][4]  # not one point more
    assert again.done.stderr.count("trained before") == 4


def test_the_results_are_found_under_both_parents_and_nested_under_the_first(stages):
    (old, new) = (parent.info.run_id for parent in stages["again"].parents)
    assert old == stages["first"].parents[0].info.run_id
    for run in stages["again"].children:
        assert run.data.tags["sweeps"].split(",") == [old, new]
        assert run.data.tags["mlflow.parentRunId"] == old
    assert stages["again"].parents[1].data.metrics["runs_finished"] == 4
    best = [parent.data.metrics["best_val_accuracy"] for parent in stages["again"].parents]
    assert best[0] == best[1]


def test_another_seed_trains_only_what_is_new(stages):
    more = stages["more"]
    assert counts(more) == "8 runs: 8 finished; 3 trained (5 had been trained before)"
    assert len(more.children) == 6
    newest = more.parents[-1].info.run_id
    assert all(newest in run.data.tags["sweeps"] for run in more.children)


def test_force_trains_again_and_comes_to_the_same_weights(stages):
    before = {run.data.tags["fingerprint"]: run.data.tags["weights_digest"] for run in stages["more"].children}
    known = {run.info.run_id for run in stages["more"].children}
    forced = [run for run in stages["force"].children if run.info.run_id not in known]
    assert counts(stages["force"]) == "4 runs: 4 finished; 3 trained (1 had been trained before)"
    assert len({run.data.tags["fingerprint"] for run in forced} & set(before)) == len(forced) == 3
    for run in forced:
        assert run.data.tags["weights_digest"] == before[run.data.tags["fingerprint"]]
        assert run.data.tags["mlflow.parentRunId"] == stages["force"].parents[-1].info.run_id
    assert {run.info.status for run in stages["force"].children} == {"FINISHED"}


def test_a_failed_run_is_tried_again_and_replaces_its_first_try(ready):
    line = ("-m", f"--config-dir={MINE}", *SMALL, "num_epoch=2", "tracking.plots=false", "activation=raises,relu")
    first, second = (lenet_train(*line, outputs=ready) for _ in "ab")
    assert (first.returncode, second.returncode) == (1, 1)
    assert "2 runs: 1 finished, 1 failed; 1 trained (1 had been trained before)" in second.stdout
    tries = [run for run in runs(client(ready)) if run.data.params["activation"] == "raises"]
    assert [run.info.status for run in tries] == ["FAILED", "FAILED"]
    assert len({run.data.tags["mlflow.parentRunId"] for run in tries}) == 2
    for run in tries:
        assert [step for step, _, _ in points(client(ready), run.info.run_id)["val_loss"]] == [1]


@pytest.mark.parametrize(("which", "number"), [("all", 2), ("best", 1), ("none", 0)])
def test_models_go_to_mlflow_as_asked(ready, which, number):
    line = ("-m", *SMALL, "num_epoch=1", "tracking.plots=false", "optimizer.lr=0.01,0.0001", f"tracking.models={which}")
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
    (parent, _) = runs(client(ready), "sweep")
    assert parent.data.metrics["best_val_accuracy"] == best.data.metrics["best_val_accuracy"]


def test_a_run_alone_is_its_own_best(ready):
    done = lenet_train(*SMALL, "num_epoch=1", "tracking.plots=false", "tracking.models=best", outputs=ready)
    assert done.returncode == 0, done.stderr
    assert len(models(client(ready))) == 1


def test_a_sweep_over_stores_is_refused(ready):
    done = lenet_train("-m", *SMALL, "tracking.experiment=a,b", outputs=ready)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "lenet-train: tracking.uri, tracking.experiment: a sweep goes to one place; allowed is one value"
    ]
    assert not (ready / "sweeps").exists()
