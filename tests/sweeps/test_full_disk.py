"""A full disk during a sweep gives no traceback, and the sweep can be resumed."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lenet_exp.commands import train
from tests.conftest import Cli
from tests.tools.commands import SMALL, end, start, succeeded
from tests.tools.stores import client, models, runs

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


def fill(disk: Path, left_kb: int) -> Path:
    """Fill the disk except for `left_kb`, and return the file that fills it."""
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize
    (disk / "other").write_bytes(bytes(free - left_kb * 1000))
    return disk / "other"


@pytest.mark.parametrize(
    "left_kb", [pytest.param(200, marks=pytest.mark.slow(seconds=12)), pytest.param(800, marks=pytest.mark.by_hand)]
)
def test_sweep_on_full_disk_prints_no_traceback_and_can_be_resumed(left_kb: int, disk: Path, empty_store: Path):
    outputs = Path(shutil.copytree(empty_store, disk / "outputs"))
    other = fill(disk, left_kb)
    full = end(start(*LINE, outputs=outputs))
    assert full.returncode == 1
    assert "Traceback" not in full.stderr
    assert os.strerror(errno.ENOSPC) in full.stderr + full.stdout
    other.unlink()
    succeeded(end(start(*LINE, outputs=outputs)))
    assert [run.info.status for run in runs(client(outputs))] == ["FINISHED"] * 2


def main() -> None:
    """Run lenet-train without the temporary folder cached by the parent process."""
    tempfile.tempdir = None
    train.main()


@pytest.mark.slow(seconds=9)
def test_full_temporary_folder_gives_one_warning_and_sync_uploads_models(disk: Path, ready: Path, main: Cli):
    fill(disk, 100)
    full = {"TMPDIR": str(disk), "HOME": str(disk)}
    done = succeeded(end(start(*LINE, "engine=torch", outputs=ready, env=full, module="tests.sweeps.test_full_disk")))
    assert (done.stdout + done.stderr).count(os.strerror(errno.ENOSPC)) == 1
    succeeded(main(program="sync"))
    store = client(ready)
    assert [run.info.status for run in [*runs(store), *runs(store, "sweep")]] == ["FINISHED"] * 3
    assert [str(model.status) for model in models(store)] == ["READY"] * 2
