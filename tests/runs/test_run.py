"""Opening a run: return the saved result, resume from the checkpoint, or start over."""

from __future__ import annotations

import gc
import json
import logging
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import lenet_exp
from lenet_exp.errors import DataError
from lenet_exp.folders.records import Outcome, Record
from lenet_exp.folders.results import RunResult
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.runs.jobs import lone_job
from lenet_exp.runs.run import run
from lenet_exp.tracking.uploader.uploads import Followed, uploads
from lenet_exp.training.epoch import EpochResult
from tests.tools.commands import MINE, ROOT, SMALL, end, lenet_train, start
from tests.tools.configs import compose
from tests.tools.stores import client, models, points, runs
from tests.tools.until import until

MODEL = (*SMALL, "dataset.train_size=320", "num_epoch=4", "num_threads=1", "tracking.plots=false")
LINE = (*MODEL, "tracking.models=none")
TORCH = (*LINE, "engine=torch")  # torch's bits depend on the CPU


def trained(
    prune: Callable[[EpochResult], bool] = lambda result: False,
    line: Sequence[str] = LINE,
    forced_ms: int = 0,
) -> RunResult:
    config = compose(list(line))
    job = lone_job(config)
    with uploads(Followed(job.folder, config.tracking)):
        return run(job, command="lenet-train", default_threads=1, forced_ms=forced_ms, prune=prune)


def test_pruned_run_has_no_result_and_can_be_resumed(ready: Path, tmp_path, monkeypatch):
    pruned = trained(lambda result: result.epoch == 2, MODEL)
    assert pruned.outcome is Outcome.pruned
    assert pruned.record.reason == "after epoch 2"
    assert pruned.record.epochs == 2
    assert math.isnan(pruned.value)  # no value to optimize
    (first,) = runs(client(ready))
    assert first.info.status == "FINISHED"
    assert first.data.tags["outcome"] == "pruned"
    assert models(client(ready)) == []
    assert client(ready).search_registered_models() == []

    whole = trained(line=MODEL)
    assert whole.outcome is Outcome.finished
    assert not whole.repeated
    assert whole.record.resumed == 1
    (after,) = runs(client(ready))
    assert after.info.run_id == first.info.run_id
    assert after.data.tags["outcome"] == "finished"
    curve = points(client(ready), after.info.run_id)["val_accuracy"]
    assert [epoch for epoch, _, _ in curve] == [1, 2, 3, 4]

    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(tmp_path / "calm"))
    assert trained().record.weights_digest == whole.record.weights_digest


def test_integer_and_float_values_identify_same_run(ready):
    config = compose([*LINE, "num_epoch=1", "training.clip_norm=1", "augmentation.rotate=10"])
    whole = replace(
        config,
        training=replace(config.training, clip_norm=1),
        augmentation=replace(config.augmentation, rotate=10),
    )
    assert lenet_exp.train(whole).outcome is Outcome.finished
    assert lenet_exp.train(config).repeated


def test_run_without_network_restores_garbage_collector(outputs, monkeypatch):
    def fail(*arguments: object) -> None:
        raise RuntimeError("out of memory")

    thresholds = gc.get_threshold()
    gc.set_threshold(1000, 20, 20)
    try:
        with monkeypatch.context() as patch:
            patch.setattr("lenet_exp.runs.run.new_training_state", fail)
            with pytest.raises(RuntimeError, match="out of memory"):
                run(lone_job(compose(list(LINE))), command="lenet-train", default_threads=1)
        assert gc.get_threshold() == (1000, 20, 20)
    finally:
        gc.set_threshold(*thresholds)


def test_last_epoch_cannot_be_pruned(ready):
    assert trained(lambda result: result.epoch == 4).outcome is Outcome.finished


BRIEF = (*SMALL, "num_epoch=1", "tracking.plots=false", "tracking.models=none")


def test_result_with_other_settings_is_returned_with_note(ready):
    def notes_with(flag: str) -> list[str]:
        rerun = lenet_train(*BRIEF, flag, outputs=ready)
        assert "lready trained" in rerun.stdout
        return [line for line in rerun.stderr.splitlines() if "sweep.force=true" in line]

    assert lenet_train(*BRIEF, "num_threads=1", "engine=torch", outputs=ready).returncode == 0

    (note,) = notes_with("num_threads=2")
    assert "num_threads=1" in note
    (note,) = notes_with("engine=native")
    assert "engine=torch" in note
    assert notes_with("engine=auto") == []


