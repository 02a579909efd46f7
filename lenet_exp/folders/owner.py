"""Exclusive ownership of a run or sweep folder by a process until the process releases the folder
or dies.

On a single machine, the owner holds a flock, which the kernel releases even on kill -9. A network
file system can hide a flock from other machines. Therefore, the owner also writes its host and
process ID to owner.json and touches the file every few seconds. An owner on another machine counts
as alive while this heartbeat is recent by the file system's clock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from lenet_exp.config.typed_json import read_as
from lenet_exp.errors import UserError
from lenet_exp.files import open_lock, remove_temporary_files, write_json
from lenet_exp.folders.damage import damage_error, read_or_none
from lenet_exp.machine import host
from lenet_exp.stopping import in_background

HEARTBEAT_SECONDS = 10.0
DELIVERED = (
    "delivered.json"  # the only file that a process other than the owner is allowed to write
)
REMOVE = "remove it, then rerun the same command to resume"
WRONG_KIND = {errno.EEXIST, errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENOTDIR, errno.ENXIO}
DEAD_SECONDS = (
    60.0  # an owner on another machine counts as dead after this long without a heartbeat
)

log = logging.getLogger("lenet_exp")


@dataclass(frozen=True)
class Owner:
    """The live process that owns a folder.

    Attributes:
        host: host name of the owner's machine.
        pid: process ID of the owner; 0 if unknown.
    """

    host: str
    pid: int

    @property
    def here(self) -> bool:
        """True if the owner is running on this machine."""
        return self.host == host()


@contextmanager
def locked_folder(folder: Path, what: str) -> Iterator[None]:
    """Own a folder for the duration of a `with` block.

    If another process owns the folder, log a line and wait until that process releases the folder
    or dies.

    Args:
        what: description of the folder for the log line.

    Raises:
        DamagedError: the folder or its lock is a link or has the wrong file type.
        UserError: the file system does not support flock.
    """
    with _held(folder, what):
        remove_temporary_files(folder, keep=DELIVERED)
        write_json(folder / "owner.json", {"host": host(), "pid": os.getpid()})
        with in_background(partial(_beat, folder / "owner.json"), f"heartbeat of {folder}"):
            try:
                yield
            finally:
                (folder / "owner.json").unlink(missing_ok=True)


def move_away(folder: Path, to: Path) -> Owner | None:
    """Move a folder unless a live process owns it; return that owner, or None if the folder was
    moved.

    A process that waits for the folder creates it again.
    """
    with _lock(folder) as lock:
        if not _take(folder, lock):
            return owner_of(folder) or Owner(host(), 0)
        os.rename(folder, to)
    return None


def owner_of(folder: Path) -> Owner | None:
    """Return the live process that owns a folder, or None if no process owns it."""
    try:
        lock = open_lock(folder / "lock")
    except OSError:
        return None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _named(folder) or Owner(host(), 0)
        return _elsewhere(folder)


@contextmanager
def _held(folder: Path, what: str) -> Iterator[None]:
    """Wait for the lock of a folder, and hold the lock for the duration of a `with` block.

    If the folder is moved in the meantime, wait for the lock of the folder that replaces it.
    """
    said = False
    while True:
        with _lock(folder) as lock:
            while not _take(folder, lock):
                if not said:
                    log.info(
                        "waiting for %s, which is in use by another process (%s)",
                        what,
                        _who(owner_of(folder), folder),
                    )
                    said = True
                time.sleep(0.2)
            if _is_there(folder, lock):
                yield
                return


def _is_there(folder: Path, lock: IO[str]) -> bool:
    try:
        return os.path.samestat(os.fstat(lock.fileno()), (folder / "lock").stat())
    except FileNotFoundError:
        return False


def _lock(folder: Path) -> IO[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (
            folder.is_symlink()
        ):  # the owner can empty the folder, so it must not be a link to other files
            raise OSError(errno.ELOOP, "it is a symbolic link", str(folder))
        return open_lock(folder / "lock")
    except OSError as e:
        if e.errno not in WRONG_KIND:
            raise
        raise damage_error(Path(e.filename), e.strerror or str(e), REMOVE) from e


def _take(folder: Path, lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as e:
        why = f"{folder}: its file system does not support flock ({e.strerror})"
        raise UserError(
            f"{why}; set LENET_EXP_OUTPUTS to a folder on a file system that does"
        ) from e
    if _elsewhere(folder) is None:
        return True
    fcntl.flock(lock, fcntl.LOCK_UN)
    return False


def _named(folder: Path) -> Owner | None:
    return read_or_none(folder / "owner.json", _owner, "the folder's owner is unknown")


def _owner(value: Any) -> Owner:
    owner = read_as(Owner, value)
    if not 0 < owner.pid < 2**31:  # kill(2) would treat other numbers as process groups
        raise ValueError(f"not a valid Owner: pid is {owner.pid}")
    return owner


def _elsewhere(folder: Path) -> Owner | None:
    """Return the owner if it is alive on another machine, whose flock might not be visible here;
    None otherwise.
    """
    owner = _named(folder)
    if owner is None or owner.here:
        return None
    with (
        contextlib.suppress(FileNotFoundError),
        tempfile.NamedTemporaryFile(dir=folder, prefix=".now-") as now,
    ):
        beat = (folder / "owner.json").stat().st_mtime
        return owner if os.fstat(now.fileno()).st_mtime - beat < DEAD_SECONDS else None
    return None


def _who(owner: Owner | None, folder: Path) -> str:
    return f"process {owner.pid} on {owner.host}; {folder}" if owner else str(folder)


def _beat(file: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(file)
