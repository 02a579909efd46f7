"""Exclusive ownership of a run or sweep folder by a process.

It ends when the process releases the folder or dies.

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

# An owner on another machine counts as dead after this long without a heartbeat.
DEAD_SECONDS = 60.0

# The interval between two attempts to lock a folder.
RETRY_SECONDS = 0.2

# The only file that a process other than the owner is allowed to write.
DELIVERED = "delivered.json"

# Error numbers for a folder or a lock that is a link or has the wrong file type.
WRONG_KIND = {errno.EEXIST, errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENOTDIR, errno.ENXIO}

REMOVE = "remove it, then rerun the same command to resume"

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
    owner_file = folder / "owner.json"
    with _locked(folder, what):
        remove_temporary_files(folder, keep=DELIVERED)
        write_json(owner_file, {"host": host(), "pid": os.getpid()})
        with in_background(partial(_send_heartbeats, owner_file), f"heartbeat of {folder}"):
            try:
                yield
            finally:
                owner_file.unlink(missing_ok=True)


def move_away(folder: Path, to: Path) -> Owner | None:
    """Move a folder unless a live process owns it.

    A process that waits for the folder creates it again.

    Returns:
        the owner; None if the folder was moved.
    """
    with _open_lock(folder) as lock:
        if not _try_to_lock(folder, lock):
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
            return _stored_owner(folder) or Owner(host(), 0)
        return _owner_elsewhere(folder)


@contextmanager
def _locked(folder: Path, what: str) -> Iterator[None]:
    """Wait for the lock of a folder, and hold the lock for the duration of a `with` block.

    If the folder is moved in the meantime, wait for the lock of the folder that replaces it.
    """
    is_logged = False
    while True:
        with _open_lock(folder) as lock:
            while not _try_to_lock(folder, lock):
                if not is_logged:
                    _log_owner(folder, what)
                    is_logged = True
                time.sleep(RETRY_SECONDS)

            if _is_lock_of(folder, lock):
                yield
                return


def _log_owner(folder: Path, what: str) -> None:
    owner = owner_of(folder)
    owner_text = str(folder)
    if owner is not None:
        owner_text = f"process {owner.pid} on {owner.host}; {folder}"
    log.info("waiting for %s, which is in use by another process (%s)", what, owner_text)


def _is_lock_of(folder: Path, lock: IO[str]) -> bool:
    """Return whether an open lock is still that of the folder, which can have been moved."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), (folder / "lock").stat())
    except FileNotFoundError:
        return False


def _open_lock(folder: Path) -> IO[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The owner can empty the folder, so it must not be a link to other files.
        if folder.is_symlink():
            raise OSError(errno.ELOOP, "it is a symbolic link", str(folder))
        return open_lock(folder / "lock")
    except OSError as e:
        if e.errno not in WRONG_KIND:
            raise
        raise damage_error(Path(e.filename), e.strerror or str(e), REMOVE) from e


def _try_to_lock(folder: Path, lock: IO[str]) -> bool:
    """Lock a folder unless a live process owns it, and return whether it is locked now."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as e:
        raise UserError(
            f"{folder}: its file system does not support flock ({e.strerror}); "
            "set LENET_EXP_OUTPUTS to a folder on a file system that does"
        ) from e

    if _owner_elsewhere(folder) is None:
        return True
    fcntl.flock(lock, fcntl.LOCK_UN)
    return False


def _stored_owner(folder: Path) -> Owner | None:
    remedy = "the folder's owner is unknown"
    return read_or_none(folder / "owner.json", _owner_from_json, remedy)


def _owner_from_json(value: Any) -> Owner:
    owner = read_as(Owner, value)
    if not 0 < owner.pid < 2**31:  # kill(2) would treat other numbers as process groups
        raise ValueError(f"not a valid Owner: pid is {owner.pid}")
    return owner


def _owner_elsewhere(folder: Path) -> Owner | None:
    """Return the owner if it is alive on another machine, whose flock might not be visible here.

    Otherwise, the result is None.
    """
    owner = _stored_owner(folder)
    if owner is None or owner.here:
        return None

    # The time of a new file is the current time by the file system's clock.
    with (
        contextlib.suppress(FileNotFoundError),
        tempfile.NamedTemporaryFile(dir=folder, prefix=".now-") as new_file,
    ):
        last_heartbeat = (folder / "owner.json").stat().st_mtime
        current_time = os.fstat(new_file.fileno()).st_mtime
        is_alive = current_time - last_heartbeat < DEAD_SECONDS
        return owner if is_alive else None
    return None


def _send_heartbeats(file: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(file)
