"""Database servers, such as PostgreSQL, as MLflow stores without an MLflow server."""

from __future__ import annotations

import re
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING

from lenet_exp.addresses import HIDDEN, hide_password
from lenet_exp.errors import StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.engine import URL

# the Python module of a driver, and the package to install, by the name in an address
DRIVERS = {
    "mysqldb": ("MySQLdb", "mysqlclient"),
    "psycopg": ("psycopg", "'psycopg[binary]'"),
    "psycopg2": ("psycopg2", "psycopg2-binary"),
    "pymssql": ("pymssql", "pymssql"),
    "pymysql": ("pymysql", "pymysql"),
    "pyodbc": ("pyodbc", "pyodbc"),
}
# the names of the drivers' arguments for a time limit; other drivers have none, or a different one
TIME_LIMITS = {
    "mysqldb": "connect_timeout",
    "psycopg": "connect_timeout",
    "psycopg2": "connect_timeout",
    "pymysql": "connect_timeout",
    "pyodbc": "timeout",
}

ATTEMPTS = 5  # to create MLflow's tables
# errors that occur if another process is creating the tables
CONFLICT = re.compile("already exists|duplicate|unique|deadlock", re.IGNORECASE)


def check_database(uri: str) -> None:
    """Check that the address of a database is complete and that its driver is installed.

    The database is not contacted, and SQLAlchemy is not imported.

    Raises:
        StoreError: the address cannot be used.
    """
    flag = f"tracking.uri={hide_password(uri)}"
    if f"//{HIDDEN}@" in uri:
        raise StoreError(
            f"{flag}: users, passwords, and queries of addresses are not saved; set tracking.uri= "
            "or MLFLOW_TRACKING_URI to the full address"
        )

    driver = _driver(uri)
    if driver not in DRIVERS:  # SQLAlchemy may know it
        return

    module, package = DRIVERS[driver]
    if find_spec(module) is None:
        raise StoreError(f"{flag}: Python module {module} not found; run: pip install {package}")


def open_database(uri: str, artifacts: str, seconds: float) -> None:
    """Check that a database accepts connections, and create MLflow's tables if it is empty.

    MLflow alone would try to connect for 100 seconds, even with a wrong password. It would also
    upgrade the tables of an older MLflow without asking, and it creates tables without a lock: all
    but one of several processes fail.

    Args:
        artifacts: artifact location for MLflow's experiment `Default`, if it has to be created.
        seconds: time limit for a connection.

    Raises:
        StoreError: the tables belong to a different version of MLflow.
        SQLAlchemyError: the database is unavailable, or it denies access.
        MlflowException: MLflow cannot use the database.
        ImportError: the driver is not installed.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    time_limit = _time_limit(make_url(uri), seconds)
    engine = create_engine(uri, poolclass=NullPool, connect_args=time_limit)
    for attempt in range(1, ATTEMPTS + 1):
        with engine.connect() as connection:
            _check_version(connection, uri)

        try:
            SqlAlchemyStore(uri, artifacts).engine.dispose()
            return
        except (MlflowException, SQLAlchemyError) as e:
            if CONFLICT.search(str(e)) is None or attempt == ATTEMPTS:
                raise
            time.sleep(1)  # another process is creating the tables


def version_error(uri: str) -> StoreError:
    """Return the error for a store whose tables belong to a different version of MLflow."""
    import mlflow

    address = hide_password(uri)
    return StoreError(
        f"tracking.uri={address}: created by a different version of MLflow than "
        f"{mlflow.__version__}. If that version is newer, install it; if it is older, back up the "
        f"database, then run: mlflow db upgrade {address}"
    )


def _driver(uri: str) -> str:
    """Return the name of the driver that SQLAlchemy uses for an address."""
    from importlib.metadata import version

    scheme = uri.partition(":")[0]
    database, _, driver = scheme.partition("+")
    if driver:
        return driver

    # the defaults of SQLAlchemy
    if database == "mysql":
        return "mysqldb"
    if database == "mssql":
        return "pyodbc"
    if version("sqlalchemy").startswith(("1.", "2.0.")):
        return "psycopg2"
    return "psycopg"


def _time_limit(url: URL, seconds: float) -> dict[str, int]:
    """Return the driver's argument for the time that a connection can take.

    It is empty if the address sets the limit, or if the name of the argument is unknown.
    """
    name = TIME_LIMITS.get(url.get_driver_name())
    if name is None or name in url.query:
        return {}
    return {name: max(1, round(seconds))}


def _check_version(connection: Connection, uri: str) -> None:
    """Check that MLflow would not upgrade existing tables, which an older MLflow may use.

    MLflow upgrades tables if one of its tables is missing in the database.

    Raises:
        StoreError: the tables belong to a different version of MLflow.
    """
    from mlflow.store.db.base_sql_model import Base
    from sqlalchemy import inspect, text

    tables = set(inspect(connection).get_table_names())
    is_complete = Base.metadata.tables.keys() <= tables
    if is_complete or "alembic_version" not in tables:
        return

    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if revision is not None:
        raise version_error(uri)
