"""A private cache folder for files that are created once per machine, such as compiled kernels.

The files can contain executable code. Therefore, the folder and its files must belong to this user
and must not be writable by others.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


class NoCache(Exception):
    """Raised if no usable cache folder is available. The message is the reason, as a phrase."""


def cache_folder(name: str) -> Path:
    """Return the path of the cache folder `lenet_exp/<name>` in $XDG_CACHE_HOME or, by default, in
    ~/.cache.

    Raises:
        NoCache: this user has no home folder.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not cache.is_absolute():  # the XDG standard ignores relative paths
        try:
            cache = Path("~/.cache").expanduser()
        except RuntimeError as e:
            problem = "this user has no home folder; set XDG_CACHE_HOME to a cache folder"
            raise NoCache(problem) from e
    return cache / "lenet_exp" / name


def claim_folder(folder: Path) -> None:
    """Create a private folder if it does not exist, and check that it is private.

    Raises:
        NoCache: the folder cannot be created, is not owned by this user, or is writable by other
            users.
    """
    # A user who can write to the parent could replace the folder.
    for part in (folder.parent, folder):
        try:
            part.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = part.lstat()
        except OSError as e:
            raise NoCache(f"{folder} cannot be created ({e.strerror})") from e
        if not stat.S_ISDIR(status.st_mode) or not is_ours(status):
            raise NoCache(f"{part} must be a folder that you own and that only you can write to")


def is_ours(status: os.stat_result) -> bool:
    """Return whether this user owns a file or folder and other users cannot write to it.

    Args:
        status: status of the file or folder, from `os.lstat`.
    """
    return status.st_uid == os.geteuid() and not is_writable_by_others(status)


def is_writable_by_others(status: os.stat_result) -> bool:
    """Return whether users other than the owner can write to a file or folder."""
    return bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
