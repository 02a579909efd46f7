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
BROKEN = (SQLAlchemyError, OptunaError, RuntimeError, ValueError, KeyError, OSError)
# Errors that contain one of these texts do not mean that the file is corrupt.
SOUND = ("locked", "table schema", "unable to open", "readonly", "disk is full", "disk I/O")
WAIT_SECONDS = (
    10.0  # maximum time to wait until a trial is written; after that, its job starts anyway
)
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
        self._reported: set[tuple[int, int]] = set()
        self._written = {trial.number for trial in self.trials}
        if [trial.number for trial in self.trials] != list(range(len(self.trials))):
            raise ValueError("its trials are not numbered consecutively")
        self._closing = threading.Event()
        self._unwritable = (
            False  # whether the last write failed, or some data could not be written at the end
        )
        self._lost = 0
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="study")

    def add(self, trial: FrozenTrial) -> None:
        """Store a new trial.

        The trial has been written when this method returns, unless the database is unavailable or
        too slow.
        """
        write = self._writer.submit(self._write, partial(self._add, trial))
        deadline = time.monotonic() + WAIT_SECONDS
        while wait([write], 0.05).not_done and not self._unwritable and time.monotonic() < deadline:
            pass

    def report(self, number: int, epoch: int, value: float) -> None:
        """Store the value of a trial after an epoch."""
        if (number, epoch) not in self._reported:
            self._reported.add((number, epoch))
            send = self._storage.set_trial_intermediate_value
            self._writer.submit(self._write, lambda: send(self._id(number), epoch, value))

    def end(self, trial: FrozenTrial) -> None:
        """Store the end of a trial. Repeated calls change nothing."""
        self._writer.submit(self._write, partial(self._end, copy.deepcopy(trial)))

    def keep_seconds(self, seconds: float) -> None:
        """Store the number of seconds spent searching."""
        write = partial(self._storage.set_study_user_attr, self._study, SECONDS, seconds)
        self._writer.submit(self._write, write)

    def close(self) -> None:
        """Write all remaining data and close the database. Warn if some data cannot be written."""
        self._closing.set()
        self._writer.shutdown()
        self._storage.remove_session()
        self._storage.engine.dispose()
        if self._lost:
            log.warning(
                "%s: the last trials of this search are missing; rerun the same command to add them",
                FILE,
            )

    def _add(self, trial: FrozenTrial) -> None:
        if self._unwritable:  # the failed attempt may have written the trial
            self._written |= {
                t.number for t in self._storage.get_all_trials(self._study, deepcopy=False)
            }
        if trial.number not in self._written:
            self._storage.create_new_trial(self._study, template_trial=trial)
            self._written.add(trial.number)

    def _end(self, trial: FrozenTrial) -> None:
        which = self._id(trial.number)
        kept = self._storage.get_trial(which)
        if kept.state.is_finished():
            return
        for epoch, value in trial.intermediate_values.items():
            if kept.intermediate_values.get(epoch) != value:
                self._storage.set_trial_intermediate_value(which, epoch, value)
        for name, value in trial.user_attrs.items():
            if kept.user_attrs.get(name) != value:
                self._storage.set_trial_user_attr(which, name, value)
        for name, value in trial.system_attrs.items():
            if kept.system_attrs.get(name) != value:
                self._storage.set_trial_system_attr(which, name, value)
        self._storage.set_trial_state_values(which, trial.state, trial.values)

    def _id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study, number)

    def _write(self, action: Callable[[], None]) -> None:
        """Call an action that writes to the database. If it fails, repeat it until it succeeds or
        the search ends.
        """
        while True:
            try:
                action()
            except BROKEN as e:
                # Optuna hides the database's
                cause = e.__cause__ if isinstance(e.__cause__, SQLAlchemyError) else e
                if not self._unwritable:
                    log.warning(
                        "%s cannot be written (%s); the search continues", FILE, first_line(cause)
                    )
                self._unwritable = True
            else:
                self._unwritable = bool(self._lost)
                return
            if self._closing.is_set():
                self._lost += 1
                return
            self._closing.wait(RETRY_SECONDS)


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
        return _opened(path, name, directions)
    except BROKEN as e:
        if not path.exists():
            raise
        if any(word in str(e) for word in SOUND):
            raise ConfigError(f"{path}: cannot currently be used ({first_line(e)})") from e
        warn_once(damage_error(path, first_line(e), "it will be rebuilt without retraining"))
        os.replace(path, folder / f"{FILE}.damaged")
        for left in folder.glob(f"{FILE}-*"):  # journals of the renamed database
            left.unlink()
        return _opened(path, name, directions)


def _opened(path: Path, name: str, directions: Sequence[Direction]) -> StudyDatabase:
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    optuna.create_study(
        storage=storage, study_name=name, directions=directions, load_if_exists=True
    )
    return StudyDatabase(storage, storage.get_study_id_from_name(name))
