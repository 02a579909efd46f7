"""One sweep in which everything happens: runs that finish, diverge, learn nothing, and fail."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from lenet_exp.folders.results import JobResult, job_results
from lenet_exp.folders.sweep_folder import SweepFolder
from tests.commands import MINE, NO_NETWORK, SMALL, Done, lenet_train
from tests.stores import client, files, models, points, runs

ACTIVATION = "activation=selu,raises"  # `raises` stops in the middle of the second epoch
LR = "optimizer.lr=0.01,1e-9"  # the second learns nothing
DECAY = "regularization.weight_decay=5e-4,201"  # with lr 0.01 the second overflows in the second epoch
LINE = ("-m", f"--config-dir={MINE}", *SMALL, "num_epoch=2", "optimizer.momentum=0", ACTIVATION, LR, DECAY)
FAILED = ["raises lr=0.01 wd=0.0005", "raises lr=0.01 wd=201", "raises lr=1e-09 wd=0.0005", "raises lr=1e-09 wd=201"]


@dataclass(frozen=True)
class Swept:
    """A sweep's terminal, folder and MLflow runs."""

    outputs: Path
    done: Done
    folder: SweepFolder
    store: MlflowClient
    parent: Run
    children: dict[str, Run]

    @property
    def results(self) -> list[JobResult]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LENET_EXP_OUTPUTS", str(self.outputs))
            return job_results(self.folder, self.folder.jobs(), self.folder.started().started_ms)

    @property
    def table(self) -> list[list[str]]:
        """Rows as `#, activation, lr, weight_decay, best val, epoch, seconds, remark`."""
        lines = [re.split(r"\s{2,}", line.strip()) for line in self.done.stdout.splitlines()]
        return [line for line in lines if re.fullmatch(r"\d+", line[0])]


@pytest.fixture(scope="module")
def swept(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    outputs = tmp_path_factory.mktemp("swept") / "outputs"
    shutil.copytree(empty_store, outputs)
    done = lenet_train(*LINE, "+tracking.tags.x=1", outputs=outputs)
    (folder,) = (outputs / "sweeps").iterdir()
    store = client(outputs)
    (parent,) = runs(store, "sweep")
    return Swept(outputs, done, SweepFolder(folder), store, parent, {r.info.run_name: r for r in runs(store)})


def test_a_run_that_failed_makes_the_status_1_and_stops_no_other(swept):
    assert swept.done.returncode == 1
    outcomes = ["finished", "diverged", "finished", "finished"] + ["failed"] * 4
    assert [r.outcome for r in swept.results] == outcomes


def test_the_parent_says_what_was_asked_for(swept):
    tags = swept.parent.data.tags
    assert swept.parent.info.run_name == "activation lr weight_decay (8 runs)"
    assert tags["kind"] == "sweep"
    assert tags["command"].startswith(f"lenet-train -m --config-dir={MINE} dataset=digits batch_size=32")
    assert tags["overrides"].split()[-2:] == [DECAY, "+tracking.tags.x=1"]
    assert tags["swept"] == "activation optimizer.lr regularization.weight_decay"
    assert tags["x"] == "1"
    assert tags["sweep"] == swept.folder.id
    assert files(swept.store, swept.parent.info.run_id) == {
        "sweep.json",
        "jobs.json",
        "leaderboard.csv",
        "comparison.html",
        "report.md",
    } | {f"{name}.png" for name in ("leaderboard", "learning_curves", "heat_map", "parallel_coordinates")} | {
        "seconds_and_accuracy.png"
    }


def test_the_parent_ends_in_a_true_state_with_the_counts(swept):
    assert (swept.parent.info.status, swept.parent.data.tags["outcome"]) == ("FINISHED", "finished")
    assert swept.parent.data.metrics == {
        "runs": 8,
        "runs_finished": 3,
        "runs_diverged": 1,
        "runs_failed": 4,
        "runs_killed": 0,
        "runs_missing": 0,
        "best_val_accuracy": swept.children["selu lr=0.01 wd=0.0005"].data.metrics["best_val_accuracy"],
    }


def test_the_parents_description_is_the_verdict_and_the_best_configurations(swept):
    text = swept.parent.data.tags["mlflow.note.content"].replace("\N{NO-BREAK SPACE}", " ")
    assert text.startswith("<div><b>selu lr=0.01 wd=0.0005 is first: ")
    best = swept.children["selu lr=0.01 wd=0.0005"]
    link = f"#/experiments/{best.info.experiment_id}/runs/{best.info.run_id}?workflowType=machine_learning"
    accuracy = best.data.metrics["best_val_accuracy"]
    assert f'<td>1 </td><td>selu lr=0.01 wd=0.0005 </td><td><a href="{link}">{accuracy * 100:.2f}</a>' in text
    assert sorted(re.findall(r"<td>(\d+) </td>", text)) == ["1", "2", "3", "4"]
    assert "<td>4 more</td>" in text


def test_the_parent_has_the_whole_report(swept):
    text = Path(swept.store.download_artifacts(swept.parent.info.run_id, "report.md")).read_text()
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in text.splitlines() if row.startswith("|")]
    assert rows[0][:5] == ["#", "activation", "lr", "weight_decay", "best val, %"]
    assert set(rows[1]) == {"---"}
    assert len(rows) == 2 + 8
    assert rows[2][:4] == ["1", "selu", "0.01", "0.0005"]
    assert [row[-1] for row in rows].count("1 failed") == 4
    assert f"`{swept.folder.started().command}`" in text


