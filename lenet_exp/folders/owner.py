"""Ownership of a run or a sweep: one process at a time, until it releases the folder or dies.

On one machine a flock decides, which the kernel frees even on kill -9. A network file system may keep a flock from
other machines; for those the owner leaves its name in owner.json and touches it every few seconds, and an owner of
another machine counts as alive while that is fresh by the file system's own clock.
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
from pathlib import Path
from typing import IO, Any

from lenet_exp.config.plain import read_as
from lenet_exp.errors import UserError
from lenet_exp.files import open_lock, remove_temporary_files, write_json
from lenet_exp.folders.damage import damage_error, read_or_none
from lenet_exp.machine import host

HEARTBEAT_SECONDS = 10.0
DELIVERED = "delivered.json"  # the one file that another process than the owner may write
REMOVE = "remove it, and the same line goes on"
WRONG_KIND = {errno.EEXIST, errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENOTDIR, errno.ENXIO}
DEAD_SECONDS = 60.0  # without a heartbeat for so long, an owner of another machine counts as dead

log = logging.getLogger("lenet_exp")


@dataclass(frozen=True)
class Owner:
    """A living owner: the process `pid` on `host`."""

    host: str
    pid: int

    @property
    def here(self) -> bool:
        """Whether it is on this machine."""
        return self.host == host()


@contextmanager
def own(folder: Path, what: str) -> Iterator[None]:
    """Owns `folder`; waits while somebody else does, and says so.

    Args:
        what: it is, for that line.

    Raises:
        DamagedError: something else stands where the folder or its lock has to be.
        UserError: the file system has no flock.
    """
    with _held(folder, what):
        remove_temporary_files(folder, keep=DELIVERED)
        write_json(folder / "owner.json", {"host": host(), "pid": os.getpid()})
        with _heartbeat(folder / "owner.json"):
            try:
                yield
            finally:
                (folder / "owner.json").unlink(missing_ok=True)


def move_away(folder: Path, to: Path) -> Owner | None:
    """Moves a folder that nobody owns; who waits for it makes it anew. Its living owner, where it has one and stays."""
    with _lock(folder) as lock:
        if not _take(folder, lock):
            return owner_of(folder) or Owner(host(), 0)
        os.rename(folder, to)
    return None


def owner_of(folder: Path) -> Owner | None:
    """The living owner of `folder`, or None."""
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
    """Holds the lock, once it is free; a lock of a folder that was moved away meanwhile is none."""
    said = False
    while True:
        with _lock(folder) as lock:
            while not _take(folder, lock):
                if not said:
                    log.info("waiting: another process has %s (%s)", what, _who(owner_of(folder), folder))
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
        if folder.is_symlink():  # its owner may empty it, and others may have made it lead to the owner's files
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
        raise UserError(f"{why}; set LENET_EXP_OUTPUTS to a folder on one that does") from e
    if _elsewhere(folder) is None:
        return True
    fcntl.flock(lock, fcntl.LOCK_UN)
    return False


def _named(folder: Path) -> Owner | None:
    return read_or_none(folder / "owner.json", _owner, "who owns the folder is not known")


def _owner(value: Any) -> Owner:
    owner = read_as(Owner, value)
    if not 0 < owner.pid < 2**31:  # kill(2) takes others for groups of processes
        raise ValueError(f"no Owner: pid is {owner.pid}")
    return owner


def _elsewhere(folder: Path) -> Owner | None:
    """An owner on another machine whose flock may not be seen here."""
    owner = _named(folder)
    if owner is None or owner.here:
        return None
    with contextlib.suppress(FileNotFoundError), tempfile.NamedTemporaryFile(dir=folder, prefix=".now-") as now:
        beat = (folder / "owner.json").stat().st_mtime
        return owner if os.fstat(now.fileno()).st_mtime - beat < DEAD_SECONDS else None
    return None


def _who(owner: Owner | None, folder: Path) -> str:
    return f"process {owner.pid} on {owner.host}; {folder}" if owner else str(folder)


@contextmanager
def _heartbeat(file: Path) -> Iterator[None]:
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(file)

    thread = threading.Thread(target=beat, name=f"heartbeat of {file}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
