"""Stores the study of a search in a database that `optuna-dashboard` and `optuna.load_study` can
read.

A trial is stored with all its values before its job starts. A thread writes the trial's epochs and
its end, because a database commit can take longer than an epoch. Data that is lost because the
process is killed is restored from the run folder. A trial's state is written last. The database
contains no pickles.

If the database becomes unavailable during a search, for example because the disk is full, runs do
not wait for the database. Writes are retried in order until the search ends. The next session adds
the missing data without retraining.
"""

from __future__ import annotations

import copy
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path

import optuna
from optuna.exceptions import OptunaError
from optuna.trial import FrozenTrial
from sqlalchemy.exc import SQLAlchemyError

from lenet_exp.comparison.search.objective import Direction
from lenet_exp.errors import ConfigError, first_line
from lenet_exp.folders.damage import damage_error, warn_once

FILE = "study.db"
SECONDS = "seconds"  # attribute of the study: seconds spent searching

# Errors of an unavailable or corrupt database.
DATABASE_ERRORS = (SQLAlchemyError, OptunaError, RuntimeError, ValueError, KeyError, OSError)

# Errors that contain one of these texts do not mean that the file is corrupt.
ERRORS_OF_INTACT_FILE = (
    "locked",
    "table schema",
    "unable to open",
    "readonly",
    "disk is full",
    "disk I/O",
)

# The maximum time to wait until a trial is written; after that, its job starts anyway.
WAIT_SECONDS = 10.0
POLL_SECONDS = 0.05

# The interval between two attempts to write to an unavailable database.
RETRY_SECONDS = 5.0

log = logging.getLogger("lenet_exp")


class StudyDatabase:
    """Writes the Optuna study of a search to its database.

    Args:
        storage: Optuna's storage.
        study: ID of the study in the storage.

    Attributes:
        trials: the trials that existed when the database was opened, in order.
        seconds: time spent searching in earlier sessions, in seconds.
    """

    def __init__(self, storage: optuna.storages.RDBStorage, study: int) -> None:
        self._storage = storage
        self._study = study
        self.trials: list[FrozenTrial] = storage.get_all_trials(study, deepcopy=False)
        self.seconds = float(storage.get_study_user_attrs(study).get(SECONDS, 0.0))
        if [trial.number for trial in self.trials] != list(range(len(self.trials))):
            raise ValueError("its trials are not numbered consecutively")

        self._reported: set[tuple[int, int]] = set()  # trials and epochs
        self._stored_trials = {trial.number for trial in self.trials}
        self._closing = threading.Event()
        # Whether the last write failed, or some data could not be written at the end.
        self._unwritable = False
        self._lost_writes = 0
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="study")

    def add(self, trial: FrozenTrial) -> None:
        """Store a new trial.

        The trial has been written when this method returns, unless the database is unavailable or
        too slow.
        """
        write = self._writer.submit(self._write, partial(self._add, trial))
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            is_done = not wait([write], POLL_SECONDS).not_done
            if is_done or self._unwritable:
                return

    def report(self, number: int, epoch: int, value: float) -> None:
        """Store the value of a trial after an epoch. Repeated calls change nothing."""
        if (number, epoch) not in self._reported:
            self._reported.add((number, epoch))
            self._writer.submit(self._write, partial(self._report, number, epoch, value))

    def end(self, trial: FrozenTrial) -> None:
        """Store the end of a trial. Repeated calls change nothing."""
        self._writer.submit(self._write, partial(self._end, copy.deepcopy(trial)))

    def store_seconds(self, seconds: float) -> None:
        """Store the number of seconds spent searching."""
        write = partial(self._storage.set_study_user_attr, self._study, SECONDS, seconds)
        self._writer.submit(self._write, write)

    def close(self) -> None:
        """Write all remaining data and close the database. Warn if some data cannot be written."""
        self._closing.set()
        self._writer.shutdown()
        self._storage.remove_session()
        self._storage.engine.dispose()
        if self._lost_writes:
            log.warning(
                "%s: the last trials of this search are missing; "
                "rerun the same command to add them",
                FILE,
            )

    def _add(self, trial: FrozenTrial) -> None:
        if self._unwritable:  # the failed attempt may have written the trial
            stored_trials = self._storage.get_all_trials(self._study, deepcopy=False)
            self._stored_trials |= {stored.number for stored in stored_trials}
        if trial.number not in self._stored_trials:
            self._storage.create_new_trial(self._study, template_trial=trial)
            self._stored_trials.add(trial.number)

    def _report(self, number: int, epoch: int, value: float) -> None:
        self._storage.set_trial_intermediate_value(self._trial_id(number), epoch, value)

    def _end(self, trial: FrozenTrial) -> None:
        trial_id = self._trial_id(trial.number)
        stored = self._storage.get_trial(trial_id)
        if stored.state.is_finished():
            return

        for epoch, value in trial.intermediate_values.items():
            if stored.intermediate_values.get(epoch) != value:
                self._storage.set_trial_intermediate_value(trial_id, epoch, value)
        for name, value in trial.user_attrs.items():
            if stored.user_attrs.get(name) != value:
                self._storage.set_trial_user_attr(trial_id, name, value)
        for name, value in trial.system_attrs.items():
            if stored.system_attrs.get(name) != value:
                self._storage.set_trial_system_attr(trial_id, name, value)
        self._storage.set_trial_state_values(trial_id, trial.state, trial.values)

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study, number)

    def _write(self, action: Callable[[], None]) -> None:
        """Call an action that writes to the database. If it fails, repeat it until it succeeds or
        the search ends.
        """
        while True:
            try:
                action()
            except DATABASE_ERRORS as e:
                if not self._unwritable:
                    reason = first_line(_cause(e))
                    log.warning("%s cannot be written (%s); the search continues", FILE, reason)
                self._unwritable = True
            else:
                self._unwritable = self._lost_writes > 0
                return

            if self._closing.is_set():
                self._lost_writes += 1
                return
            self._closing.wait(RETRY_SECONDS)


def _cause(error: BaseException) -> BaseException:
    """Return the database's error, which Optuna hides behind one of its own."""
    if isinstance(error.__cause__, SQLAlchemyError):
        return error.__cause__
    return error


def open_database(folder: Path, name: str, directions: Sequence[Direction]) -> StudyDatabase:
    """Open the study of a search in study.db in the sweep folder; create it if it does not exist.

    A corrupt study.db is renamed with a warning, and its trials are recreated without retraining.

    Args:
        folder: the sweep folder.
        name: name of the study.
        directions: direction of each objective.

    Raises:
        ConfigError: study.db is intact but cannot be used at the moment or with this release of
            Optuna.
    """
    path = folder / FILE
    try:
        return _open(path, name, directions)
    except DATABASE_ERRORS as e:
        if not path.exists():
            raise
        if any(word in str(e) for word in ERRORS_OF_INTACT_FILE):
            raise ConfigError(f"{path}: cannot currently be used ({first_line(e)})") from e
        warn_once(damage_error(path, first_line(e), "it will be rebuilt without retraining"))
        os.replace(path, folder / f"{FILE}.damaged")
        for journal in folder.glob(f"{FILE}-*"):  # of the renamed database
            journal.unlink()
        return _open(path, name, directions)


def _open(path: Path, name: str, directions: Sequence[Direction]) -> StudyDatabase:
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    optuna.create_study(
        storage=storage, study_name=name, directions=directions, load_if_exists=True
    )
    return StudyDatabase(storage, storage.get_study_id_from_name(name))
