"""Addresses of MLflow stores: which one is meant, and how it may be shown and kept."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from lenet_exp.errors import ConfigError
from lenet_exp.outputs import outputs_dir

SQLITE = "sqlite:///"
HIDDEN = "***"


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
    """A store's address as it may be kept: good in any directory, without user and query."""
    if uri is None:
        return None
    database = sqlite_path(uri)
    return store_name(uri) if database is None else sqlite_uri(database)


def store_name(uri: str) -> str:
    """The name of a store in files and messages: its address, the same whatever tokens and passwords are in it.

    A server's name has neither user nor query. In the address of a database these may say which database it is, so a
    digest of them takes their place; passwords are not part of it. The name of a name is that name.
    """
    hidden = hide_password(uri)
    address = hidden.partition("?")[0]
    if uri.startswith(("http://", "https://")):
        address = address.replace(f"{HIDDEN}@", "", 1)
        return uri if address == uri else address.rstrip("/")
    if hidden == uri or uri.startswith(SQLITE):
        return address
    user, query = _DATABASE.match(uri).groups("")  # type: ignore[union-attr]  # it matches any text
    options = [(key, _PWD.sub("", value)) for key, value in parse_qsl(query) if not _SECRET.search(key)]
    digest = hashlib.sha256(json.dumps([unquote(user), sorted(options)]).encode()).hexdigest()[:8]
    address = re.sub(r"://(?:\*\*\*@)?", f"://{HIDDEN}@", address, count=1)
    return f"{address}#{digest}" if user or options else address


def full_uri(name: str, *known: str | None) -> str:
    """The address of a store, given its name: of those known and MLFLOW_TRACKING_URI the first that names this store,
    else the name itself, which holds `***` where it is no address."""
    return next((u for u in (*known, os.environ.get("MLFLOW_TRACKING_URI")) if u and store_name(u) == name), name)


def hide_password(text: str) -> str:
    """The address, or a text with addresses in it, with `***` for all that may be secret: user, password and query."""
    text = _USER.sub(rf"\1{HIDDEN}@", text)
    return _QUERY.sub(rf"\1?{HIDDEN}", text)


# A colon may be written as Hydra quotes it, `\:`, and a password with a slash is none that a server would get.
_USER = re.compile(r"""(?<!sqlite)(?<!file)(\\*://)(?:[^/\s]*|(?![^\s/@]*:\d+(?:[/\s]|$))[^\s'",]*)@""")
# requests names the address in its errors without the server, as `url: /path?query`.
_QUERY = re.compile(r"""(://[^\s?#]+|\burl: /[^\s?#]*)\?(?=[^\s'"),;\]])\S*?(?=['"),;\]}>]*(?:\s|$))""")
_DATABASE = re.compile(r"[^:]*://(?:([^:/@]*)(?::[^@]*)?@)?[^?]*(?:\?(.*))?", re.DOTALL)  # as SQLAlchemy reads it
_SECRET = re.compile("pass|pwd|token|secret|key$|auth", re.IGNORECASE)
_PWD = re.compile(r"\b(pwd|password)=[^;]*", re.IGNORECASE)  # in `odbc_connect`
