"""PostgreSQL databases as MLflow stores, without an MLflow server: drivers, access checks, and table creation."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import TYPE_CHECKING

from lenet_exp.errors import StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection

POSTGRES = "postgresql"
EXTRA = "pip install 'lenet_exp[postgres]'"
LOCK = 0x6C656E6574  # arbitrary key for the advisory lock that is held while MLflow's tables are created

# These errors persist until a user fixes them. When a connection fails, libpq reports only the server's message and
# no error code. If the server uses a language other than English, the store counts as unavailable: training continues
# with a warning.
REFUSES = re.compile(
    r"(?:\w+ authentication failed|no password supplied|no pg_hba\.conf entry|permission denied for|invalid \w+ value|"
    r"(?:role|database|root certificate file) \"[^\"]*\" (?:does not exist|is not permitted)|certificate verify failed|"
    r"could not read root certificate|server certificate for .* does not match|server does not support SSL|"
    r"invalid connection option|invalid URI query parameter).*"
)


def is_postgres(uri: str) -> bool:
    """Return whether an address, with or without a driver, is that of a PostgreSQL database."""
    return uri.partition(":")[0].partition("+")[0] == POSTGRES


def driver_uri(uri: str, seconds: int = 0) -> str:
    """Return a store's address for MLflow, with an installed driver and a connection timeout.

    The driver is added because SQLAlchemy releases before 2.1 do not use psycopg 3 for `postgresql://`. Addresses of
    stores other than PostgreSQL databases are returned unchanged.

    Args:
        seconds: connection timeout in seconds; 0 for no timeout.
    """
    if not is_postgres(uri):
        return uri
    from sqlalchemy.engine import make_url

    url = make_url(uri)
    if url.drivername == POSTGRES and find_spec("psycopg") is not None:
        url = url.set(drivername=f"{POSTGRES}+psycopg")
    if url.get_driver_name() in ("psycopg", "psycopg2") and seconds and "connect_timeout" not in url.query:
        url = url.update_query_dict({"connect_timeout": str(seconds)})
    return str(url.render_as_string(hide_password=False))


def refusal(error: BaseException) -> str | None:
    """Return a short reason why a database denies access, or None if the error has a different cause."""
    found = REFUSES.search(str(error))
    return re.sub(r'\b(user|role) "[^"]*"', r'\1 "***"', found.group().strip()) if found else None


def check_database(uri: str, name: str, artifacts: str, *, write: bool) -> None:
    """Connect to a database, create MLflow's tables if they do not exist, and check for permission to write runs.

    Args:
        uri: address of the database, as returned by `driver_uri`.
        name: address without secrets, for messages.
        artifacts: artifact location for MLflow's experiment `Default`, if it has to be created.
        write: whether to check for permission to write runs.

    Raises:
        StoreError: the tables belong to a different MLflow version, or this user is not allowed to write to them.
        SQLAlchemyError: the database denies access or does not respond.
    """
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    engine = create_engine(uri, poolclass=NullPool)
    try:
        # MLflow creates its tables without a lock. This lock belongs to the transaction. Therefore, it works with a
        # connection pooler and is released when the process ends.
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
            _make_tables(connection, uri, name, artifacts)
        if write:
            with engine.connect() as connection:
                _check_writable(connection, name)
    finally:
        engine.dispose()


def _make_tables(connection: Connection, uri: str, name: str, artifacts: str) -> None:
    """Create the tables that MLflow creates when it first starts, unless they exist."""
    import mlflow
    from mlflow.store.db.base_sql_model import Base
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy import inspect, text

    if Base.metadata.tables.keys() <= set(inspect(connection).get_table_names()):
        if connection.execute(text("SELECT 1 FROM experiments LIMIT 1")).first() is not None:
            return
    elif inspect(connection).has_table("alembic_version"):
        revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        if revision is not None:  # MLflow would upgrade the tables of a shared database without asking
            raise StoreError(
                f"tracking.uri={name}: created by a different version of MLflow than {mlflow.__version__} "
                f"(schema {revision}). If that version is older, back up the database, then run: "
                f"mlflow db upgrade {name}"
            )
    SqlAlchemyStore(uri, artifacts).engine.dispose()


def _check_writable(connection: Connection, name: str) -> None:
    from sqlalchemy import text

    if not connection.execute(text("SELECT has_table_privilege('runs', 'INSERT')")).scalar():
        raise StoreError(f"tracking.uri={name}: permission denied; this user cannot write to the table runs")
