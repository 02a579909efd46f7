"""Delivers during and after training without disturbing it: a store that is away costs one warning and little time.

A request has its own time limit (`store.REQUEST_SECONDS`); a store that let it pass is not waited for again a moment
later (patience.py): neither the first step nor the end waits 10 s for one that accepts connections and never answers.
A store that failed may come back as an older backup: what it has is looked at again then (restored.py).
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from lenet_exp.addresses import hide_password, store_uri
from lenet_exp.config.schema import Models, Tracking
from lenet_exp.errors import StoreError, first_line
from lenet_exp.folders.job import Job
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.tracking.delivery.adopt import take_over, take_over_one
from lenet_exp.tracking.delivery.deliver import deliver
from lenet_exp.tracking.delivery.left import Amount, left_of
from lenet_exp.tracking.delivery.patience import Patience, asks_to_wait, is_in_vain, is_too_much
from lenet_exp.tracking.delivery.restored import learn
from lenet_exp.tracking.delivery.system_metrics import SystemMetrics
from lenet_exp.tracking.stores.store import Store, StoreAway, open_store

LIVE_SECONDS = 5.0  # curves in the UI are at most this and one epoch old

QUICK_SECONDS = 1.0  # what failed so soon is tried once more: a server may have closed the connection meanwhile
TURN_SECONDS = 60.0  # so long what is under way in another thread may take to come back, at the end
GONE = "RESOURCE_DOES_NOT_EXIST"
CHANGED = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", GONE}  # after which the store may be an older backup

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
    """One store, for the runs of one process. Its threads take turns.

    Args:
        tracking: which store.
        outputs: the outputs folder of the runs; by default that of this process.
        system: samples the machine meanwhile: for a run in no sweep; a sweep has them on its own run.
        in_sweep: the runs belong to a sweep: its best model alone is sent for `tracking.models=best`, when it is known,
            a store that is away is asked again only now and then, and the sweep says what is left at its end.

    Raises:
        StoreError: the store answers but can't be used.
    """

    def __init__(
        self,
        tracking: Tracking,
        outputs: Path | None = None,
        *,
        in_sweep: bool = False,
        system: SystemMetrics | None = None,
    ) -> None:
        self.system = system
        self.uri = store_uri(tracking.uri, outputs)
        self.in_sweep = in_sweep
        self._outputs = outputs
        self.parent: str | None = None  # MLflow run id of the sweep
        self.store: Store | None = None
        self._tracking = tracking
        self._last: dict[str, float] = {}
        self._known: dict[Path, RunFolder] = {}  # of which was asked what the store has
        self._sent: dict[Path, RunFolder] = {}  # what it took since
        self._doubted = False  # whether it still has it: it failed meanwhile
        self._unsure = False
        self.losses = 0  # how often it was found to have less than it was given
        self._own_run: Callable[[Store], str] | None = None
        self._patience = Patience()
        self._warned = False
        self._said: set[str] = set()
        self._turn = threading.RLock()
        self._stuck = False
        try:
            self._open()
        except StoreAway as e:
            self._warn(e)

    @property
    def name(self) -> str:
        """The store's address as it may be written down."""
        return hide_password(self.uri)

    @property
    def away(self) -> bool:
        """Whether the store failed lately, and not only one run's delivery."""
        return self._patience.away

    def adopt(self, job: Job) -> None:
        """Takes over a run that others finished in a store that they share; of a sweep, `adopt_all` has done so."""
        if not self.in_sweep:
            self.attempt("runs of others", lambda store: take_over_one(job, store))

    def adopt_all(self, jobs: Sequence[Job]) -> None:
        """Before a sweep: learns which of its runs the store has, and takes over what others finished there."""
        self.know([job.folder for job in jobs])
        self.attempt("runs of others", lambda store: take_over(jobs, store))

    def know(self, folders: Iterable[RunFolder]) -> None:
        """Learns what the store has of many runs, by a query for a thousand of them."""
        new = {folder.path: folder for folder in folders}

        def look(store: Store) -> None:
            learn(new.values(), store)
            self._known |= new

        self.attempt("what the store has", look)

    def make_sure(self) -> None:
        """Before the end: has the store asked, next, whether it still has what it took from this process. It may have
        come back as an older backup without anybody's notice."""
        self._unsure = True

    def under(self, what: str, own_run: Callable[[Store], str]) -> None:
        """The runs belong to a sweep.

        Args:
            what: how to call its own MLflow run.
            own_run: opens it, and gives its id; again, where the store was away, or lost it.
        """
        self.of_no_sweep()
        self.parent = self.attempt(what, own_run)
        self._own_run = own_run

    def of_no_sweep(self) -> None:
        """The runs that come belong to none."""
        self._own_run = self.parent = None

    def live(self, folder: RunFolder) -> None:
        """Sends what is committed, if the last sending is long enough ago."""
        if time.monotonic() - self._last.get(folder.id, 0.0) >= LIVE_SECONDS and self._patience.is_back():
            self._send(folder, model=False)

    def send(self, folder: RunFolder, *, model: bool | None = None, at_once: bool = False) -> str | None:
        """Sends what is committed; the MLflow run's id, or None where that failed.

        Args:
            model: whether the best model is sent too; by default as `tracking.models` says.
            at_once: also to a store that was away a moment ago.
        """
        if model is None:
            models = self._tracking.models
            model = models is Models.all or (models is Models.best and not self.in_sweep)
        last_chance = at_once or not self.in_sweep
        worth_it = self._patience.is_back() or (last_chance and self._patience.may_be_asked())
        sent = self._send(folder, model=model) if worth_it else None
        if sent is None and not self.in_sweep:
            self.tell_left(left_of(folder, self.name, model=model), f" run={folder.id[:8]}")
        return sent

    def attempt(self, what: str, action: Callable[[Store], T]) -> T | None:
        """Another piece of bookkeeping, which may be done twice; None where it failed, which is said."""
        return self._done(what, action) if self._patience.may_be_asked() else None

    def in_passing(self, what: str, action: Callable[[Store], T]) -> T | None:
        """As `attempt`, of what is told anew later: a store that is away is left alone, as by `live`."""
        return self._done(what, action) if self._patience.is_back() else None

    def tell_left(self, left: Amount, which: str) -> None:
        """At the end: what the store has not got.

        Args:
            which: of lenet-sync's flags, those that name what this command did.
        """
        if left:
            log.warning("not in MLflow (%s): %s; to deliver: lenet-sync%s", self.name, left, which)

    def _send(self, folder: RunFolder, *, model: bool) -> str | None:
        def send(store: Store) -> str:
            if folder.path not in self._known:
                learn([folder], store)
                self._known[folder.path] = folder
            before = folder.delivered_ns()
            with folder.delivery_lock():
                sent = deliver(folder, store, parent=self.parent, model=model)
            if folder.delivered_ns() != before:
                self._sent[folder.path] = folder
            if self.system is not None and not self.in_sweep:
                self.system.deliver(store, sent)
            return sent

        try:
            return self._done(str(folder.path), send)
        finally:
            self._last[folder.id] = time.monotonic()

    def _done(self, what: str, action: Callable[[Store], T]) -> T | None:
        """What came of it; None where it failed: training must not die of its bookkeeping."""
        with self._my_turn() as mine:
            if not mine:
                return None
            try:
                done = self._tried(action)
            except Exception as e:
                self._failed(what, e)
                return None
            self._patience.answered()
            return done

    def _tried(self, action: Callable[[Store], T]) -> T:
        """Does it, once more where it failed at once, or where what it was about is gone: the store was put back."""
        start = time.monotonic()
        try:
            return action(self._open())
        except (StoreAway, StoreError):
            raise
        except Exception as e:
            self._doubted = self._doubted or not _is_refusal(e)
            late = time.monotonic() - start > QUICK_SECONDS
            if (late and getattr(e, "error_code", None) != GONE) or is_too_much(e):
                raise
        return action(self._open())

    def _open(self) -> Store:
        """The store; one that is doubted is opened anew, and asked what it has.

        Raises:
            StoreAway, StoreError: as `open_store`.
        """
        if self.store is None or self._doubted or self._unsure:
            seen = self.store.seen if self.store is not None and not self._doubted else set()
            self.store = open_store(self._tracking, self._outputs)
            self.store.seen.update(seen)  # or each run would be asked for by itself
        if self._unsure:
            self._doubted = not learn(self._sent.values(), self.store) or self._doubted
            if self._doubted:
                self.store.seen.clear()
            self._unsure = False
        if self._doubted:
            self.losses += not learn(self._known.values(), self.store)
            if self._own_run is not None:
                try:
                    self.parent = self._own_run(self.store)
                except Exception as e:
                    if not _is_refusal(e):
                        raise
            self._doubted = False
        return self.store

    @contextmanager
    def _my_turn(self) -> Iterator[bool]:
        """Around all that asks the store; False where a request of another thread does not come back."""
        mine = self._turn.acquire(timeout=0 if self._stuck else TURN_SECONDS)
        self._stuck = not mine
        try:
            if not mine:
                self._warn(StoreAway(f"what was asked for does not come back within {TURN_SECONDS:g} s"))
            yield mine
        finally:
            if mine:
                self._turn.release()

    def _failed(self, what: str, error: Exception) -> None:
        """Tells a store that is away from one that does not take this, and warns once of each."""
        log.debug("bookkeeping failed", exc_info=True)
        known = isinstance(error, (StoreAway, StoreError)) or is_too_much(error) or is_in_vain(error)
        second = None if known else self._error_of_another()
        if known or second is not None:
            self._warn(error, in_vain=is_in_vain(second or error))
            return
        line = f"{what} can't be delivered: {_reason(error)}"
        if line not in self._said:
            log.warning("%s", line)
        self._said.add(line)

    def _error_of_another(self) -> Exception | None:
        """What comes of another, simple request; None where it is answered."""
        try:
            if self.store is not None:
                self.store.client.get_experiment(self.store.experiment_id)
        except Exception as e:
            return e
        return None

    def _warn(self, error: Exception, *, in_vain: bool = False) -> None:
        self._doubted = True
        told = asks_to_wait(self.uri) if is_too_much(error) else None
        self._patience.failed(in_vain=in_vain or is_in_vain(error), told=told)
        if not self._warned:
            log.warning(
                "tracking.uri=%s: can't be written (%s); nothing is lost: results stay in the outputs folder, "
                "and lenet-sync, or the same line again, delivers them",
                self.name,
                _reason(error),
            )
        self._warned = True


def _is_refusal(error: Exception) -> bool:
    """Whether it is an answer to what was asked for, and no sign of a store that is away or was restored."""
    return getattr(error, "error_code", "") not in CHANGED and not isinstance(error, OSError)


def _reason(error: Exception) -> str:
    """What was wrong, out of several lines of MLflow, urllib3 and SQLAlchemy."""
    known = re.search(KNOWN, str(error))
    return known.group() if known else hide_password(first_line(error))
