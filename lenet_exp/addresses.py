"""Functions that select the address of an MLflow store, hide its secrets, and derive the store's
name from it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from lenet_exp.errors import ConfigError
from lenet_exp.outputs import outputs_dir

SQLITE = "sqlite:///"
DATABASES = ("postgresql", "mysql", "mssql")  # database servers that MLflow's client can use
HIDDEN = "***"


def store_uri(uri: str | None, outputs: Path | None = None) -> str:
    """Return the address of the MLflow store: `uri` or, by default, mlflow.db in the outputs
    folder.

    Args:
        uri: value of `tracking.uri`, whose default is MLFLOW_TRACKING_URI.
        outputs: path of the outputs folder; by default, the folder that `outputs_dir` returns.
    """
    return uri or sqlite_uri((outputs or outputs_dir()) / "mlflow.db")


def default_uri() -> str:
    """Return the address of the default MLflow store, for commands that are not Hydra apps.

    The address is the value of MLFLOW_TRACKING_URI or, if that is unset, mlflow.db in the outputs
    folder.
    """
    return store_uri(os.environ.get("MLFLOW_TRACKING_URI"))


def sqlite_uri(database: Path) -> str:
    """Return the address of an SQLite database file.

    Raises:
        ConfigError: the path contains a character that different SQLAlchemy releases interpret
            differently.
    """
    if {"%", "?"} & set(str(database)):
        fix = "set LENET_EXP_OUTPUTS to a folder whose path contains neither"
        raise ConfigError(f"{database}: the path must not contain % or ?; {fix}")
    return f"{SQLITE}{database}"


def sqlite_path(uri: str) -> Path | None:
    """Return the absolute path of the file that an SQLite address refers to, or None for any other
    kind of address.
    """
    if not uri.startswith(SQLITE):
        return None
    path = uri.removeprefix(SQLITE).partition("?")[0]
    return Path(path).absolute()


def is_database(uri: str) -> bool:
    """Return whether an address is one of a database server, such as `postgresql://host/db`."""
    scheme, separator, _ = uri.partition("://")
    return separator != "" and scheme.partition("+")[0] in DATABASES


def missing_database(uri: str) -> Path | None:
    """Return the path of the file that an SQLite address refers to, if the file does not exist;
    otherwise, None.
    """
    database = sqlite_path(uri)
    if database is None or database.exists():
        return None
    return database


def frozen_uri(uri: str | None) -> str | None:
    """Return a store's address in the form saved in records: valid in any working directory and
    without secrets.
    """
    if uri is None:
        return None
    database = sqlite_path(uri)
    if database is None:
        return store_name(uri)
    return sqlite_uri(database)


def store_name(uri: str) -> str:
    """Return the name that identifies a store in files and messages: the store's address without
    secrets.

    The name contains no query, and the name of an HTTP server contains no user. In the name of a
    database server, `***` replaces the user and the password, so that users of one database share
    the name. A store name that is passed as `uri` is returned unchanged, except that the digest is
    removed from a name that release 0.2 recorded, such as `postgresql://***@host/db#1a2b3c4d`.
    """
    address = hide_password(uri).partition("?")[0]
    if uri.startswith(("http://", "https://")):
        address = address.replace(f"{HIDDEN}@", "", 1)
        # The name of a store is not changed again.
        return uri if address == uri else address.rstrip("/")

    if is_database(uri):
        address = _DIGEST.sub("", address)
        if address != uri:  # `***` marks the address as incomplete, so that it is not opened
            address = _USER_PLACE.sub(f"://{HIDDEN}@", address, count=1)
    return address


def full_uri(name: str, *known: str | None) -> str:
    """Return the full address of the store with the given name.

    If neither an address in `known` nor MLFLOW_TRACKING_URI has this name, the name itself is
    returned. A name contains no secrets.

    Args:
        name: name of the store, from `store_name`.
        known: addresses to try before MLFLOW_TRACKING_URI.
    """
    for uri in (*known, os.environ.get("MLFLOW_TRACKING_URI")):
        if uri and store_name(uri) == name:
            return uri
    return name


def hide_password(text: str) -> str:
    """Return a text with the user, password, and query of every address replaced by `***`."""
    text = _USER.sub(rf"\1{HIDDEN}@", text)
    return _QUERY.sub(rf"\1?{HIDDEN}", text)


_DIGEST = re.compile(r"#[0-9a-f]{8}$")
_USER_PLACE = re.compile(r"://(?:\*\*\*@)?")
# Hydra can quote a colon as `\:`. A password with an unquoted slash is never sent to a server, so
# it is not matched.
_USER = re.compile(
    r"""(?<!sqlite)(?<!file)(\\*://)(?:[^/\s]*|(?![^\s/@]*:\d+(?:[/\s]|$))[^\s'",]*)@"""
)
# Errors from requests show the address without the server: `url: /path?query`.
_QUERY = re.compile(
    r"""(://[^\s?#]+|\burl: /[^\s?#]*)\?(?=[^\s'"),;\]])\S*?(?=['"),:;\]}>]*(?:\s|$))"""
)
