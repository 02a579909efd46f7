"""Tokens of stores in files of earlier releases are found and removed without losing results."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lenet_exp.addresses import store_name
from lenet_exp.config.schema import Config
from lenet_exp.files import write_json
from lenet_exp.folders.digests import with_digest
from lenet_exp.folders.job import Job
from lenet_exp.folders.model_file import ModelFile
from lenet_exp.folders.records import DeliveredRun, Outcome, record_to_json
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.secrets import cleaned_text
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.training.lane import Best
from lenet_exp.training.trained.weights import load_weights, save_weights, weights_digest
from tests.tools.commands import SECRET
from tests.tools.records import a_record
from tests.tracking.stores.test_store import leaks

TOKEN = f"http://{SECRET}@lab.example"
QUERY = f"http://lab.example/?token={SECRET}"
WEIGHTS = {"w": torch.ones(3)}


def edit(path: Path, change: Callable[[Any], None], *, with_digests: bool = True) -> None:
    """Change the JSON in a file, or in each line of a .jsonl file, as if an earlier release had written it."""
    values = [
        json.loads(text) for text in (path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()])
    ]
    for value in values:
        change(value)
    path.write_text("\n".join(json.dumps(with_digest(value) if with_digests else value) for value in values) + "\n")


def with_token(value: Any) -> None:
    value["config"]["tracking"]["uri"] = TOKEN
    value["command" if "command" in value else "name"] = f"lenet-train 'tracking.uri={QUERY}' seed=1"


@pytest.fixture
def old(outputs: Path, tmp_path: Path) -> tuple[RunFolder, SweepFolder]:
    """A finished run with a model file, and its sweep. All their files contain a token."""
    folder, sweep = RunFolder(outputs / "runs" / ("a" * 32)), SweepFolder(outputs / "sweeps" / ("b" * 16))
    begun = a_record(name="n", created_ms=1, config=Config(model_path=str(tmp_path / "models")))
    record = replace(begun, outcome=Outcome.finished, best_epoch=2, best_val_accuracy=0.2, ended_ms=5)
    folder.path.mkdir(parents=True)
    folder.start(begun).write_results(Best(2, 0.2, WEIGHTS, torch.zeros(2, dtype=torch.int64)))
    folder.finish(record)
    edit(folder.path / "record.json", with_token)
    folder.log_file.write_text(f"one\ntracking.uri={TOKEN}: can't be written\nthree\n")
    write_json(folder.path / "abandoned.json", [{"store": QUERY, "run_id": "1" * 32}])
    folder.set_delivered(DeliveredRun(TOKEN, "2" * 32, epochs=2, ended_ms=5))
    model = ModelFile(str(tmp_path / "models"), "digits", folder.id).replace(WEIGHTS, record)
    value = record_to_json(record)
    with_token(value)
    save_weights(model, WEIGHTS, {"record": json.dumps(value)})
    job = Job(0, "n", {}, [], begun.config, "f", folder.id, outputs=outputs)
    sweep.path.mkdir(parents=True)
    sweep.start([job, replace(job, number=1)], runs=2)
    sweep.end(Outcome.finished)
    edit(sweep.path / "jobs.jsonl", with_token)
    kept = {
        "tracking_uri": TOKEN,
        "mlflow_runs": {TOKEN: "3" * 32},
        "untold": [],
        "overrides": [f"tracking.uri={QUERY}"],
    }
    edit(sweep.path / "sweep.json", lambda value: value.update(kept))
    sweep.end_job(1, None)
    (sweep.path / "ended" / "1").write_text(json.dumps(f"url: /?token={SECRET} refused"))
    return folder, sweep


def test_files_with_token_are_listed_and_cleaned_with_digests(old, main, outputs, tmp_path):
    folder, sweep = old
    held = leaks(tmp_path)
    assert len(held) == 8
    record, jobs, plan = folder.record(), sweep.jobs(), sweep.started()
    assert SECRET not in str((record, jobs, plan, folder.delivered(), folder.abandoned()))
    listed = main("list", program="sweep")
    assert [path for path in held if f"{path}: " not in listed.stderr] == []
    assert SECRET not in listed.stdout + listed.stderr
    assert leaks(tmp_path) == held
    assert main("clean", program="sweep").returncode == 0
    assert leaks(tmp_path) == []
    assert (folder.record(), sweep.jobs(), sweep.started()) == (record, jobs, plan)
    assert folder.record().digest is not None
    assert folder.record().config.tracking.uri == sweep.started().tracking_uri == "http://lab.example"
    assert folder.log_file.read_text() == "one\ntracking.uri=http://***@lab.example: can't be written\nthree\n"
    (model,) = (tmp_path / "models").iterdir()
    assert weights_digest(load_weights(model)[0]) == weights_digest(WEIGHTS)
    assert folder.delivered().run_in(store_name("http://another@lab.example")).epochs == 2
    assert sweep.started().mlflow_runs == {store_name(QUERY): "3" * 32}
    again = main("list", program="sweep")
    assert (again.returncode, again.stderr) == (0, "")
    assert main("clean", program="sweep").stdout == "cleaned: 0 files\n"


def test_edited_record_stays_corrupt_after_cleaning(old, main):
    folder, _ = old
    edit(folder.path / "record.json", lambda value: value.update(best_val_accuracy=0.9), with_digests=False)
    assert main("clean", program="sweep").returncode == 0
    assert SECRET not in (folder.path / "record.json").read_text()
    assert folder.record() is None


def test_clean_skips_files_of_running_process(old, main, tmp_path):
    folder, _ = old
    with folder.claim():
        done = main("clean", program="sweep")
    assert done.returncode == 1
    left = {Path(line.rpartition(": ")[2]) for line in done.stdout.splitlines()[1:]}
    assert left == set(leaks(tmp_path))
    assert {path.parent for path in left} == {folder.path, tmp_path / "models"}
    assert main("clean", program="sweep").returncode == 0
    assert leaks(tmp_path) == []


def test_texts_without_token_stay_unchanged():
    texts = (json.dumps({"tags": {"wiki": "https://wiki.example/?page=3"}}), "a\nb: https://x.example/y#z\n", "{broken")
    assert [cleaned_text(text) for text in texts] == list(texts)
