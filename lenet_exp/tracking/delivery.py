"""Delivers during and after training without disturbing it: a store that is away costs one warning and little time.

A request has its own time limit (`store.REQUEST_SECONDS`). A store that let it pass is not waited for again a moment
later, so neither the first step nor the end waits 10 s for one that accepts connections and never answers.
"""

from __future__ import annotations

import logging
import math
import re
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
from lenet_exp.tracking.left import Amount, left_of
from lenet_exp.tracking.store import Store, StoreAway, open_store

LIVE_SECONDS = 5.0  # curves in the UI are at most this and one epoch old

AWAY_SECONDS = 60.0  # so long a store that failed is left alone, longer each time: each try may take its time-out
LONGEST_AWAY_SECONDS = 600.0
WAITED_SECONDS = 10.0  # a store that kept us waiting is left alone for so long even where it is the last chance
QUICK_SECONDS = 1.0  # what failed so soon is tried once more: a server may have closed the connection meanwhile

KNOWN = (
    r"database is locked|database or disk is full|Read timed out|[Cc]onnection refused|Name or service not known|"
    r"too many \d+ error responses"
)

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
            a store that is away is asked again only now and then, and the sweep says what is left at its end.

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
        self._leave_alone = AWAY_SECONDS
        self._kept_waiting = False
        self._warned = False
        self._said: set[str] = set()
        self._connect()

    @property
    def name(self) -> str:
        """The store's address as it may be written down."""
        return hide_password(self.uri)

    @property
    def away(self) -> bool:
        """Whether the store failed lately, and not only one run's delivery."""
        return self._failed_at > -math.inf

    def adopt(self, job: Job) -> None:
        """Takes over a run that others finished in a store that they share; of a sweep, `adopt_all` has done so."""
        if not self._in_sweep:
            self.attempt("runs of others", lambda store: take_over_one(job, store))

    def adopt_all(self, jobs: Sequence[Job]) -> None:
        """Before a sweep: learns which of its runs the store has, and takes over what others finished there."""
        self.attempt("what the store has", lambda store: learn([job.folder for job in jobs], store))
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
        if model is None:
            models = self._tracking.models
            model = models is Models.all or (models is Models.best and not self._in_sweep)
        worth_it = self._is_back() or ((at_once or not self._in_sweep) and self._may_be_asked())
        sent = self._send(folder, model=model) if worth_it else None
        if sent is None and not self._in_sweep:
            self.tell_left(left_of(folder, self.name, model=model), f" run={folder.id[:8]}")
        return sent

    def attempt(self, what: str, action: Callable[[Store], T]) -> T | None:
        """Another piece of bookkeeping; None where it failed, which is said."""
        if not self._may_be_asked() or (self.store is None and not self._connect()):
            return None
        assert self.store is not None
        try:
            return action(self.store)
        except Exception as e:
            self._failed(what, e)
            return None

    def tell_left(self, left: Amount, which: str) -> None:
        """At the end: what the store has not got.

        Args:
            which: of lenet-sync's flags, those that name what this command did.
        """
        if left:
            log.warning("not in MLflow (%s): %s; to deliver: lenet-sync%s", self.name, left, which)

    def _send(self, folder: RunFolder, *, model: bool) -> str | None:
        if self.store is None and not self._connect():
            return None
        assert self.store is not None
        start = time.monotonic()
        try:
            try:
                sent = self._deliver(folder, model)
            except Exception:
                if time.monotonic() - start > QUICK_SECONDS:
                    raise
                sent = self._deliver(folder, model)
        except Exception as e:  # training must not die of its bookkeeping
            self._failed(str(folder.path), e)
            return None
        finally:
            self._last[folder.id] = time.monotonic()
        self._failed_at, self._leave_alone, self._kept_waiting = -math.inf, AWAY_SECONDS, False
        return sent

    def _deliver(self, folder: RunFolder, model: bool) -> str:
        assert self.store is not None
        with folder.delivery_lock():
            return deliver(folder, self.store, parent=self.parent, model=model)

    def _connect(self) -> bool:
        try:
            self.store = open_store(self._tracking, self._outputs)
        except StoreAway as e:
            self._warn(e)
        return self.store is not None

    def _is_back(self) -> bool:
        """Whether it is worth asking: the store did not fail lately."""
        return time.monotonic() - self._failed_at >= self._leave_alone

    def _may_be_asked(self) -> bool:
        """Whether to ask where it is the last chance for long: unless the store kept us waiting a moment ago."""
        return not self._kept_waiting or time.monotonic() - self._failed_at >= WAITED_SECONDS

    def _failed(self, what: str, error: Exception) -> None:
        """Tells a store that is away from one that does not take this, and warns once of each."""
        log.debug("bookkeeping failed", exc_info=True)
        if _in_vain(error) or not self._answers():
            self._warn(error)
            return
        line = f"{what} can't be delivered: {_reason(error)}"
        if line not in self._said:
            log.warning("%s", line)
        self._said.add(line)

    def _answers(self) -> bool:
        assert self.store is not None
        try:
            self.store.client.get_experiment(self.store.experiment_id)
        except Exception as e:
            self._kept_waiting = _in_vain(e)
            return False
        return True

    def _warn(self, error: Exception) -> None:
        if self.away:
            self._leave_alone = min(2 * self._leave_alone, LONGEST_AWAY_SECONDS)
        self._failed_at = time.monotonic()
        self._kept_waiting = self._kept_waiting or _in_vain(error)
        if not self._warned:
            log.warning(
                "tracking.uri=%s: can't be written (%s); nothing is lost: results stay in the outputs folder, "
                "and lenet-sync, or the same line again, delivers them",
                self.name,
                _reason(error),
            )
        self._warned = True


def _reason(error: Exception) -> str:
    """What was wrong, out of several lines of MLflow, urllib3 and SQLAlchemy."""
    known = re.search(KNOWN, str(error))
    return known.group() if known else hide_password(first_line(error))


def _in_vain(error: Exception) -> bool:
    """Whether it was waited for until a time limit."""
    return re.search(r"timed? ?out|database is locked", str(error), re.IGNORECASE) is not None
