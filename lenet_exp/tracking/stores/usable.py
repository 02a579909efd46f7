"""Checks, before training and without contacting a server, whether the store at an address can be
used.
"""

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
    if database is None:
        return
    if uri.removeprefix(SQLITE).partition("?")[0] in ("", ":memory:"):
        _refuse(
            uri, "an in-memory database would be lost when the command ends; use sqlite:///FILE"
        )
    try:
        if database.exists():
            check_regular(database)
            database.open("r+b" if write else "rb").close()
            open_sqlite(uri, database)
        if write:  # SQLite creates its journal in the same folder
            there = next(parent for parent in database.parents if os.path.lexists(parent))
            with tempfile.TemporaryDirectory(prefix=".lenet_exp-", dir=there):
                pass
    except OSError as e:
        _refuse(uri, f"cannot be {'written' if write else 'read'} ({e.strerror})")


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
    """Open a database file once, and create it if it does not exist, because MLflow would retry for
    minutes.

    Args:
        uri: address of the store, for messages.

    Raises:
        StoreError: SQLite cannot open the file, for example because its path is too long.
    """
    try:
        with closing(sqlite3.connect(database)) as opened:
            opened.execute("PRAGMA schema_version")
    except sqlite3.Error as e:
        if "locked" not in str(e):  # MLflow waits for another writer
            _refuse(uri, f"cannot be opened ({e})")


def database_state(uri: str) -> str:
    """Return the times of the last change and the sizes of a SQLite database's files; empty if
    there are none.
    """
    database = sqlite_path(uri)
    files = [database, database.with_name(f"{database.name}-wal")] if database is not None else []
    stats = [path.stat() for path in files if path.exists()]
    return " ".join(f"{found.st_mtime_ns}:{found.st_size}" for found in stats)


def check_artifacts(experiment: str, location: str) -> None:
    """Check that the artifact folder of an experiment is writable, if it is on this machine.

    Raises:
        StoreError: the folder is not writable.
    """
    parts = urlsplit(location)
    if parts.scheme != "file" or parts.netloc:
        return
    folder = Path(unquote(parts.path))
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise StoreError(
            f"tracking.experiment={experiment}: its artifact folder {folder} is not writable"
        )


def _refuse(uri: str, why: str) -> NoReturn:
    raise StoreError(f"tracking.uri={hide_password(uri)}: {hide_password(why)}")
