"""Files that are not what was written: each concerns its own run or sweep, and is named in one line."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from lenet_exp.errors import DamagedError, first_line
from lenet_exp.files import from_json, read_regular

log = logging.getLogger("lenet_exp")

T = TypeVar("T")

_said: set[tuple[Path, int]] = set()


def read(path: Path, of: Callable[[Any], T], what_now: str) -> T | None:
    """The value in a JSON file; None where there is no such file.

    Args:
        of: makes the value of what the file holds; ValueError where it can't.
        what_now: for the line that tells of damage.

    Raises:
        DamagedError: it is not what was written there.
    """
    try:
        return of(from_json(read_regular(path)))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError, OSError) as e:
        raise damage_error(path, first_line(e), what_now) from e


def read_or_none(path: Path, of: Callable[[Any], T], what_now: str) -> T | None:
    """Read a file as `read` does, but log damage and return None."""
    try:
        return read(path, of, what_now)
    except DamagedError as e:
        warn_once(e)
        return None


def damage_error(path: Path, why: str, what_now: str) -> DamagedError:
    """The error that names a file."""
    error = DamagedError(f"{path} is damaged ({why}); {what_now}")
    error.path = path
    return error


def warn_once(error: DamagedError) -> None:
    """Warns, once for each damaged file: the files of a folder are read many times."""
    try:
        which = (error.path, error.path.stat().st_mtime_ns)
    except OSError:
        which = (error.path, 0)
    if which not in _said:
        _said.add(which)
        log.warning("%s", error)
