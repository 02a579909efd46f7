"""Uploads to one store without disturbing training: an unavailable store causes a single warning and little delay.

In each process, the store is either UP or AWAY:

                 every upload is tried       upload and reopening fail: print one warning
    responds -->        UP          ---------------------------------------------------------->  AWAY  --+
                        ^                                                                         |  ^   | fails
                        +-------------------------------- responds -------------------------------+  +---+

While the store is AWAY, uploads that can be made later are skipped for `AWAY_SECONDS`. Uploads at the end of a run or
sweep are still tried. After a timeout, all uploads are skipped for `WAITED_SECONDS`.

Each request has a time limit (`store.REQUEST_SECONDS`), and so does the wait for slow or endless responses
(`stores/patience.py`). Therefore, the first step and the end of a run are each delayed by less than 10 s. If the upload
of one run fails while the store responds, only that run is affected.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, TypeVar

from lenet_exp.addresses import SQLITE, hide_password, store_name, store_uri
from lenet_exp.config.schema import LoggedModels, Tracking
from lenet_exp.errors import StoreError, first_line
from lenet_exp.files import DISK_ERRORS
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.machine import user
from lenet_exp.outputs import outputs_dir
from lenet_exp.tracking.delivery.deliver import deliver, passed_over_run
from lenet_exp.tracking.delivery.remaining import UploadCount, remaining_uploads
from lenet_exp.tracking.stores.mlflow_runs import find_alive
from lenet_exp.tracking.stores.patience import BACKGROUND, PAGES, PATIENT, WAITED, Limit, StoreCalls, StoreTimeout
from lenet_exp.tracking.stores.store import REQUEST_SECONDS, Store, StoreUnavailable, open_store, request_seconds

LIVE_SECONDS = 5.0  # minimum time between two uploads of a run that is being trained
AWAY_SECONDS = 60.0
WAITED_SECONDS = 10.0
QUICK_SECONDS = 1.0  # an upload that fails within this time is retried once, in case the server closed the connection

KNOWN = (
    r"database is locked|database or disk is full|Read timed out|[Cc]onnection refused|Name or service not known|"
    r"too many \d+ error responses"
)

log = logging.getLogger("lenet_exp")

T = TypeVar("T")


class Delivery(Protocol):
    """The interface for uploading run folders to MLflow, during and after training."""

    def live(self, folder: RunFolder) -> object:
        """Upload the last checkpoint, unless the previous upload is too recent."""

    def send(self, folder: RunFolder) -> str | None:
        """Upload the last checkpoint and return the MLflow run ID, or None on failure."""


class NoDelivery:
    """A `Delivery` that uploads nothing, for the workers of a sweep.

    Workers never import mlflow. The sweep's main process uploads all runs.
    """

    def live(self, folder: RunFolder) -> None:
        """Do nothing."""

    def send(self, folder: RunFolder) -> str | None:
        """Do nothing and return None."""
        return None


class StoreDelivery:
    """A `Delivery` that uploads the runs of one process to one store, one upload at a time.

    Args:
        tracking: tracking settings, such as the store's address and what to upload.
        outputs: the outputs folder that contains the runs; by default, this process's outputs folder.
        in_sweep: whether the runs belong to a sweep. If so, `tracking.models=best` uploads only the sweep's best model,
            an unavailable store is retried only occasionally, and the sweep reports remaining uploads at its end.
        patient: whether to tolerate a slow store, because nothing else waits for the uploads.

    Attributes:
        name: the address of the store, without secrets.
        store: the open store; None before it is opened and after a failure.
        parent: MLflow run ID of the sweep that contains the runs; None if there is no sweep or its run is not open.

    Raises:
        StoreError: the store responds but cannot be used.
    """

    def __init__(
        self, tracking: Tracking, outputs: Path | None = None, *, in_sweep: bool = False, patient: bool = False
    ) -> None:
        self.uri = store_uri(tracking.uri, outputs)
        self.name = store_name(self.uri)
        self.in_sweep = in_sweep
        self._tracking, self._outputs = tracking, outputs or outputs_dir()
        self.store: Store | None = None
        self.parent: str | None = None
        self._open_parent: Callable[[Store], str] | None = None
        # time.monotonic() at which uploads can resume: uploads that can be made later, and last chances
        self._not_before = self._last_not_before = 0.0
        self._sent_at: dict[str, float] = {}
        self._warned: set[str] = set()
        self._turn = threading.Lock()
        self._calls = StoreCalls()
        self._patient = patient
        try:
            self._in_time(self._opened, WAITED)
        except (StoreUnavailable, StoreTimeout) as e:
            self._mark_unavailable(e)
        self._had_outputs = self._outputs.exists()

    def look_up(self, folders: Iterable[RunFolder]) -> None:
        """Find out which MLflow runs of these folders still exist, a thousand with each request."""
        self.attempt("uploaded runs", lambda store: find_alive(folders, store), limit=PAGES)

    def set_parent(self, what: str, open_parent: Callable[[Store], str]) -> None:
        """Nest all later uploads under the MLflow run of a sweep.

        Args:
            what: name of the sweep's MLflow run, for messages.
            open_parent: function that opens the sweep's MLflow run in a store and returns its ID. If the store is
                unavailable, the function is called later.
        """
        self.parent, self._open_parent = None, open_parent
        self.attempt(what, lambda store: None)

    def clear_parent(self) -> None:
        """Stop nesting uploads under the MLflow run of a sweep."""
        self.parent = self._open_parent = None

    def live(self, folder: RunFolder) -> str | None:
        """Upload the last checkpoint and return the MLflow run ID, or None on failure.

        If the previous upload is too recent, upload nothing and return None.
        """
        if time.monotonic() - self._sent_at.get(folder.id, 0.0) < LIVE_SECONDS:
            return None
        return self._send(folder, model=False, last=False)

    def send(
        self, folder: RunFolder, *, model: bool | None = None, last: bool = False, archive: bytes | None = None
    ) -> str | None:
        """Upload the last checkpoint and return the MLflow run ID, or None on failure.

        Args:
            model: whether to also upload the best model; by default, as `tracking.models` specifies.
            archive: see `deliver`.
            last: whether this is the last chance to upload the run. Outside a sweep, this is always true.
        """
        if model is None:
            models = self._tracking.models
            model = models is LoggedModels.all or (models is LoggedModels.best and not self.in_sweep)
        sent = self._send(folder, model=model, last=last or not self.in_sweep, archive=archive)
        if sent is None and not self.in_sweep:
            self.warn_remaining(remaining_uploads(folder, self.name, model=model), f" run={folder.id[:8]}")
        if sent is not None and not self.in_sweep:
            self.warn_passed_over(folder)
        return sent

    def warn_passed_over(self, folder: RunFolder) -> None:
        """Warn if a run is better than the champion for its model and dataset, but cannot be compared with it."""
        if line := self.attempt(str(folder.path), lambda store: passed_over_run(folder, store)):
            log.warning("%s", line)

    def attempt(self, what: str, action: Callable[[Store], T], *, last: bool = True, limit: Limit = WAITED) -> T | None:
        """Call an idempotent action with the open store, and return the result of the action, or None on failure.

        A failure is logged instead of raised, so that training does not fail.

        Args:
            what: name of the run, sweep, or other object that the action concerns, for messages.
            action: function that accepts the open store.
            last: whether this is the last chance to call the action. If so, the action is tried even if the store has
                just failed.
            limit: time limits for the store. If nothing waits for the uploads, longer limits apply.
        """
        if self._skips(last):
            return None
        limit = PATIENT if self._patient else limit if last else BACKGROUND
        limit = limit.times(request_seconds() / REQUEST_SECONDS)
        try:
            self._calls.wait(lambda: self._turn.acquire(blocking=False), limit)
        except StoreTimeout as e:
            self._mark_unavailable(e)
            return None
        try:
            return None if self._skips(last) else self._tried(action, limit)  # another thread's upload may have failed
        except Exception as e:
            self._failed(what, e)
            return None
        finally:
            self._turn.release()

    def warn_remaining(self, left: UploadCount, which: str) -> None:
        """Warn about results that have not been uploaded to the store, if any remain.

        Args:
            left: counts of these results.
            which: flag of lenet-sync that selects these results.
        """
        if left:
            log.warning("missing in MLflow (%s): %s; to upload them, run: lenet-sync%s", self.name, left, which)

    def _send(self, folder: RunFolder, *, model: bool, last: bool, archive: bytes | None = None) -> str | None:
        name = None if self._patient else user()  # lenet-sync also uploads the runs of other users

        def send(store: Store) -> str:
            with folder.delivery_lock():
                try:
                    return deliver(folder, store, parent=self.parent, model=model, archive=archive, user=name)
                except OSError as e:
                    if model and e.errno in DISK_ERRORS:  # upload at least how the run ended
                        deliver(folder, store, parent=self.parent, model=False, user=name)
                    raise

        try:
            return self.attempt(str(folder.path), send, last=last)
        finally:
            self._sent_at[folder.id] = time.monotonic()

    def _lost_outputs(self) -> bool:
        """Return whether the outputs folder was moved or removed. Reopening the store could recreate the folder."""
        return self._had_outputs and not self._outputs.exists()

    def _skips(self, last: bool) -> bool:
        if self._lost_outputs() or self._calls.stuck:
            return True
        return time.monotonic() < (self._last_not_before if last else self._not_before)

    def _tried(self, action: Callable[[Store], T], limit: Limit) -> T:
        begun = time.monotonic()
        try:
            done = self._in_time(lambda: action(self._opened()), limit)
        except Exception as e:
            is_final = isinstance(e, StoreUnavailable | StoreError) or _is_overloaded(e) or self._lost_outputs()
            if is_final or time.monotonic() - begun > QUICK_SECONDS:
                raise
            self.store = None
            done = self._in_time(lambda: action(self._opened()), limit)
        self._not_before = self._last_not_before = 0.0
        return done

    def _in_time(self, action: Callable[[], T], limit: Limit) -> T:
        """Call an action with a time limit, or without a limit if the store is a database file on this machine."""
        return action() if self.uri.startswith(SQLITE) else self._calls.run(action, limit)

    def _opened(self) -> Store:
        """Return the open store. If necessary, open the store and the MLflow run of the sweep first.

        Raises:
            StoreUnavailable: the store does not respond.
            StoreError: the store cannot be used.
        """
        if self.store is None:
            self.store = open_store(self._tracking, self._outputs)
        if self.parent is None and self._open_parent is not None:
            self.parent = self._open_parent(self.store)
        return self.store

    def _failed(self, what: str, error: Exception) -> None:
        """Determine whether the store is unavailable or rejects only this action, and warn once in each case."""
        log.debug("bookkeeping failed", exc_info=True)
        if self._lost_outputs():
            return
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            where = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
            self._warn(f"{where}; free some disk space, then run lenet-sync to upload the missing results", once="disk")
            return
        self.store = None
        if not (isinstance(error, StoreUnavailable | StoreError) or _is_timeout(error) or _is_overloaded(error)):
            try:
                self.store = self._in_time(lambda: open_store(self._tracking, self._outputs), WAITED)
            except (StoreUnavailable, StoreError, StoreTimeout) as e:
                error = e
            else:
                self._warn(f"MLflow request for {what} failed: {_reason(error)}")
                return
        self._mark_unavailable(error)

    def _mark_unavailable(self, error: Exception) -> None:
        now = time.monotonic()
        self._not_before = now + AWAY_SECONDS
        self._last_not_before = now + (WAITED_SECONDS if _is_timeout(error) else 0.0)
        self._warn(
            f"tracking.uri={self.name}: cannot be written ({_reason(error)}); results are saved in the outputs folder. "
            "To upload them later, run lenet-sync.",
            once="away",
        )

    def _warn(self, line: str, once: str | None = None) -> None:
        if (once or line) not in self._warned:
            log.warning("%s", line)
        self._warned.add(once or line)


def _is_timeout(error: Exception) -> bool:
    """Return whether an error means that a time limit was reached."""
    return isinstance(error, StoreTimeout) or re.search(r"timed? ?out|database is locked", str(error), re.I) is not None


def _is_overloaded(error: Exception) -> bool:
    """Return whether an error means that a server is overloaded."""
    return re.search(r"too many (429|503) error responses", str(error)) is not None


def _reason(error: Exception) -> str:
    """Extract the reason for an error from a multi-line message by MLflow, urllib3, or SQLAlchemy."""
    known = re.search(KNOWN, str(error))
    return known.group() if known else hide_password(first_line(error))
