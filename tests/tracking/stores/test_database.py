"""The address of a PostgreSQL database as MLflow receives it."""

from __future__ import annotations

import sys

import pytest
from sqlalchemy.engine import make_url

from lenet_exp.tracking.stores.database import driver_uri
from tests.commands.test_cli import is_one_line
from tests.tools.commands import SECRET


@pytest.mark.parametrize("uri", ["http://me:pw@host", "sqlite:////home/me/mlflow.db", "postgresql+pg8000://host/db"])
def test_addresses_of_other_stores_are_unchanged(uri):
    assert driver_uri(uri, 6) == uri


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_postgres_address_keeps_all_parts(scheme):
    pytest.importorskip("psycopg")
    url = make_url(driver_uri(f"{scheme}://me:p%40%2Fw@host:5433/a%20b?sslmode=require", 6))
    assert url.drivername == "postgresql+psycopg"
    assert (url.username, url.password, url.host, url.port) == ("me", "p@/w", "host", 5433)
    assert url.query == {"sslmode": "require", "connect_timeout": "6"}
    assert make_url(driver_uri(f"{scheme}://host/db?connect_timeout=60", 6)).query == {"connect_timeout": "60"}


def test_missing_postgres_driver_names_extra_to_install(main, outputs, monkeypatch):
    for driver in ("psycopg", "psycopg2"):
        monkeypatch.setitem(sys.modules, driver, None)
    done = main("dataset=digits", "num_epoch=1", f"tracking.uri=postgresql://me:{SECRET}@host/db")
    assert done.returncode == 2
    assert is_one_line(done.stderr)
    assert "tracking.uri=postgresql://***@host/db" in done.stderr
    assert done.stderr.endswith("pip install 'lenet_exp[postgres]'\n")
    assert not outputs.exists()
