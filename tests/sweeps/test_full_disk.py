"""A full disk during a sweep gives no traceback and no false record, and the sweep can be resumed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lenet_exp.training.trained.weights import load_weights, weights_digest
from tests.tools.commands import SMALL, end, start, succeeded
from tests.tools.stores import client, runs

LINE = ("-m", *SMALL, "num_epoch=3", "seed=1,2", "sweep.workers=1", "tracking.plots=false")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a separate file system of 6 MB."""
    where = tmp_path / "disk"
    where.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6000k", "tmpfs", str(where)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


@pytest.mark.slow(seconds=12)
def test_sweep_on_full_disk_prints_no_traceback_and_can_be_resumed(disk: Path, empty_store: Path):
    outputs = Path(shutil.copytree(empty_store, disk / "outputs"))
    other, free = disk / "other", os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize
    other.write_bytes(bytes(free - 200_000))
    full = end(start(*LINE, outputs=outputs))
    assert full.returncode == 1
    assert "Traceback" not in full.stderr
    assert os.strerror(errno.ENOSPC) in full.stderr + full.stdout
    other.unlink()
    succeeded(end(start(*LINE, outputs=outputs)))
    assert [run.info.status for run in runs(client(outputs))] == ["FINISHED"] * 2


@pytest.mark.slow(seconds=8)
def test_run_is_finished_if_only_its_final_state_does_not_fit_on_disk(disk: Path, empty_store: Path):
    outputs = disk / "outputs"
    outputs.mkdir()
    line = ("-m", *SMALL, "num_epoch=1", "seed=1", "tracking.plots=false", "optimizer.momentum=0.9")
    line += (f"tracking.uri=sqlite:///{empty_store}/mlflow.db",)
    state_bytes = 500_000  # weights and momentum
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize
    filler = disk / "filler"
    filler.write_bytes(bytes(free - int(0.8 * state_bytes)))
    full = succeeded(end(start(*line, outputs=outputs)))
    assert "final training state not kept for 1 run" in full.stdout

    (path,) = outputs.glob("runs/*/record.json")
    record = json.loads(path.read_text())
    assert os.strerror(errno.ENOSPC) in (path.parent / "run.log").read_text()
    assert (record["outcome"], record["reason"], record["end_state"]) == ("finished", "", "")
    assert not (path.parent / "end.safetensors").exists()
    (weights,) = path.parent.glob("best-*.safetensors")
    assert weights_digest(load_weights(weights)[0]) == record["weights_digest"]

    again = succeeded(end(start(*line, outputs=outputs)))
    assert "1 reused" in again.stdout
    filler.unlink()
    succeeded(end(start(*line, "num_epoch=2", outputs=outputs)))
    records = [json.loads(path.read_text()) for path in outputs.glob("runs/*/record.json")]
    (longer,) = (record for record in records if record["config"]["num_epoch"] == 2)
    assert (longer["epochs"], longer["continued_from"]) == (2, "")