def test_the_parent_says_in_words_what_its_runs_came_to(swept):
    tags = swept.parent.data.tags
    assert tags["sweep_progress"] == "8 of 8 runs ended (3 finished, 1 diverged, 4 failed)"
    accuracy = swept.children["selu lr=0.01 wd=0.0005"].data.metrics["best_val_accuracy"]
    assert tags["sweep_best"] == f"{accuracy:.2%} by selu lr=0.01 wd=0.0005"


def test_children_belong_to_the_parent_and_have_short_distinct_names(swept):
    assert set(swept.children) == {
        "selu lr=0.01 wd=0.0005",
        "selu lr=0.01 wd=201",
        "selu lr=1e-09 wd=0.0005",
        "selu lr=1e-09 wd=201",
        *FAILED,
    }
    for run in swept.children.values():
        assert run.data.tags["mlflow.parentRunId"] == swept.parent.info.run_id
        assert run.data.tags["sweeps"] == swept.parent.info.run_id
        assert run.data.tags["x"] == "1"
        assert run.data.params["num_threads"] == "1"


def test_every_child_has_the_state_of_its_run(swept):
    states = {name: (run.info.status, run.data.tags["outcome"]) for name, run in swept.children.items()}
    assert {states[name] for name in FAILED} == {("FAILED", "failed")}
    assert states["selu lr=0.01 wd=201"] == ("FAILED", "diverged")
    assert states["selu lr=0.01 wd=0.0005"] == ("FINISHED", "finished")


def test_a_failed_run_keeps_its_first_epoch_and_says_why(swept):
    run = swept.children[FAILED[0]]
    assert run.data.tags["reason"] == "RuntimeError: broken on purpose,"
    assert [step for step, _, _ in points(swept.store, run.info.run_id)["val_accuracy"]] == [1]
    assert "run.log" in files(swept.store, run.info.run_id)


