"""A full disk during a sweep gives no traceback, and the sweep can be resumed."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

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
