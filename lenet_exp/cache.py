"""A folder for what is made once on a machine and used again: one of this user's alone.

What lies there is opened, and may be code. So nothing is taken from it that others could have written: the folder and
its files have to belong to this user, with no right of others to write.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


class NoCache(Exception):
    """There is no such folder; the message is half a line that says why."""


def cache_folder(name: str) -> Path:
    """`lenet_exp/<name>` in $XDG_CACHE_HOME, by default in ~/.cache.

    Raises:
        NoCache: this user has no home folder.
    """
    named = os.environ.get("XDG_CACHE_HOME", "")
    try:
        cache = Path(named) if Path(named).is_absolute() else Path("~/.cache").expanduser()
    except RuntimeError as e:
        raise NoCache("this user has no home folder to keep it in, and XDG_CACHE_HOME names none") from e
    return cache / "lenet_exp" / name


def claim_folder(folder: Path) -> None:
    """Makes it where it is not there.

    Raises:
        NoCache: that can't be, or it is not of this user alone.
    """
    for part in (folder.parent, folder):  # with the upper one others could put another in its place
        try:
            part.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = part.lstat()
        except OSError as e:
            raise NoCache(f"{folder} can't be made ({e.strerror})") from e
        if not stat.S_ISDIR(found.st_mode) or not is_ours(found):
            raise NoCache(f"{part} is not a folder of this user's alone (owner, or a right of others to write)")


def is_ours(found: os.stat_result) -> bool:
    """Whether a file or folder is of this user alone."""
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
