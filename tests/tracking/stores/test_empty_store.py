"""The shipped tables are those that MLflow makes itself."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from lenet_exp.api import compose
from lenet_exp.tracking.stores import empty_store
from lenet_exp.tracking.stores.store import open_store


def tables(database: Path) -> set[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("select type, name, tbl_name, sql from sqlite_master").fetchall()
        found: set[tuple[object, ...]] = {(*row[:3], settled(row[3] or "")) for row in rows}
        found |= set(connection.execute("select 'revision', version_num from alembic_version"))
        return found | {("workspace", *row) for row in connection.execute("select * from workspaces")}


def settled(statements: str) -> tuple[str, ...]:
    """MLflow's migrations put a table's constraints down in another order each time."""
    return tuple(sorted(line.strip().rstrip(",") for line in statements.splitlines()))


def fresh(folder: Path) -> Path:
    open_store(compose([f"tracking.uri=sqlite:///{folder / 'mlflow.db'}"]).tracking, folder)
    return folder / "mlflow.db"


def test_a_fresh_store_has_the_same_tables_with_the_file_and_without(tmp_path, monkeypatch):
    shipped = tables(fresh(tmp_path / "shipped"))
    (tmp_path / "other.sql").write_text("-- MLflow 1.0\nCREATE TABLE nonsense (x);\n")
    monkeypatch.setattr(empty_store, "SQL", tmp_path / "other.sql")
    own = tables(fresh(tmp_path / "own"))
    assert len(own) > 50
    assert shipped == own
