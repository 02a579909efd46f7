"""Reading of files that can be corrupt.

A corrupt file affects only its own run or sweep and is reported in a single line.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from lenet_exp.errors import DamagedError, first_line
from lenet_exp.files import from_json, read_regular

log = logging.getLogger("lenet_exp")

T = TypeVar("T")

_warned_problems: set[str] = set()


def read_checked(path: Path, of: Callable[[Any], T], remedy: str) -> T | None:
    """Return the value in a JSON file, or None if the file does not exist.

    Args:
        of: function that converts the parsed JSON to the value, or raises ValueError if the JSON is
            invalid.
        remedy: end of the error message, with the consequence of the corruption or an instruction
            for the user.

    Raises:
        DamagedError: the file is corrupt.
    """
    try:
        return of(from_json(read_regular(path)))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError, OSError) as e:
        raise damage_error(path, e, remedy) from e


def read_or_none(path: Path, of: Callable[[Any], T], remedy: str) -> T | None:
    """Return the value in a JSON file, as `read_checked` does, or None if the file is corrupt.

    Corruption is logged.
    """
    try:
        return read_checked(path, of, remedy)
    except DamagedError as e:
        warn_once(e)
        return None


def damage_error(path: Path, why: str | Exception, remedy: str) -> DamagedError:
    """Return the error for a file that is corrupt, or that this user cannot read.

    Args:
        why: description of the corruption, or the error from reading the file.
        remedy: consequence of the corruption, or an instruction for the user.
    """
    is_denied = isinstance(why, PermissionError)
    if is_denied:
        problem = f"{path}: permission denied"
        remedy = "make the file readable, then rerun the same command"
    else:
        reason = why if isinstance(why, str) else first_line(why)
        problem = f"{path} is corrupt ({reason})"

    error = DamagedError(f"{problem}; {remedy}")
    error.problem = problem
    error.is_denied = is_denied
    return error


def warn_once(error: DamagedError) -> None:
    """Log a warning about a corrupt file, but only once, because files are read many times."""
    if error.problem not in _warned_problems:
        _warned_problems.add(error.problem)
        log.warning("%s", error)
