"""What was made of files, for as long as these stay as they were: a sweep asks for the record of a run ten times."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

Stamp = tuple[tuple[int, int, int] | None, ...]


class Remembered(Generic[T]):
    """Values by the files that they were made of. A file that was replaced or written to is another one.

    Args:
        most: so many values are kept; the one that was made first goes first.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: dict[tuple[Path, ...], tuple[Stamp, T]] = {}
        self._lock = threading.Lock()

    def get(self, files: tuple[Path, ...], make: Callable[[], T]) -> T:
        """The value; made where it is not known. What `make` raises is not kept."""
        stamp = tuple(map(_stamp, files))  # before it is read: what is written meanwhile makes it another one
        known = self._values.get(files)
        if known is not None and known[0] == stamp:
            return known[1]
        value = make()
        with self._lock:
            self._values.pop(files, None)
            self._values[files] = stamp, value
            while len(self._values) > self._most:
                del self._values[next(iter(self._values))]
        return value


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