def test_result_of_another_torch_version_is_returned_with_note(ready):
    assert lenet_train(*BRIEF, "engine=torch", outputs=ready).returncode == 0
    (path,) = (ready / "runs").iterdir()
    record = RunFolder(path).record()
    RunFolder(path).finish(replace(record, versions=record.versions | {"torch": "1.0"}))
    assert "torch=1.0" in lenet_train(*BRIEF, "engine=torch", outputs=ready).stderr


# Root may read every file unless a process starts without these capabilities.
WITHOUT_RIGHTS: list[str] = []
if os.geteuid() == 0:
    WITHOUT_RIGHTS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


@pytest.mark.slow(seconds=9)
@pytest.mark.skipif(
    bool(WITHOUT_RIGHTS) and shutil.which("setpriv") is None, reason="setpriv is not installed"
)
@pytest.mark.parametrize("pattern", ["record.json", "best-*.safetensors"])
def test_result_that_this_user_must_not_read_is_not_retrained(pattern, ready):
    assert lenet_train(*BRIEF, outputs=ready).returncode == 0
    (path,) = (ready / "runs").iterdir()
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    environment = os.environ | {"LENET_EXP_OUTPUTS": str(ready), "PYTHONPATH": str(ROOT)}
    (denied,) = path.glob(pattern)
    denied.chmod(0)

    for program, arguments in (("train", BRIEF), ("reproduce", (f"run={path}", "check=true"))):
        command = [*WITHOUT_RIGHTS, sys.executable, "-m", "lenet_exp", program, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 2, done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        assert str(denied) in done.stderr

    denied.chmod(0o600)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before
    assert "lready trained" in lenet_train(*BRIEF, outputs=ready).stdout


@pytest.mark.slow(seconds=10)
def test_run_on_another_cpu_starts_over_with_one_line(empty_store, tmp_path):
    line = (*BRIEF, "engine=torch", "num_epoch=12", "num_threads=1")
    disturbed = Path(shutil.copytree(empty_store, tmp_path / "disturbed"))
    calm = Path(shutil.copytree(empty_store, tmp_path / "calm"))
    on_another_cpu = {"ATEN_CPU_CAPABILITY": "default"}
    process = start(*line, outputs=disturbed, cold=True, env=on_another_cpu)
    until(lambda: list(disturbed.glob("runs/*/history.json")), process)
    process.kill()
    assert end(process).returncode == -9

    rerun = lenet_train(*line, outputs=disturbed)

    lines = rerun.stderr.splitlines()
    (reason,) = [text for text in lines if "cpu_capability=DEFAULT (now " in text]
    assert "environment=ATEN_CPU_CAPABILITY=default (now " in reason
    assert lenet_train(*line, outputs=calm).returncode == 0
    assert only_record(disturbed).resumed == 0
    assert only_record(disturbed).weights_digest == only_record(calm).weights_digest


def only_record(outputs: Path) -> Record:
    """Return the record of the only run in an outputs folder."""
    (path,) = (outputs / "runs").iterdir()
    record = RunFolder(path).record()
    assert record is not None
    return record


def test_retrained_run_resumes_if_clock_is_behind(ready):
    """A forced sweep retrains runs that started before it; its workers can have other clocks."""
    forced_ms = int(time.time() * 1000) + 3_600_000
    pruned = trained(lambda result: result.epoch == 2, forced_ms=forced_ms)
    assert pruned.record.created_ms == forced_ms
    whole = trained(forced_ms=forced_ms)
    assert whole.outcome is Outcome.finished
    assert whole.record.resumed == 1
    assert trained(forced_ms=forced_ms).repeated


def test_settings_missing_in_older_record_count_as_equal(ready):
    pruned = trained(lambda result: result.epoch == 2, TORCH)
    path = pruned.folder / "job.json"
    job = json.loads(path.read_text())
    for key in ("cpu_capability", "environment"):
        del job["execution"][key]
    del job["digest"]
    path.write_text(json.dumps(job))
    (pruned.folder / "record.json").unlink()

    rerun = lenet_train(*TORCH, outputs=ready)

    assert "in epoch 3" in rerun.stderr


def test_data_changed_since_job_creation_is_refused(ready, caplog):
    caplog.set_level(logging.INFO)
    config = compose(list(LINE))
    job = lone_job(config)
    job = replace(job, config=replace(job.config, split_seed=1))
    with pytest.raises(DataError, match="changed"):
        run(job, command="lenet-train", default_threads=1)
    assert job.folder.begun() is None


def test_failed_run_prints_one_line_and_logs_traceback(main, ready):
    done = main("--config-dir", str(MINE), *BRIEF, "activation=raises", "num_epoch=3")
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("failed: ")]
    (log,) = ready.glob("runs/*/run.log")
    assert "RuntimeError: broken on purpose," in line
    assert line.endswith(f": {log}")
    assert "Traceback" in log.read_text()
