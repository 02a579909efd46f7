"""A sweep is a thing that lasts: the same line goes on, a longer one adds, conf/ may change meanwhile."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.commands import SMALL, Done, end, lenet_train, start
from tests.stores import client, everything, runs
from tests.sweeps.spies import FOLDER

HERE = "hydra/launcher=basic"  # in the test's own process
QUICK = ("-m", HERE, *SMALL, "num_epoch=1", "tracking.plots=false", "tracking.models=none")


@dataclass(frozen=True)
class Stage:
    """A command, and all that MLflow holds after it."""

    done: Done
    held: dict[str, Any]
    parents: list[Any]
    children: list[Any]


@pytest.fixture(scope="module")
def kept(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(empty_store, tmp_path_factory.mktemp("lasting") / "outputs"))


@pytest.fixture(scope="module")
def stages(kept: Path) -> dict[str, Stage]:
    """A line; a longer one; the first again; all in one outputs folder."""
    found = {}
    for name, seeds in {"two": 2, "four": 4, "two again": 2}.items():
        done = lenet_train(*QUICK, f"seed=range({seeds})", outputs=kept)
        assert done.returncode == 0, done.stderr
        store = client(kept)
        found[name] = Stage(done, everything(store), runs(store, "sweep"), runs(store))
    return found


def test_a_longer_line_trains_only_what_is_new(stages):
    four = stages["four"]
    assert "sweep of 4 runs; 2 of them trained before" in four.done.stderr
    assert "4 runs: 4 finished; 2 trained (2 had been trained before)" in four.done.stdout
    assert len(four.children) == 4
    assert len(four.parents) == 2


def test_a_run_of_both_sweeps_says_so_and_is_listed_by_both(stages, kept):
    old, new = (parent.info.run_id for parent in stages["four"].parents)
    sweeps = [run.data.tags["sweeps"] for run in stages["four"].children]
    assert sweeps == [f"{old},{new}"] * 2 + [new] * 2
    listed = client(kept).download_artifacts(new, "jobs.json", str(kept))
    assert all(run.info.run_id in Path(listed).read_text() for run in stages["four"].children)


def test_the_same_line_goes_on_under_the_same_parent_and_changes_no_run(stages):
    again = stages["two again"]
    assert [p.info.run_id for p in again.parents] == [p.info.run_id for p in stages["four"].parents]
    assert "(goes on with " in again.done.stderr
    assert "2 runs: 2 finished; 0 trained (2 had been trained before)" in again.done.stdout
    for run in again.children:
        assert again.held[run.info.run_id] == stages["four"].held[run.info.run_id]
    assert [p.info.status for p in again.parents] == ["FINISHED"] * 2
    assert [p.data.tags["starts"] for p in again.parents] == ["2", "1"]


@pytest.mark.parametrize("which", ["last", "run id", "folder", "part of its id"])
def test_a_sweep_is_resumed_from_any_directory(stages, kept, which, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    latest = max((kept / "sweeps").iterdir(), key=lambda path: (path / "sweep.json").stat().st_mtime)
    named = {
        "last": "last",
        "run id": stages["two"].parents[0].info.run_id,
        "folder": str(latest),
        "part of its id": latest.name[:8],
    }[which]
    elsewhere = tmp_path / "outputs" if which == "folder" else kept
    done = lenet_train("-m", HERE, f"sweep.resume={named}", outputs=elsewhere)
    assert done.returncode == 0, done.stderr
    assert "2 runs: 2 finished; 0 trained (2 had been trained before)" in done.stdout
    assert len(runs(client(kept), "sweep")) == 2
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (("-m", "sweep.resume=nope"), "nope: no such sweep in "),
        (("-m", "sweep.resume=last", "seed=3"), "seed=3: a sweep that is resumed has its jobs already"),
        (("sweep.resume=last",), "sweep.resume=last: goes on with a sweep, and needs -m"),
        (("-m", *SMALL, "sweep.force=true,false"), "sweep.*: these flags are of the sweep as a whole"),
    ],
)
def test_what_cannot_be_resumed_is_one_line(stages, kept, line, says):
    before = everything(client(kept))
    done = lenet_train(*line, outputs=kept)
    assert done.returncode == 2
    assert done.stderr.startswith(f"lenet-train: {says}")
    assert done.stderr.count("\n") == 1
    assert everything(client(kept)) == before


def test_a_dry_run_counts_and_estimates_and_writes_nothing(stages, kept):
    before = everything(client(kept)), sorted(kept.rglob("*"))
    done = lenet_train(*QUICK, "seed=0,1,2,3,4,4", "sweep.dry_run=true", outputs=kept)
    assert done.returncode == 0, done.stderr
    assert ": 6 jobs" in done.stdout
    assert "  4 done already, 1 duplicate, 1 to train" in done.stdout
    assert "with 1 worker of 1 thread" in done.stdout
    assert "MB of disk" in done.stdout
    assert (everything(client(kept)), sorted(kept.rglob("*"))) == before


def test_a_dry_run_of_a_single_run(kept):
    done = lenet_train(*SMALL, "sweep.dry_run=true", outputs=kept)
    assert done.returncode == 0, done.stderr
    assert "1 to train" in done.stdout


def test_jobs_that_differ_in_how_they_execute_are_trained_each(ready):
    line = (*QUICK, "num_threads=1,2", "engine=torch")
    done = lenet_train(*line, outputs=ready)
    assert "2 runs: 2 finished; 2 trained" in done.stdout
    found = runs(client(ready))
    assert sorted(run.data.params["num_threads"] for run in found) == ["1", "2"]
    assert len({run.data.tags["fingerprint"] for run in found}) == 1
    again = lenet_train(*line, outputs=ready)
    assert "0 trained (2 had been trained before)" in again.stdout
    alone = lenet_train(*SMALL, "num_epoch=1", "num_threads=2", outputs=ready)
    assert "trained before" in alone.stdout  # a fingerprint that is finished is not trained again


def test_a_finished_run_still_serves_its_model_path(ready, tmp_path):
    line = (*QUICK, "seed=0,1")
    assert lenet_train(*line, outputs=ready).returncode == 0
    done = lenet_train(*line, f"model_path={tmp_path / 'models'}", outputs=ready)
    assert "0 trained (2 had been trained before)" in done.stdout
    assert len(list((tmp_path / "models").glob("digits_epoch1_*.safetensors"))) == 2


def test_what_is_frozen_runs_whatever_happens_to_conf(ready, tmp_path):
    """The option file of the second job is edited, then broken, while the first trains."""
    mine = tmp_path / "mine"
    shutil.copytree(Path(__file__).parent / "mine", mine)
    option = mine / "activation" / "edited.yaml"
    option.write_text("_target_: torch.nn.LeakyReLU\nmonotone: true\nnegative_slope: 0.25\n")
    reached, go = tmp_path / "reached", tmp_path / "go"
    os.mkfifo(reached)
    os.mkfifo(go)
    line = ("-m", f"--config-dir={mine}", *QUICK[2:], "num_epoch=2", "activation=pauses,edited", "sweep.workers=1")
    process = start(*line, outputs=ready, env={FOLDER: str(tmp_path)})
    reached.read_text()
    option.write_text("negative_slope: [broken")
    go.write_text("go")
    done = end(process)
    assert done.returncode == 0, done.stderr
    (run,) = [run for run in runs(client(ready)) if run.info.run_name == "edited"]
    assert run.data.params["activation.negative_slope"] == "0.25"
    option.write_text("_target_: torch.nn.LeakyReLU\nmonotone: true\nnegative_slope: 0.5\n")
    changed = end(start(*line, outputs=ready))
    assert changed.returncode == 0, changed.stderr
    old, new = runs(client(ready), "sweep")
    assert f"this line meant other jobs before: sweep {old.data.tags['sweep']}, MLflow run {old.info.run_id}" in (
        changed.stderr
    )
    assert new.info.run_id != old.info.run_id
    assert "2 runs: 2 finished; 1 trained (1 had been trained before)" in changed.stdout
