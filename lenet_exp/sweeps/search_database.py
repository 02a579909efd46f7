"""The study of a search on disk: Optuna's own database, for `optuna-dashboard` and `optuna.load_study`.

A trial appears whole, with all its values, before its job does. Its epochs and its end are written behind, by a thread,
since a commit may take longer than an epoch; what a kill loses of them is told again, by the run's folder. The state
of a trial is written last. Nothing in it is a pickle.
"""

from __future__ import annotations

import copy
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import optuna
from optuna.exceptions import DuplicatedStudyError, OptunaError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from sqlalchemy.exc import SQLAlchemyError

from lenet_exp.addresses import hide_password
from lenet_exp.errors import ConfigError, first_line
from lenet_exp.folders.damage import damaged, say

FILE = "study.db"
OF, SECONDS = "outputs", "seconds"  # attributes of the study: whose it is, and how long it has been searched
BROKEN = (SQLAlchemyError, OptunaError, RuntimeError, ValueError, KeyError, OSError)


class Database:
    """Args:
    storage, study: Optuna's, and its number there.

    Attributes:
        trials: those that were there, in order.
        seconds: that had been searched.
    """

    def __init__(self, storage: optuna.storages.RDBStorage, study: int) -> None:
        self._storage = storage
        self._study = study
        self.trials: list[FrozenTrial] = storage.get_all_trials(study, deepcopy=False)
        self.seconds = float(storage.get_study_user_attrs(study).get(SECONDS, 0.0))
        self._reported: set[tuple[int, int]] = set()
        self._waiting: deque[Future[None]] = deque()
        self._writer = ThreadPoolExecutor(1, "study")
        self._ids = [trial._trial_id for trial in self.trials]
        if [trial.number for trial in self.trials] != list(range(len(self.trials))):
            raise ValueError("its trials are not numbered one by one")

    def add(self, trial: FrozenTrial) -> None:
        """The next trial."""
        self._ids.append(self._storage.create_new_trial(self._study, template_trial=trial))

    def report(self, number: int, epoch: int, value: float) -> None:
        if (number, epoch) not in self._reported:
            self._reported.add((number, epoch))
            self._later(self._storage.set_trial_intermediate_value, self._ids[number], epoch, value)

    def end(self, trial: FrozenTrial) -> None:
        """A trial that has ended; again, it changes nothing."""
        self._later(self._end, copy.deepcopy(trial))

    def _end(self, trial: FrozenTrial) -> None:
        which = self._ids[trial.number]
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

    def keep_seconds(self, seconds: float) -> None:
        self._later(self._storage.set_study_user_attr, self._study, SECONDS, round(seconds, 1))

    def _later(self, write: Callable[..., None], *arguments: object) -> None:
        """Raises what an earlier write raised."""
        while self._waiting and self._waiting[0].done():
            self._waiting.popleft().result()
        self._waiting.append(self._writer.submit(write, *arguments))

    def close(self) -> None:
        """Writes what is left."""
        try:
            while self._waiting:
                self._waiting.popleft().result()
        finally:
            self._writer.shutdown()
            self._release()

    def _release(self) -> None:
        self._storage.remove_session()
        self._storage.engine.dispose()


def open_database(folder: Path, name: str, direction: str, url: str | None) -> Database:
    """The study of a search, made where there is none.

    A file of ours that is damaged is set aside, and named: each trial is asked for again, and what has been trained is
    not trained again.

    Args:
        folder: the sweep's.
        url: of a database of the user's own.

    Raises:
        ConfigError: that database can't be used, or the study in it is of another outputs folder.
    """
    if url is not None:
        try:
            return _opened(url, name, direction, str(folder.resolve()))
        except (*BROKEN, ImportError) as e:
            why = hide_password(first_line(e))
            raise ConfigError(f"search.storage={hide_password(url)}: can't be used ({why})") from e
    path = folder / FILE
    try:
        return _opened(f"sqlite:///{path}", name, direction, None)
    except BROKEN as e:
        if not path.exists():
            raise
        say(damaged(path, first_line(e), "it is made again; what has been trained is not trained again"))
        os.replace(path, folder / f"{FILE}.damaged")
        for left in folder.glob(f"{FILE}-*"):  # a journal
            left.unlink()
        return _opened(f"sqlite:///{path}", name, direction, None)


def _opened(url: str, name: str, direction: str, of: str | None) -> Database:
    storage = optuna.storages.RDBStorage(url)
    try:
        study = storage.create_new_study([StudyDirection[direction.upper()]], name)
    except DuplicatedStudyError:
        study = storage.get_study_id_from_name(name)
    if of is not None:
        whose = storage.get_study_user_attrs(study).get(OF)
        if whose not in (None, of):
            raise ValueError(f"study {name} there is of {whose}")
        storage.set_study_user_attr(study, OF, of)
    return Database(storage, study)
