"""The tables of an MLflow store on SQLite, as one release of MLflow makes them by all of its migrations, in a second.

`empty_store.sql` has what came of that, for the release that its first line names; any other makes its own.
`python -m lenet_exp.tracking.stores.empty_store` writes the file anew for the release that is installed.
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from importlib.metadata import version
from pathlib import Path

SQL = Path(__file__).with_name("empty_store.sql")
OF_A_STORE = 'INSERT INTO "experiments"'  # the first experiment has the store's own address and time


def fill(database: Path) -> bool:
    """Makes the tables in a database that has none. Whether they are those of the MLflow that is installed; else it is
    left as it is."""
    of, _, statements = SQL.read_text().partition("\n")
    if of != _of(version("mlflow")):
        return False
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.executescript(statements)
    return True


def dumped() -> str:
    """What belongs into the file."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with tempfile.TemporaryDirectory() as scratch:
        database = Path(scratch) / "empty.db"
        SqlAlchemyStore(f"sqlite:///{database}", Path(scratch).as_uri()).engine.dispose()
        with contextlib.closing(sqlite3.connect(database)) as connection:
            statements = [line for line in connection.iterdump() if not line.startswith(OF_A_STORE)]
    return "\n".join([_of(version("mlflow")), *statements, ""])


def _of(release: str) -> str:
    return f"-- MLflow {release}"


if __name__ == "__main__":
    SQL.write_text(dumped())
