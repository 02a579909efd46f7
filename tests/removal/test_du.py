"""lenet-sweep du: disk usage to the byte, and what could be removed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.removal.usage import removable, size_of
from tests.tools.commands import SMALL, lenet_train

QUICK = (*SMALL, "num_epoch=1", "num_threads=1", "tracking.plots=false")
HERE = ("-m", "hydra/launcher=basic", *QUICK, "tracking.models=none")
LINES = ((*HERE, "seed=0,1"), (*HERE, "seed=1,2", "optimizer.lr=0.05"), (*QUICK, "seed=9"))
MILLION = 10**6


@pytest.fixture
def trained(ready: Path) -> Path:
    """Return an outputs folder with two sweeps and a run that is not part of a sweep."""
    for line in LINES:
        done = lenet_train(*line, outputs=ready)
        assert done.returncode == 0, done.stderr
    return ready


def by_du(outputs: Path) -> int:
    """Return the size by `du -sb`, without the folders' own sizes, which coreutils before 9.2 counts."""

    def du(path: Path) -> int:
        return int(subprocess.run(["du", "-sb", path], capture_output=True, text=True, check=True).stdout.split()[0])

    empty = outputs.parent / "empty"
    empty.mkdir(exist_ok=True)
    own = sum(os.stat(folder).st_size for folder, _, _ in os.walk(outputs)) if du(empty) else 0
    return du(outputs) - own


def test_clean_removes_training_states_only_without_dry_run(main, ready):
    line = (*SMALL, "dataset.train_size=96", "num_epoch=1", "tracking.models=none", "tracking.plots=false")
    assert main(*line).returncode == 0
    (state,) = (ready / "runs").glob("*/end.safetensors")
    size = f"1 final training state, {state.stat().st_size / MILLION:.2f} MB"
    assert size in main("clean", program="sweep").stdout
    assert state.exists()
    assert "lenet-sweep clean dry_run=false" in main("du", program="sweep").stdout
    assert size in main("clean", "dry_run=false", program="sweep").stdout
    assert not state.exists()
    assert "lenet-sweep clean" not in main("du", program="sweep").stdout


def test_du_total_equals_disk_usage_and_removable_items_have_commands(trained, main):
    done = main("du", program="sweep")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{trained} ")
    assert max(len(line) for line in lines[1:] if "mlflow gc" not in line) <= 80
    kinds = {
        line[:69].strip(): float(line[69:].replace(",", "")) for line in lines[1 : lines.index("can be removed") - 1]
    }
    total = kinds.pop("total")
    assert total == pytest.approx(by_du(trained) / MILLION, abs=0.005)
    kinds = {kind: size for kind, size in kinds.items() if not kind.startswith("not included")}
    assert sum(kinds.values()) == pytest.approx(total, abs=0.005 * len(kinds))
    assert list(kinds.values()) == sorted(kinds.values(), reverse=True)
    assert {"runs", "sweeps", "MLflow artifacts", "MLflow database"} <= kinds.keys()
    could_go = lines[lines.index("can be removed") + 1 :]
    commands = [line.strip() for line in could_go[1::2]]
    sweeps = {path.name for path in (trained / "sweeps").iterdir()}
    assert {f"lenet-sweep rm sweep={sweep}" for sweep in sweeps} <= set(commands)
    assert [line for line in could_go if line.startswith("1 run not part of a sweep ")]
    address = f"sqlite:///{trained}/mlflow.db"
    assert commands[-1] == f"mlflow gc --tracking-uri {address} --backend-store-uri {address}"

    first, second = sorted((trained / "sweeps").iterdir())
    shutil.copytree(first, trained / "sweeps" / "0123456789abcdef")  # a sweep of the same runs
    sizes = {how: size for _, size, how in removable(trained)}
    assert sizes[f"lenet-sweep rm sweep={first.name}"] == size_of(first)
    own = [trained / "runs" / run for run in SweepFolder(second).run_ids()]
    assert sizes[f"lenet-sweep rm sweep={second.name}"] == size_of(second) + sum(map(size_of, own))
