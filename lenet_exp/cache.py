"""A private cache folder for files that are created once per machine, such as compiled kernels.

The files can contain executable code. Therefore, the folder and its files must belong to this user
and must not be writable by others.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


class NoCache(Exception):
    """Raised if no usable cache folder is available. The message is a short phrase with the reason."""


def cache_folder(name: str) -> Path:
    """Return the path of the cache folder `lenet_exp/<name>` in $XDG_CACHE_HOME or, by default, in
    ~/.cache.

    Raises:
        NoCache: this user has no home folder.
    """
    named = os.environ.get("XDG_CACHE_HOME", "")
    try:
        cache = Path(named) if Path(named).is_absolute() else Path("~/.cache").expanduser()
    except RuntimeError as e:
        raise NoCache("this user has no home folder; set XDG_CACHE_HOME to a cache folder") from e
    return cache / "lenet_exp" / name


def claim_folder(folder: Path) -> None:
    """Create a private folder if it does not exist, and check that it is private.

    Raises:
        NoCache: the folder cannot be created, is not owned by this user, or is writable by other
            users.
    """
    for part in (
        folder.parent,
        folder,
    ):  # a user who can write to the parent could replace the folder
        try:
            part.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = part.lstat()
        except OSError as e:
            raise NoCache(f"{folder} cannot be created ({e.strerror})") from e
        if not stat.S_ISDIR(found.st_mode) or not is_ours(found):
            raise NoCache(f"{part} must be a folder that you own and that only you can write to")


def is_ours(found: os.stat_result) -> bool:
    """Return whether this user owns a file or folder and other users cannot write to it.

    Args:
        found: status of the file or folder, from `os.lstat`.
    """
    return found.st_uid == os.geteuid() and not is_writable_by_others(found)


def is_writable_by_others(status: os.stat_result) -> bool:
    """Return whether users other than the owner can write to a file or folder."""
    return bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
