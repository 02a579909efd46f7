"""Addresses of MLflow stores: which one is meant, and how it may be shown and kept."""

from __future__ import annotations

import os
import re
from pathlib import Path

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
    """The address of a database file.

    Raises:
        ConfigError: its path has a character that releases of SQLAlchemy read in different ways.
    """
    if {"%", "?"} & set(str(database)):
        raise ConfigError(f"{database}: allowed for a database is a path without % and ? (LENET_EXP_OUTPUTS)")
    return f"{SQLITE}{database}"


def sqlite_path(uri: str) -> Path | None:
    """The database file of an SQLite address, absolute; None for another store's."""
    return Path(uri.removeprefix(SQLITE).partition("?")[0]).absolute() if uri.startswith(SQLITE) else None


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
