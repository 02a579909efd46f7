"""Sweeps can be resumed and extended, also after changes to conf/, and their duration is
estimated.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lenet_exp.sweeps import estimate
from tests.tools.commands import SMALL, end, lenet_train, refused, start, succeeded
from tests.tools.counts import counts
from tests.tools.spies import FOLDER
from tests.tools.stores import client, everything, runs

HERE = "hydra/launcher=basic"  # in this process
QUICK = ("-m", HERE, *SMALL, "num_epoch=1", "tracking.plots=false", "tracking.models=none")


@pytest.fixture(scope="module")
def kept(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an outputs folder with one sweep."""
    outputs = Path(shutil.copytree(empty_store, tmp_path_factory.mktemp("lasting") / "outputs"))
    assert lenet_train(*QUICK, "seed=0,1", outputs=outputs).returncode == 0
    return outputs


@pytest.mark.parametrize("which", ["last", "run id", "folder"])
def test_sweep_is_resumed_from_any_directory(kept, which, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (folder,) = (kept / "sweeps").iterdir()
    (parent,) = runs(client(kept), "sweep")
    name = {"last": "last", "run id": parent.info.run_id, "folder": str(folder)}[which]

    done = succeeded(lenet_train("-m", HERE, f"sweep.resume={name}", outputs=kept))

    assert counts(done) == ({"finished": 2}, 0, 2)
    assert len(runs(client(kept), "sweep")) == 1
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (("-m", "sweep.resume=nope"), "sweep.resume=nope: "),
        (("-m", "sweep.resume=last", "seed=3"), "seed=3: "),
        (("sweep.resume=last",), "sweep.resume=last: "),
        (("-m", *SMALL, "sweep.force=true,false"), "sweep: "),
        (
            ("-m", *SMALL, "seed=1,2", "sweep.against=true", "sweep.dry_run=true"),
            "sweep.against=true: ",
        ),
        (("-m", *SMALL, "tracking.experiment=a,b"), "tracking.experiment: "),
        (("-m", *SMALL, "seed=1,2", "sweep.detach=true"), "unknown flag 'sweep.detach'"),
    ],
)
def test_unresumable_sweep_gives_one_line_error(kept, line, named):
    before = everything(client(kept))
    done = lenet_train(*line, outputs=kept)
    assert refused(done).startswith(f"lenet-train: {named}")
    assert everything(client(kept)) == before


def test_dry_run_counts_jobs_and_writes_nothing(kept):
    in_mlflow = everything(client(kept))
    files = sorted(kept.rglob("*"))

    sweep = succeeded(lenet_train(*QUICK, "seed=0,1,2,3,3", "sweep.dry_run=true", outputs=kept))
    run = succeeded(lenet_train(*SMALL, "sweep.dry_run=true", outputs=kept))

    assert ": 5 jobs" in sweep.stdout
    numbers = re.findall(r"(\d+) (?:already|dup|to train)", sweep.stdout)
    assert [int(number) for number in numbers] == [2, 1, 2]
    assert "1 to train" in run.stdout
    assert everything(client(kept)) == in_mlflow
    assert sorted(kept.rglob("*")) == files


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow(seconds=12)
@pytest.mark.parametrize("flags", [(), ("tracking.plots=false", "tracking.models=none")])
def test_estimated_disk_space_is_close_to_used_disk_space(ready, flags):
    line = ("-m", HERE, *SMALL, "num_epoch=1", "seed=range(6)", *flags)
    planned = succeeded(lenet_train(*line, "sweep.dry_run=true", outputs=ready)).stdout
    (megabytes,) = re.findall(r"about ([0-9.]+) MB of disk space", planned)
    size_before = size_of(ready)
    succeeded(lenet_train(*line, outputs=ready))
    used_bytes = size_of(ready) - size_before
    assert float(megabytes) * 1e6 == pytest.approx(used_bytes, rel=0.2)


def test_swept_threads_of_torch_engine_are_separate_runs(ready):
    line = (*QUICK, "num_threads=1,2", "engine=torch")
    done = lenet_train(*line, outputs=ready)
    assert counts(done) == ({"finished": 2}, 2, 0)
    runs_of_sweep = runs(client(ready))
    assert sorted(run.data.params["num_threads"] for run in runs_of_sweep) == ["1", "2"]
    assert len({run.data.tags["fingerprint"] for run in runs_of_sweep}) == 1

    succeeded(lenet_train(*SMALL, "num_epoch=1", "num_threads=2", outputs=ready))

    assert len(runs(client(ready))) == 2  # a finished fingerprint is not trained again


@pytest.mark.slow(seconds=8)
def test_frozen_jobs_run_after_conf_changes(ready, tmp_path):
    """The option file of the second job is edited, then broken, while the first trains."""
    mine = tmp_path / "mine"
    shutil.copytree(Path(__file__).parent / "mine", mine)
    option = mine / "activation" / "edited.yaml"
    option.write_text("_target_: torch.nn.LeakyReLU\nmonotone: true\nnegative_slope: 0.25\n")
    reached = tmp_path / "reached"
    go = tmp_path / "go"
    os.mkfifo(reached)
    os.mkfifo(go)
    line = (
        "-m",
        f"--config-dir={mine}",
        *QUICK[2:],
        "num_epoch=2",
        "activation=pauses,edited",
        "sweep.workers=1",
    )

    process = start(*line, outputs=ready, env={FOLDER: str(tmp_path)})
    reached.read_text()  # blocks until the first job trains
    option.write_text("negative_slope: [broken")
    go.write_text("go")
    succeeded(end(process))

    (run,) = [run for run in runs(client(ready)) if run.info.run_name == "edited"]
    assert run.data.params["activation.negative_slope"] == "0.25"

    option.write_text("_target_: torch.nn.LeakyReLU\nmonotone: true\nnegative_slope: 0.5\n")
    changed = succeeded(end(start(*line, outputs=ready)))

    old, new = runs(client(ready), "sweep")
    old_name = old.data.tags["sweep"]
    note = f"new sweep, because this command had different jobs in sweep {old_name}"
    assert note in changed.stderr
    assert new.info.run_id != old.info.run_id
    assert counts(changed) == ({"finished": 2}, 1, 1)


@pytest.fixture
def minutes(main, outputs, monkeypatch) -> Callable[..., float]:
    """Return a function that estimates the minutes of a sweep with slow steps on two cores."""
    monkeypatch.setattr(estimate, "_seconds_per_image", lambda config, threads: 10.0)
    monkeypatch.setattr(estimate, "cpu_count", lambda: 2)

    def estimated(*line: str) -> float:
        done = main("-m", *SMALL, "num_epoch=1", "sweep.dry_run=true", *line)
        hours = re.findall(r"about ([\d.]+) h ", done.stdout)[0]
        return float(hours) * 60

    return estimated


def test_estimate_counts_whole_runs_per_worker(minutes):
    one = minutes("seed=0")
    assert one > 60
    assert minutes("seed=0,1,2") == pytest.approx(2 * one, abs=7)
    # on two cores
    assert minutes("seed=0,1,2,3", "sweep.workers=4") == pytest.approx(2 * one, abs=7)
