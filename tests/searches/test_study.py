"""The study of a search on disk if it cannot be written or read."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from lenet_exp.errors import ConfigError
from lenet_exp.searches import study as search_database
from lenet_exp.searches.study import open_database


def trial(number: int, state: TrialState = TrialState.RUNNING) -> optuna.trial.FrozenTrial:
    if state is TrialState.COMPLETE:
        trial = create_trial(state=state, value=0.5, intermediate_values={1: 0.4})
    else:
        trial = create_trial(state=state)
    trial.number = number
    return trial


def rename(folder: Path, table: str, name: str) -> None:
    """Rename a table to cause an immediate database error; a locked database would be retried."""
    with sqlite3.connect(folder / "study.db") as connection:
        connection.execute("PRAGMA legacy_alter_table=ON")  # keeps references to the old name
        connection.execute(f"ALTER TABLE {table} RENAME TO {name}")
    connection.close()


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(search_database, "RETRY_SECONDS", 0.1)


def test_failed_writes_are_retried_in_order(tmp_path, impatient, caplog):
    caplog.set_level(logging.INFO, "lenet_exp")
    database = open_database(tmp_path, "mine", ["maximize"])
    database.add(trial(0))

    rename(tmp_path, "trials", "away")
    database.add(trial(1))  # returns despite the error
    database.report(0, 1, 0.4)
    database.end(trial(0, TrialState.COMPLETE))
    assert "study.db" in caplog.text
    assert "no such table" in caplog.text

    rename(tmp_path, "away", "trials")
    database.end(trial(1, TrialState.COMPLETE))
    database.close()

    reopened = open_database(tmp_path, "mine", ["maximize"])
    assert len(reopened.trials) == 2
    for stored in reopened.trials:
        assert stored.state is TrialState.COMPLETE
        assert stored.value == 0.5
        assert stored.intermediate_values == {1: 0.4}
    reopened.close()


def test_study_of_another_optuna_release_is_not_corrupt(tmp_path):
    open_database(tmp_path, "mine", ["maximize"]).close()
    with sqlite3.connect(tmp_path / "study.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v9.9.9.z'")
        connection.execute("UPDATE version_info SET schema_version = 999")
    connection.close()
    with pytest.raises(ConfigError, match=r"study\.db: "):
        open_database(tmp_path, "mine", ["maximize"])
    assert not list(tmp_path.glob("*.damaged"))