def test_the_table_is_best_first_and_failed_last(swept):
    table = swept.table
    assert [row[0] for row in table] == list("12345678")
    accuracies = [float(row[4].rstrip("%")) for row in table[:3]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert table[0][1:4] == ["selu", "0.01", "0.0005"]
    assert {row[-1] for row in table if row[1] == "raises"} == {"failed"}
    assert "8 runs: 3 finished, 1 diverged, 4 failed; 8 trained in" in swept.done.stdout


def test_a_run_that_learnt_nothing_is_flagged(swept):
    remarks = {(row[1], row[2]): row[-1] for row in swept.table if row[3] == "0.0005"}
    assert remarks["selu", "1e-09"] == "at chance: learned nothing"
    assert "chance" not in remarks["selu", "0.01"]


def test_every_failure_is_one_line_with_its_reason_and_its_log(swept):
    for name in FAILED:
        (line,) = [text for text in swept.done.stdout.splitlines() if text.startswith(f"failed: {name}: ")]
        reason, _, log = line.partition("; log: ")
        assert reason == f"failed: {name}: RuntimeError: broken on purpose,"
        assert "Traceback (most recent call last)" in Path(log).read_text()
        assert "tests/sweeps/layers.py" in Path(log).read_text()
    (line,) = [text for text in swept.done.stdout.splitlines() if text.startswith("diverged: ")]
    assert re.fullmatch(r"diverged: selu lr=0.01 wd=201: loss \S+ in epoch 2, iteration \d+; log: \S+/run.log", line)


def test_the_last_lines_say_how_to_go_on_and_how_to_open_the_ui(swept):
    go_on, last = swept.done.stdout.rstrip().splitlines()[-2:]
    assert go_on == f"the same line again goes on; or: lenet-train -m sweep.resume={swept.folder.id}"
    assert last == f"look at them: lenet-ui sweep={swept.folder.id}"


def test_in_a_file_a_sweep_prints_one_line_a_job_and_no_bars(swept):
    lines = [  # without those that a slow machine prints each 30 s
        line for line in swept.done.stderr.splitlines() if not re.match(r"\d+ of \d+ runs ended", line)
    ]
    assert lines[0] == f"sweep of 8 runs; outputs in {swept.outputs}"
    engines = [line for line in lines if line.startswith("engine of ")]  # those that fail have layers of their own
    assert lines[1 : 1 + len(engines)] == engines
    ends = dict(line.split(": ", 1) for line in lines[1 + len(engines) :])
    assert len(ends) == 8
    assert set(ends) == set(swept.children)
    assert re.fullmatch(r"\d\d\.\d\d% in epoch 2, \d+\.\d s", ends["selu lr=0.01 wd=0.0005"])
    assert re.fullmatch(r"diverged: loss \S+ in epoch 2, iteration \d+", ends["selu lr=0.01 wd=201"])
    assert {ends[name] for name in FAILED} == {"failed: RuntimeError: broken on purpose,"}
    printed = swept.done.stdout + swept.done.stderr
    assert [c for c in printed if ord(c) < 32 and c != "\n"] == []


def test_models_are_those_of_the_finished_runs(swept):
    finished = {run.info.run_id for run in swept.children.values() if run.info.status == "FINISHED"}
    assert {model.source_run_id for model in models(swept.store)} == finished
    assert len(finished) == 3


def test_the_plan_is_kept_beside_the_runs(swept):
    plan = json.loads((swept.folder.path / "sweep.json").read_text())
    assert [job.name for job in swept.folder.jobs()][:2] == ["selu lr=0.01 wd=0.0005", "selu lr=0.01 wd=201"]
    assert list(plan["mlflow_runs"].values()) == [swept.parent.info.run_id]
    assert plan["overrides"][-2:] == [DECAY, "+tracking.tags.x=1"]
    assert (plan["starts"], plan["outcome"]) == (1, "finished")


def test_mlflow_has_the_list_of_the_jobs_with_their_runs(swept):
    path = swept.store.download_artifacts(swept.parent.info.run_id, "jobs.json")
    listed = json.loads(Path(path).read_text())["jobs"]
    assert [(job["name"], job["outcome"]) for job in listed] == [(r.job.name, r.outcome) for r in swept.results]
    for job in listed:
        run = swept.children[job["name"]]
        assert job["mlflow_run_id"] == run.info.run_id
        assert job["fingerprint"] == run.data.tags["fingerprint"]
        assert job["swept"]["activation"] == run.data.params["activation"]


def nothing_was_started(outputs: Path) -> bool:
    store = client(outputs)
    started = [] if store.get_experiment_by_name("lenet_exp") is None else [*runs(store), *runs(store, "sweep")]
    return not started and not (outputs / "runs").exists() and not (outputs / "sweeps").exists()


def test_a_data_set_that_cannot_be_had_refuses_the_sweep_before_anything_is_trained(ready, tmp_path):
    line = ("-m", "batch_size=32", "num_epoch=1", "dataset=digits,kmnist", f"data_root={tmp_path / 'none'}")
    done = lenet_train(*line, "tracking.plots=false", outputs=ready, **NO_NETWORK)
    assert (done.returncode, done.stdout) == (2, "")
    (said,) = [text for text in done.stderr.splitlines() if text.startswith("lenet-train: ")]
    assert said.startswith(f"lenet-train: dataset=kmnist: not found in {tmp_path / 'none'}")
    assert "download failed" in said
    assert "(job: batch_size=32 num_epoch=1 dataset=kmnist " in said
    assert "Traceback" not in done.stderr
    assert nothing_was_started(ready)


def test_a_validation_set_that_is_too_large_refuses_the_sweep(ready):
    done = lenet_train("-m", *SMALL, "num_epoch=1", "dataset.val_size=250,2000", outputs=ready)
    assert (done.returncode, done.stdout) == (2, "")
    (said,) = done.stderr.splitlines()
    assert said.startswith("lenet-train: dataset.val_size=2000: digits has 1500 images, too few")
    assert said.endswith("(job: dataset=digits batch_size=32 num_epoch=1 dataset.val_size=2000)")
    assert nothing_was_started(ready)
