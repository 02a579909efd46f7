"""Wait for other processes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.tools.warm import Process

T = TypeVar("T")


def until(found: Callable[[], T], process: Process | subprocess.Popen[str] | None = None) -> T:
    """Wait for a true result for at most two minutes, and return it; a given process must not end
    before.
    """
    deadline = time.monotonic() + 120
    while not (value := found()):
        assert time.monotonic() < deadline, "it did not happen"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.02)
    return value


def alive(pid: int) -> bool:
    """Return whether a process runs and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
