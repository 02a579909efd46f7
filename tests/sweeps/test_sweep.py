"""A sweep with runs that finish, diverge and fail, and a sweep over all activations and
optimizers.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.package_files import CONF_DIR
from tests.tools.commands import MINE, NO_NETWORK, SMALL, Done, lenet_train
from tests.tools.counts import counts
from tests.tools.stores import client, files, models, points, runs

HERE = ("-m", f"--config-dir={MINE}", "hydra/launcher=basic", *SMALL)
ACTIVATION = "activation=selu,raises"  # `raises` stops in the middle of the second epoch
DECAY = "regularization.weight_decay=5e-4,201"  # the second overflows in the second epoch
LINE = (*HERE, "num_epoch=2", "optimizer.momentum=0", "optimizer.lr=0.01", ACTIVATION, DECAY)
BEST = "selu wd=0.0005"
DIVERGED = "selu wd=201"
FAILED = ["raises wd=0.0005", "raises wd=201"]
OUTCOMES = {BEST: "finished", DIVERGED: "diverged"} | dict.fromkeys(FAILED, "failed")


@dataclass(frozen=True)
class Swept:
    """A sweep's terminal, folder and MLflow runs."""

    outputs: Path
    done: Done
    folder: SweepFolder
    store: MlflowClient
    parent: Run
    children: dict[str, Run]


