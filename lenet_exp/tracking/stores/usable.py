"""Checks whether a store can be used, before training and without contacting a server."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote, urlsplit

from lenet_exp.addresses import (
    SQLITE,
    hide_password,
    is_database,
    missing_database,
    sqlite_path,
    store_uri,
)
from lenet_exp.config.check import check_address
from lenet_exp.errors import StoreError
from lenet_exp.files import check_regular
from lenet_exp.tracking.stores.database import check_database


def check_store(uri: str, *, write: bool = True) -> None:
    """Check that the store at an address can be used. An unreachable server passes the check.

    Args:
        write: whether runs will be written to the store, rather than only read from it.

    Raises:
        ConfigError: the address is invalid.
        StoreError: the database file or its folder cannot be used, the address of a database server
            is incomplete, or its driver is not installed.
    """
    check_address(uri)
    if is_database(uri):
        check_database(uri)
    database = sqlite_path(uri)
    if database is not None:
        _check_sqlite(uri, database, write=write)


def _check_sqlite(uri: str, database: Path, *, write: bool) -> None:
    """Check that a SQLite file, which may not exist yet, can be used; see `check_store`."""
    file_name = uri.removeprefix(SQLITE).partition("?")[0]
    if file_name in ("", ":memory:"):
        _refuse(
            uri, "an in-memory database would be lost when the command ends; use sqlite:///FILE"
        )

    mode = "r+b" if write else "rb"
    try:
        if database.exists():
            check_regular(database)
            database.open(mode).close()
            open_sqlite(uri, database)
        if write:
            _write_beside(database)
    except OSError as e:
        verb = "written" if write else "read"
        _refuse(uri, f"cannot be {verb} ({e.strerror})")


def _write_beside(database: Path) -> None:
    """Create and remove a folder beside a database, because SQLite creates its journal there.

    Raises:
        OSError: the folder of the database is not writable.
    """
    existing_parent = next(parent for parent in database.parents if os.path.lexists(parent))
    with tempfile.TemporaryDirectory(prefix=".lenet_exp-", dir=existing_parent):
        pass


def check_tracking_uri(uri: str | None, outputs: Path | None = None) -> None:
    """Check the store that `tracking.uri` specifies, before training and without MLflow.

    Args:
        uri: value of `tracking.uri`; None for the store in the outputs folder, which is created if
            it does not exist.
        outputs: the outputs folder; by default, this process's outputs folder.

    Raises:
        ConfigError: the address is invalid.
        StoreError: the store cannot be used, see `check_store`.
    """
    address = store_uri(uri, outputs)
    if uri is not None or missing_database(address) is None:
        check_store(address)


def open_sqlite(uri: str, database: Path) -> None:
    """Open a database file once, and create it if it does not exist.

    MLflow alone would retry for minutes.

    Args:
        uri: address of the store, for messages.

    Raises:
        StoreError: SQLite cannot open the file, for example because its path is too long.
    """
    try:
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA schema_version")
    except sqlite3.Error as e:
        if "locked" not in str(e):  # MLflow waits for another writer
            _refuse(uri, f"cannot be opened ({e})")


def database_state(uri: str) -> str:
    """Return the times of the last change and the sizes of a SQLite database's files, as text.

    The text is empty if there are no files. For example, it is `1791000000000000000:4096` if there
    is only the database file.
    """
    database = sqlite_path(uri)
    if database is None:
        return ""

    write_ahead_log = database.with_name(f"{database.name}-wal")
    stats = [path.stat() for path in (database, write_ahead_log) if path.exists()]
    return " ".join(f"{stat.st_mtime_ns}:{stat.st_size}" for stat in stats)


def check_artifacts(experiment: str, location: str) -> None:
    """Check that the artifact folder of an experiment is writable, if it is on this machine.

    Raises:
        StoreError: the folder is not writable.
    """
    parts = urlsplit(location)
    if parts.scheme != "file" or parts.netloc:
        return

    folder = Path(unquote(parts.path))
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise StoreError(
            f"tracking.experiment={experiment}: its artifact folder {folder} is not writable"
        )


def _refuse(uri: str, why: str) -> NoReturn:
    raise StoreError(f"tracking.uri={hide_password(uri)}: {hide_password(why)}")
