"""Opening a run: the result that is there, the commit that is there, or a new start."""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import lenet_exp
from lenet_exp.api import compose
from lenet_exp.errors import DataError
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.results import RunResult
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.runs.jobs import lone_job
from lenet_exp.runs.run import run
from lenet_exp.tracking.delivery import StoreDelivery
from lenet_exp.training.epoch import EpochResult
from tests.commands import SMALL, end, lenet_train, start
from tests.stores import client, models, points, runs

LINE = (*SMALL, "num_epoch=4", "num_threads=1", "tracking.plots=false")
TORCH = (*LINE, "engine=torch")  # whose bits depend on the CPU


def trained(
    prune: Callable[[EpochResult], bool] = lambda result: False, line: Sequence[str] = LINE, forced_ms: float = 0.0
) -> RunResult:
    config = compose(list(line))
    job, delivery = lone_job(config), StoreDelivery(config.tracking)
    return run(job, delivery, default_threads=1, forced_ms=forced_ms, prune=prune)


def test_a_pruned_run_ended_well_but_is_no_result_and_goes_on_where_it_was_pruned(ready: Path, tmp_path, monkeypatch):
    pruned = trained(lambda result: result.epoch == 2)
    assert (pruned.outcome, pruned.record.reason, pruned.record.epochs) == (Outcome.pruned, "after epoch 2", 2)
    assert pruned.value != pruned.value  # NaN: nothing to optimise
    (first,) = runs(client(ready))
    assert (first.info.status, first.data.tags["outcome"]) == ("FINISHED", "pruned")
    assert models(client(ready)) == []
    assert client(ready).search_registered_models() == []

    whole = trained()
    assert (whole.outcome, whole.repeated, whole.record.resumed) == (Outcome.finished, False, 1)
    (after,) = runs(client(ready))
    assert after.info.run_id == first.info.run_id
    assert after.data.tags["outcome"] == "finished"
    assert [step for step, _, _ in points(client(ready), after.info.run_id)["val_accuracy"]] == [1, 2, 3, 4]

    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(tmp_path / "calm"))
    assert trained().record.weights_digest == whole.record.weights_digest


def test_what_is_trained_again_goes_on_also_where_the_clock_is_behind_that_of_the_sweep(ready, caplog):
    forced_ms = time.time() * 1000 + 3_600_000
    assert trained(lambda result: result.epoch == 2, forced_ms=forced_ms).record.created_ms == math.ceil(forced_ms)
    caplog.set_level(logging.INFO)
    assert trained(forced_ms=forced_ms).outcome is Outcome.finished
    assert "goes on in epoch 3" in caplog.text
    assert trained(forced_ms=forced_ms).repeated


def test_numbers_of_another_type_than_the_flags_name_the_same_run(ready):
    config = compose([*LINE, "training.clip_norm=1", "augmentation.rotate=10"])
    whole = replace(config, training=replace(config.training, clip_norm=1), augmentation=config.augmentation)
    whole.augmentation.rotate = 10
    assert lenet_exp.train(whole).outcome is Outcome.finished
    assert lenet_exp.train(config).repeated


def test_the_last_epoch_cannot_be_pruned(ready):
    assert trained(lambda result: result.epoch == 4).outcome is Outcome.finished


@pytest.mark.parametrize(("asked", "said"), [("num_threads=2", True), ("num_threads=1", False), ("seed=0", False)])
def test_a_result_that_was_trained_otherwise_than_asked_is_returned_and_that_is_said(ready, asked, said):
    line = (*SMALL, "num_epoch=1", "tracking.plots=false", "tracking.models=none")
    assert lenet_train(*line, "num_threads=1", "engine=torch", outputs=ready).returncode == 0
    again = lenet_train(*line, asked, outputs=ready)
    assert "trained before" in again.stdout
    told = "its result was trained with num_threads=1; sweep.force=true trains again"
    assert (told in again.stderr) is said


def test_a_result_of_another_torch_is_returned_and_that_is_said(ready):
    line = (*SMALL, "num_epoch=1", "tracking.plots=false", "tracking.models=none", "engine=torch")
    assert lenet_train(*line, outputs=ready).returncode == 0
    (path,) = (ready / "runs").iterdir()
    record = RunFolder(path).record()
    RunFolder(path).finish(replace(record, versions=record.versions | {"torch": "1.0"}))
    told = "its result was trained with torch=1.0; sweep.force=true trains again"
    assert told in lenet_train(*line, outputs=ready).stderr
    sweep = lenet_train("-m", *line, "seed=0,1", "hydra/launcher=basic", outputs=ready)
    assert "1 of them trained before, some by torch 1.0 (now " in sweep.stderr
    assert lenet_train(*line, "sweep.force=true", outputs=ready).returncode == 0
    assert told not in lenet_train(*line, outputs=ready).stderr


@pytest.mark.slow(seconds=30)
def test_a_run_begun_under_another_cpu_capability_starts_over_with_one_line(empty_store, tmp_path):
    line = (*SMALL, "engine=torch", "num_epoch=15", "num_threads=1", "tracking.plots=false", "tracking.models=none")
    places = [shutil.copytree(empty_store, tmp_path / name) for name in ("disturbed", "calm")]
    process = start(*line, outputs=places[0], cold=True, env={"ATEN_CPU_CAPABILITY": "default"})
    while not list(places[0].glob("runs/*/history.json")):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    end(process)
    again, calm = (end(start(*line, outputs=place, cold=True)) for place in places)
    (disturbed,), (undisturbed,) = ([RunFolder(path) for path in (place / "runs").iterdir()] for place in places)
    assert disturbed.record().weights_digest == undisturbed.record().weights_digest
    assert disturbed.record().resumed == 0
    (said,) = [text for text in again.stderr.splitlines() if "starts over" in text]
    assert "cpu_capability=DEFAULT (now " in said
    assert "environment=ATEN_CPU_CAPABILITY=default (now none)" in said
    assert "starts over" not in calm.stderr


def test_what_an_older_release_did_not_note_counts_as_equal_and_is_said_once(ready):
    pruned = trained(lambda result: result.epoch == 2, TORCH)
    path = pruned.folder / "job.json"
    job = json.loads(path.read_text())
    for key in ("cpu_capability", "environment"):
        del job["execution"][key]
    del job["digest"]
    path.write_text(json.dumps(job))
    (pruned.folder / "record.json").unlink()
    again = lenet_train(*TORCH, outputs=ready)
    assert "goes on in epoch 3" in again.stderr
    assert again.stderr.count("which did not note cpu_capability, environment; taken to be as now") == 1


def test_data_that_changed_since_the_job_was_made_are_no_longer_its_data(ready, caplog):
    caplog.set_level(logging.INFO)
    config = compose(list(LINE))
    job = lone_job(config)
    job.config.split_seed = 1
    with pytest.raises(DataError, match="have changed since this job was made"):
        run(job, StoreDelivery(config.tracking), default_threads=1)
    assert runs(client(ready)) == []
