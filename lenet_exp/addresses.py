"""Addresses of MLflow stores: which one is meant, and how it may be shown and kept."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote

from lenet_exp.errors import ConfigError
from lenet_exp.outputs import outputs_dir

SQLITE = "sqlite:///"


def store_uri(uri: str | None, outputs: Path | None = None) -> str:
    """`uri`, which is `tracking.uri` (by default MLFLOW_TRACKING_URI), else mlflow.db in the outputs folder."""
    return uri or sqlite_uri((outputs or outputs_dir()) / "mlflow.db")


def default_uri() -> str:
    """Where commands that are no Hydra apps look: MLFLOW_TRACKING_URI, else mlflow.db in the outputs folder."""
    return store_uri(os.environ.get("MLFLOW_TRACKING_URI"))


def sqlite_uri(database: Path) -> str:
    """The address of a database file; a path without `%` and `?` stands there as it is, as in older releases.

    Raises:
        ConfigError: the path has a `?`, and SQLAlchemy is of a release that has no way to write that.
    """
    path = str(database)
    if not {"%", "?"} & set(path):
        return f"{SQLITE}{path}"
    if _quotes():
        return f"{SQLITE}{quote(path, safe='/ #:@~+,;=&!$()*' + chr(39))}"
    if "?" in path:
        raise ConfigError(f"{path}: a database in a path with ? needs SQLAlchemy 2.1; LENET_EXP_OUTPUTS names another")
    return f"{SQLITE}{path}"


def sqlite_path(uri: str) -> Path | None:
    """The database file of an SQLite address, absolute; None for another store's."""
    if not uri.startswith(SQLITE):
        return None
    path = uri.removeprefix(SQLITE).partition("?")[0]
    return Path(unquote(path) if "%" in path and _quotes() else path).absolute()


def _quotes() -> bool:
    """Whether SQLAlchemy takes `%3F` in a database's path for a `?`; releases before 2.1 take it as it stands."""
    from sqlalchemy.engine import make_url

    return make_url(f"{SQLITE}%3F").database == "?"


def frozen_uri(uri: str | None) -> str | None:
    """A store's address as it may be kept: good in any directory, without a password."""
    if uri is None:
        return None
    database = sqlite_path(uri)
    if database is None:
        return hide_password(uri)
    query = uri.partition("?")[1:]
    return sqlite_uri(database) + "".join(query)


def hide_password(uri: str) -> str:
    """The address, or a text with addresses in it, without the passwords they may carry; for logs and records."""
    # A colon may be written as Hydra quotes it, `\:`, and a password with a slash is none that a server would get.
    password = r"""(?:[^/\s]*|(?!\d+(?:[/\s]|$))[^\s'",]*)@"""
    text = re.sub(rf"(\\*://[^:/@\s\\]*)\\*:{password}", r"\1:***@", uri)
    return re.sub(r"([?&](?:password|sslpassword)=)[^&\s]*", r"\1***", text)
