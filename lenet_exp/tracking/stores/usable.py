"""Checks, before training and without contacting a server, whether the store at an address can ever hold runs."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote, urlsplit

from lenet_exp.addresses import SQLITE, hide_password, sqlite_path
from lenet_exp.errors import StoreError, first_line
from lenet_exp.files import check_regular
from lenet_exp.tracking.stores.database import EXTRA, driver_uri, is_postgres

HEADER = b"SQLite format 3\0"


def check_store(uri: str, *, write: bool = True) -> None:
    """Check a store. A server that is unreachable now is accepted.

    Args:
        write: whether runs will be written; otherwise, they are only read.

    Raises:
        StoreError: the database file or its folder cannot be used, or the database's driver is missing.
    """
    database = sqlite_path(uri)
    if database is not None:
        _check_database(uri, database, write)
    elif not uri.startswith(("http://", "https://")):
        _check_driver(uri)


def _check_database(uri: str, database: Path, write: bool) -> None:
    """Check a database file, or the folder in which a new one would be created."""
    if uri.removeprefix(SQLITE).partition("?")[0] in ("", ":memory:"):
        _refuse(uri, "would be lost when the command ends; must be sqlite:///FILE")
    try:
        if database.is_dir():
            _refuse(uri, "is a folder; must be a file")
        if database.exists():
            check_regular(database)
            with database.open("r+b" if write else "rb") as f:
                header = f.read(len(HEADER))
            if header and header != HEADER:
                _refuse(uri, "file is not a database")
        if write:  # SQLite writes its journal next to the file
            there = next(parent for parent in database.parents if parent.exists())
            with tempfile.TemporaryDirectory(prefix=".lenet_exp-", dir=there):
                pass
    except OSError as e:
        _refuse(uri, f"cannot be {'written' if write else 'read'} ({e.strerror})")


def _check_driver(uri: str) -> None:
    """Check that the driver that SQLAlchemy needs for a database server is installed."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        make_url(driver_uri(uri)).get_dialect().import_dbapi()
    except (ArgumentError, ImportError) as e:
        how = EXTRA if is_postgres(uri) else "install its driver in the same environment"
        _refuse(uri, f"SQLAlchemy has no driver for it ({first_line(e)}); {how}")


def check_artifacts(experiment: str, location: str) -> None:
    """Check that an experiment's artifact folder on this machine is writable.

    Raises:
        StoreError: the folder is not writable.
    """
    parts = urlsplit(location)
    if parts.scheme != "file" or parts.netloc:
        return
    folder = Path(unquote(parts.path))
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise StoreError(f"tracking.experiment={experiment}: its artifact folder {folder} is not writable")


def check_answers(uri: str, seconds: float) -> None:
    """Check that a database server accepts connections, since MLflow itself would retry for 100 seconds.

    Raises:
        OSError: the server does not accept connections.
    """
    if uri.startswith(("http://", "https://", SQLITE)):
        return
    from sqlalchemy.engine import make_url

    url = make_url(uri)
    port = url.port or {"postgresql": 5432, "mysql": 3306, "mssql": 1433}.get(url.get_backend_name())
    if url.host and port:  # otherwise, a socket file or a name that only the driver knows
        with socket.create_connection((url.host, port), timeout=seconds):
            pass


def _refuse(uri: str, why: str) -> NoReturn:
    raise StoreError(f"tracking.uri={hide_password(uri)}: {hide_password(why)}")
