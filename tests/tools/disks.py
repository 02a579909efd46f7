"""A small file system, which tests fill."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(where: Path, *, size_kb: int = 6000) -> Iterator[Path]:
    """Mount a separate file system, by default of 6 MB, at a new folder; skip the test if this is
    not allowed.
    """
    where.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", str(where)]
    mounted = subprocess.run(command, capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield where
    finally:
        subprocess.run(["umount", "-l", str(where)], check=True)


def fill(disk: Path, left_kb: int) -> Path:
    """Fill the disk except for `left_kb`, and return the file that fills it."""
    state = os.statvfs(disk)
    free = state.f_bavail * state.f_bsize
    file = disk / "other"
    file.write_bytes(bytes(free - left_kb * 1000))
    return file
