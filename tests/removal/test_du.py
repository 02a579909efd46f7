"""lenet-sweep du: what takes the space, to the byte, and what could go."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lenet_exp.removal.disk import measure, size_of
from tests.tools.commands import SMALL, lenet_train
from tests.tools.stores import client, runs

QUICK = (*SMALL, "num_epoch=1", "num_threads=1", "tracking.plots=false")
HERE = ("-m", "hydra/launcher=basic", *QUICK, "tracking.models=none")
LINES = ((*HERE, "seed=0,1"), (*HERE, "seed=1,2", "optimizer.lr=0.05"), (*QUICK, "seed=9"))
MILLION = 10**6


@pytest.fixture
def trained(ready: Path) -> Path:
    """Two sweeps and a run in none."""
    for line in LINES:
        done = lenet_train(*line, outputs=ready)
        assert done.returncode == 0, done.stderr
    return ready


def by_du(outputs: Path) -> int:
    """What `du -sb` says, less the folders' own sizes where it counts them (before coreutils 9.2)."""

    def du(path: Path) -> int:
        return int(subprocess.run(["du", "-sb", path], capture_output=True, text=True, check=True).stdout.split()[0])

    empty = outputs.parent / "empty"
    empty.mkdir(exist_ok=True)
    own = sum(os.stat(folder).st_size for folder, _, _ in os.walk(outputs)) if du(empty) else 0
    return du(outputs) - own


def numbers(line: str) -> list[float]:
    return [float(text.replace(",", "")) for text in re.findall(r"(?<= )[\d,]+(?:\.\d+)?(?= |$)", line)]


def test_a_folder_that_is_not_there_is_one_line(main, outputs):
    done = main("du", program="sweep")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert str(outputs) in done.stderr
    assert not outputs.exists()


def test_the_total_is_the_disks_and_what_is_shared_or_left_over_counts_once(trained, main):
    done = main("du", program="sweep")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    total = by_du(trained)
    assert lines[0] == str(trained)
    assert lines[1] == f"{total / MILLION:.2f} MB in {sum(p.is_file() for p in trained.rglob('*'))} files"
    assert max(map(len, lines[1:])) <= 80
    kinds = lines[lines.index("", 3) + 1 :]
    kinds = kinds[: next(n for n, line in enumerate(kinds) if line.startswith("total")) + 1]
    *sizes, last = [numbers(line)[-1] for line in kinds]
    assert last == pytest.approx(total / MILLION, abs=0.005)
    assert sum(sizes) == pytest.approx(last, abs=0.005 * len(kinds))
    assert sizes == sorted(sizes, reverse=True)
    weights = sum(path.stat().st_size for path in trained.glob("runs/*/best-*"))
    assert pytest.approx(weights / MILLION, abs=0.005) in sizes
    (experiment,) = [line for line in lines if line.startswith("experiment lenet_exp")]
    assert numbers(experiment)[0] == len(list((trained / "runs").iterdir()))
    (lone,) = [line for line in lines if line.startswith("  runs in no sweep")]
    assert numbers(lone)[0] == 1
    assert len([line for line in lines if line.startswith("  sweep ")]) == 2

    first, *_ = sorted((trained / "sweeps").iterdir())
    store = client(trained)
    gone = next(run for run in runs(store) if run.data.params["seed"] == "9")
    shutil.copytree(first, trained / "sweeps" / "0123456789abcdef")
    run = trained / "runs" / gone.data.tags["run_folder"]
    os.link(run / "record.json", run / "twin.json")
    (run / ".record.json.x1y2z3w4").write_bytes(b"0" * 30_000)
    (trained / "runs" / ("0" * 32)).mkdir()
    (trained / "runs" / ("0" * 32) / "lock").write_bytes(b"0" * 20_000)
    (run / "delivered.json").unlink()
    store.delete_run(gone.info.run_id)
    done = main("du", program="sweep")
    assert measure(trained).total == size_of(trained) == by_du(trained)
    lines = done.stdout.splitlines()
    (several,) = [line for line in lines if line.startswith("  runs in several sweeps")]
    assert numbers(several)[0] == 2
    could_go = lines[lines.index("what could go") + 1 :]
    assert [0.03] in [numbers(line) for line in could_go]  # left by killed writes
    assert any(line.startswith("1 run folder ") and numbers(line)[-1] == 0.02 for line in could_go)
    (gc,) = [n for n, line in enumerate(could_go) if line.startswith("  mlflow gc --tracking-uri sqlite:///")]
    assert numbers(could_go[gc - 1])[-1] > 0  # of the run that was deleted in MLflow