@pytest.fixture(scope="module")
def swept(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    outputs = tmp_path_factory.mktemp("swept") / "outputs"
    shutil.copytree(empty_store, outputs)
    done = lenet_train(*LINE, "+tracking.tags.x=1", outputs=outputs)
    (folder,) = (outputs / "sweeps").iterdir()
    store = client(outputs)
    (parent,) = runs(store, "sweep")
    children = {run.info.run_name: run for run in runs(store)}
    return Swept(outputs, done, SweepFolder(folder), store, parent, children)


def test_failed_run_gives_status_1_and_does_not_stop_others(swept):
    assert swept.done.returncode == 1
    assert counts(swept.done) == ({"finished": 1, "diverged": 1, "failed": 2}, 4, 0)


def test_runs_in_workers_have_the_command_of_their_sweep(swept):
    commands = {run.data.tags["command"] for run in swept.children.values()}
    assert commands == {swept.folder.started().command}


def test_parent_run_has_request_outcome_and_best_result(swept):
    tags = swept.parent.data.tags
    assert swept.parent.info.run_name == "activation weight_decay (4 runs)"
    assert tags["kind"] == "sweep"
    assert tags["command"].startswith(shlex.join(["lenet-train", *HERE]))
    assert tags["overrides"].split()[-2:] == [DECAY, "+tracking.tags.x=1"]
    assert tags["swept"] == "activation regularization.weight_decay"
    assert tags["x"] == "1"
    assert tags["sweep"] == swept.folder.id
    assert swept.parent.info.status == "FINISHED"
    assert tags["outcome"] == "finished"
    assert swept.parent.data.metrics == {
        "runs": 4,
        "runs_finished": 1,
        "runs_diverged": 1,
        "runs_failed": 2,
        "runs_killed": 0,
        "runs_missing": 0,
    }
    best = swept.children[BEST]
    run_path = f"#/experiments/{best.info.experiment_id}/runs/{best.info.run_id}"
    link = f"{run_path}?workflowType=machine_learning"
    assert link in tags["mlflow.note.content"]


def test_parent_run_has_complete_report(swept):
    assert files(swept.store, swept.parent.info.run_id) >= {
        "sweep.json",
        "jobs.json",
        "leaderboard.csv",
        "comparison.html",
        "report.md",
        "leaderboard.png",
    }
    text = Path(swept.store.download_artifacts(swept.parent.info.run_id, "report.md")).read_text()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert rows[0][:4] == ["#", "activation", "weight_decay", "best val, %"]
    assert len(rows) == 2 + 4
    assert rows[2][:3] == ["1", "selu", "0.0005"]
    assert [row[-1] for row in rows].count("1 failed") == 2
    assert f"`{swept.folder.started().command}`" in text


def test_child_runs_have_parent_and_outcomes(swept):
    assert {name: run.data.tags["outcome"] for name, run in swept.children.items()} == OUTCOMES
    for name, run in swept.children.items():
        status = "FINISHED" if name == BEST else "FAILED"
        assert run.info.status == status
        assert run.data.tags["mlflow.parentRunId"] == swept.parent.info.run_id
        assert run.data.tags["sweeps"] == swept.parent.info.run_id
        assert run.data.tags["x"] == "1"
        assert run.data.params["num_threads"] == "1"
    (model,) = models(swept.store)
    assert model.source_run_id == swept.children[BEST].info.run_id


def test_failed_run_keeps_first_epoch_and_reason(swept):
    run = swept.children[FAILED[0]]
    assert run.data.tags["reason"] == "RuntimeError: broken on purpose,"
    assert [step for step, _, _ in points(swept.store, run.info.run_id)["val_accuracy"]] == [1]
    assert "run.log" in files(swept.store, run.info.run_id)


def test_sweep_prints_one_line_per_job_if_stderr_is_not_terminal(swept):
    lines = [line.split(": ", 1) for line in swept.done.stderr.splitlines()]
    lines_of_jobs = [line for line in lines if line[0] in OUTCOMES]
    assert [name for name, _ in lines_of_jobs] == list(OUTCOMES)
    ends = dict(lines_of_jobs)
    assert re.fullmatch(r"\d\d\.\d\d% in epoch 2, \d+\.\d s", ends[BEST])
    assert ends[DIVERGED].startswith("diverged: ")
    assert {ends[name] for name in FAILED} == {"failed: RuntimeError: broken on purpose,"}
    printed = swept.done.stdout + swept.done.stderr
    assert [c for c in printed if ord(c) < 32 and c != "\n"] == []


def test_plan_and_jobs_are_stored_in_sweep_folder_and_mlflow(swept):
    plan = json.loads((swept.folder.path / "sweep.json").read_text())
    assert list(swept.folder.delivered().run_ids().values()) == [swept.parent.info.run_id]
    assert plan["overrides"][-2:] == [DECAY, "+tracking.tags.x=1"]
    assert plan["starts"] == 1
    assert plan["outcome"] == "finished"
    path = swept.store.download_artifacts(swept.parent.info.run_id, "jobs.json")
    listed = json.loads(Path(path).read_text())["jobs"]
    assert [(job["name"], job["outcome"]) for job in listed] == list(OUTCOMES.items())
    for job in listed:
        run = swept.children[job["name"]]
        assert job["mlflow_run_id"] == run.info.run_id
        assert job["fingerprint"] == run.data.tags["fingerprint"]
        assert job["swept"]["activation"] == run.data.params["activation"]


@pytest.mark.parametrize(
    ("wrong", "digits"), [("dataset=kmnist", []), ("dataset.val_size=2000", ["dataset=digits"])]
)
def test_sweep_with_unavailable_data_is_refused_before_training(wrong, digits, ready, tmp_path):
    swept = wrong.replace("=", "=250," if digits else "=digits,")
    line = (
        "-m",
        *digits,
        swept,
        "batch_size=32",
        f"data_root={tmp_path / 'none'}",
        "tracking.plots=false",
    )
    done = lenet_train(*line, outputs=ready, **NO_NETWORK)
    assert done.returncode == 2
    assert done.stdout == ""
    (message,) = [text for text in done.stderr.splitlines() if text.startswith("lenet-train: ")]
    assert message.startswith(f"lenet-train: {wrong}: ")
    assert wrong in message.rpartition("(job: ")[2]
    assert "Traceback" not in done.stderr
    store = client(ready)
    if store.get_experiment_by_name("lenet_exp") is not None:
        assert runs(store) == []
        assert runs(store, "sweep") == []
    assert [name for name in ("runs", "sweeps") if (ready / name).exists()] == []


ACTIVATIONS = sorted(file.stem for file in (CONF_DIR / "activation").glob("*.yaml"))
OPTIMIZERS = sorted(file.stem for file in (CONF_DIR / "optimizer").glob("*.yaml"))
SMALLEST = (
    *SMALL,
    "num_epoch=1",
    "dataset.train_size=96",
    "tracking.models=none",
    "tracking.plots=false",
)


@pytest.mark.slow(seconds=4)
def test_every_activation_and_optimizer_trains_in_one_sweep(ready):
    optimizers = [OPTIMIZERS[n % len(OPTIMIZERS)] for n in range(len(ACTIVATIONS))]
    swept = (f"activation={','.join(ACTIVATIONS)}", f"optimizer={','.join(optimizers)}")
    line = ("-m", "hydra/launcher=basic", *SMALLEST, "sweep.zip=[activation,optimizer]", *swept)
    done = lenet_train(*line, outputs=ready)
    (parent,) = runs(client(ready), "sweep")
    children = runs(client(ready))
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    pairs = {(run.data.params["activation"], run.data.params["optimizer"]) for run in children}
    assert pairs == set(zip(ACTIVATIONS, optimizers, strict=True))
    outcomes = {run.data.tags["outcome"] for run in children}
    assert outcomes <= {"finished", "diverged"}
    status = 1 if "diverged" in outcomes else 0
    assert done.returncode == status, done.stderr
    assert parent.info.status == "FINISHED"
    assert len({run.info.run_name for run in children}) == len(ACTIVATIONS)
