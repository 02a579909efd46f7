"""The study of a search on disk, where it can't be written or read."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from lenet_exp.errors import ConfigError
from lenet_exp.sweeps import search_database
from lenet_exp.sweeps.search_database import open_database


def trial(number: int, state: TrialState = TrialState.RUNNING) -> optuna.trial.FrozenTrial:
    value = 0.5 if state is TrialState.COMPLETE else None
    found = create_trial(state=state, value=value, intermediate_values={1: 0.4} if value else {})
    found.number = number
    return found


def rename(folder: Path, table: str, name: str) -> None:
    """A real error of a real database, which comes at once; a lock is waited for."""
    with sqlite3.connect(folder / "study.db") as connection:
        connection.execute("PRAGMA legacy_alter_table=ON")  # leaves what refers to it
        connection.execute(f"ALTER TABLE {table} RENAME TO {name}")
    connection.close()


def locked(folder: Path) -> sqlite3.Connection:
    """As another program that writes for a long time."""
    connection = sqlite3.connect(folder / "study.db", isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    return connection


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(search_database, "RETRY_SECONDS", 0.1)


def test_what_can_not_be_written_for_a_while_is_written_afterwards_in_its_order(tmp_path, impatient, caplog):
    caplog.set_level(logging.INFO, "lenet_exp")
    database = open_database(tmp_path, "mine", ["maximize"], None)
    database.add(trial(0))
    rename(tmp_path, "trials", "away")
    database.add(trial(1))  # it returns all the same
    database.report(0, 1, 0.4)
    database.end(trial(0, TrialState.COMPLETE))
    assert "study.db can't be written" in caplog.text
    assert "no such table: trials" in caplog.text
    rename(tmp_path, "away", "trials")
    database.end(trial(1, TrialState.COMPLETE))
    database.close()
    assert "study.db is written again" in caplog.text
    again = open_database(tmp_path, "mine", ["maximize"], None)
    assert [(t.state, t.value, t.intermediate_values) for t in again.trials] == [
        (TrialState.COMPLETE, 0.5, {1: 0.4}),
        (TrialState.COMPLETE, 0.5, {1: 0.4}),
    ]
    again.close()


def test_what_is_never_written_is_said_and_the_rest_stays_sound(tmp_path, impatient, caplog):
    database = open_database(tmp_path, "mine", ["maximize"], None)
    database.add(trial(0))
    rename(tmp_path, "trials", "away")
    database.end(trial(0, TrialState.COMPLETE))
    database.close()
    assert "study.db lacks the end of this search; the same line makes it whole" in caplog.text
    rename(tmp_path, "away", "trials")
    again = open_database(tmp_path, "mine", ["maximize"], None)
    assert [t.state for t in again.trials] == [TrialState.RUNNING]
    again.close()


@pytest.mark.slow(seconds=7)
def test_a_study_that_others_write_is_no_damaged_one(tmp_path):
    open_database(tmp_path, "mine", ["maximize"], None).close()
    connection = locked(tmp_path)
    with pytest.raises(ConfigError, match=r"study.db: can't be used now \(.*locked"):
        open_database(tmp_path, "mine", ["maximize"], None)
    connection.close()
    assert not list(tmp_path.glob("*.damaged"))


def test_a_study_of_another_release_of_optuna_is_no_damaged_one(tmp_path):
    open_database(tmp_path, "mine", ["maximize"], None).close()
    with sqlite3.connect(tmp_path / "study.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v9.9.9.z'")
        connection.execute("UPDATE version_info SET schema_version = 999")
    connection.close()
    with pytest.raises(ConfigError, match=r"study.db: can't be used now"):
        open_database(tmp_path, "mine", ["maximize"], None)
    assert not list(tmp_path.glob("*.damaged"))
