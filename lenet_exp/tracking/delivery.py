"""Delivers during and after training without ever disturbing it: a store that is away costs one warning."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from lenet_exp.addresses import hide_password, store_uri
from lenet_exp.config.schema import Models, Tracking
from lenet_exp.errors import first_line
from lenet_exp.folders.job import Job
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.tracking.adopt import learn, take_over, take_over_one
from lenet_exp.tracking.deliver import deliver
from lenet_exp.tracking.store import Store, StoreAway, open_store

LIVE_SECONDS = 5.0  # curves in the UI are at most this and one epoch old

AWAY_SECONDS = 60.0  # so long a store that failed is left alone: each try may take its time-out

log = logging.getLogger("lenet_exp")

T = TypeVar("T")


class Delivery(Protocol):
    """Sends a run's folder to MLflow, during the training and after it."""

    def adopt(self, job: Job) -> None:
        """Takes over a run that others finished in a store that they share, if the job's folder has none."""

    def live(self, folder: RunFolder) -> None:
        """Sends what is committed, if the last sending is long enough ago."""

    def send(self, folder: RunFolder) -> str | None:
        """Sends what is committed; the MLflow run's id, or None where that failed."""


class LeftToOthers:
    """For the workers of a sweep: the sweep's own process delivers for all, and they never import mlflow."""

    def adopt(self, job: Job) -> None:
        pass

    def live(self, folder: RunFolder) -> None:
        pass

    def send(self, folder: RunFolder) -> str | None:
        return None


class StoreDelivery:
    """One store, for the runs of one process.

    Args:
        tracking: which store.
        outputs: the outputs folder of the runs; by default that of this process.
        in_sweep: the runs belong to a sweep: its best model alone is sent for `tracking.models=best`, when it is known,
            and a store that is away is asked again only now and then.

    Raises:
        StoreError: the store answers but can't be used.
    """

    def __init__(self, tracking: Tracking, outputs: Path | None = None, *, in_sweep: bool = False) -> None:
        self.uri = store_uri(tracking.uri, outputs)
        self._outputs = outputs
        self.parent: str | None = None  # MLflow run id of the sweep
        self.store: Store | None = None
        self._tracking = tracking
        self._in_sweep = in_sweep
        self._last: dict[str, float] = {}
        self._failed_at = -math.inf
        self._warned = False
        self._connect()

    def adopt(self, job: Job) -> None:
        """Takes over a run that others finished in a store that they share; of a sweep, `adopt_all` has done so."""
        if not self._in_sweep:
            self.attempt("runs of others", lambda store: take_over_one(job, store))

    def adopt_all(self, jobs: Sequence[Job]) -> None:
        """Before a sweep: learns which of its runs the store has, and takes over what others finished there."""
        self.attempt("what the store has", lambda store: learn(jobs, store))
        self.attempt("runs of others", lambda store: take_over(jobs, store))

    def live(self, folder: RunFolder) -> None:
        """Sends what is committed, if the last sending is long enough ago."""
        if time.monotonic() - self._last.get(folder.id, 0.0) >= LIVE_SECONDS and self._is_back():
            self._send(folder, model=False)

    def send(self, folder: RunFolder, *, model: bool | None = None, at_once: bool = False) -> str | None:
        """Sends what is committed; the MLflow run's id, or None where that failed.

        Args:
            model: whether the best model is sent too; by default as `tracking.models` says.
            at_once: also to a store that was away a moment ago.
        """
        if not (self._is_back() or at_once or not self._in_sweep):
            return None
        if model is None:
            models = self._tracking.models
            model = models is Models.all or (models is Models.best and not self._in_sweep)
        return self._send(folder, model=model)

    def attempt(self, what: str, action: Callable[[Store], T]) -> T | None:
        """Another piece of bookkeeping; None where it failed, which is said."""
        if self.store is None and not self._connect():
            return None
        assert self.store is not None
        try:
            return action(self.store)
        except Exception as e:
            log.warning("%s can't be written: %s", what, hide_password(first_line(e)))
            log.debug("bookkeeping failed", exc_info=True)
            return None

    def _send(self, folder: RunFolder, *, model: bool) -> str | None:
        if self.store is None and not self._connect():
            return None
        assert self.store is not None
        try:
            with folder.delivery_lock():
                sent = deliver(folder, self.store, parent=self.parent, model=model)
        except Exception as e:  # training must not die of its bookkeeping
            self._warn(e)
            log.debug("delivery failed", exc_info=True)
            return None
        finally:
            self._last[folder.id] = time.monotonic()
        self._failed_at = -math.inf
        return sent

    def _connect(self) -> bool:
        try:
            self.store = open_store(self._tracking, self._outputs)
        except StoreAway as e:
            self._warn(e)
        return self.store is not None

    def _is_back(self) -> bool:
        """Whether it is worth asking: the store did not fail lately."""
        return time.monotonic() - self._failed_at >= AWAY_SECONDS

    def _warn(self, error: Exception) -> None:
        self._failed_at = time.monotonic()
        if not self._warned:
            log.warning(
                "tracking.uri=%s: can't be written (%s); nothing is lost: results stay in the outputs folder, "
                "and starting the same line again delivers them",
                hide_password(self.uri),
                hide_password(first_line(error)),
            )
        self._warned = True
