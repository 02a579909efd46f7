"""The connection of an uploading process to one store, which may be slow, away, full, or wrong.

A connection is either UP or AWAY:

             every upload is tried         upload and reopening fail: print one warning
    responds -->      UP        --------------------------------------------->  AWAY  --+
                      ^                                                          |  ^   | fails
                      +------------------------ responds -----------------------+   +---+

While it is AWAY, uploads are skipped for `AWAY_SECONDS`, except for the first upload after
training, which is tried at once. After a timeout, that one is skipped for `WAITED_SECONDS`, too. If
the upload of one run fails while the store responds, only that run is affected.

    slow            waits: nothing that trains depends on a store
    silent          MLflow's time limit for each read ends the request; AWAY
    endless         `time_limit.CallLimit` ends the call; AWAY
    full disk       one warning; the rest is uploaded without models
    refuses         a `StoreError` at the start, if it is known before training; otherwise AWAY
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lenet_exp.addresses import hide_password, store_name, store_uri
from lenet_exp.config.schema import StoreAddress
from lenet_exp.errors import StoreError, first_line
from lenet_exp.files import DISK_ERRORS
from lenet_exp.tracking.stores.store import Store, StoreUnavailable, open_store
from lenet_exp.tracking.stores.time_limit import CallLimit, StoreTimeout

AWAY_SECONDS = 60.0
WAITED_SECONDS = 10.0
# an upload that fails within this time is retried once, in case the server closed the connection
QUICK_SECONDS = 1.0

# the parts of an error message that say enough about why a store cannot be used
REASONS = (
    r"database is locked|database or disk is full|Read timed out|[Cc]onnection refused|"
    r"Name or service not known|too many \d+ error responses"
)

log = logging.getLogger("lenet_exp")

T = TypeVar("T")


class StoreConnection:
    """A connection to a store, for uploads that can be repeated without effect.

    Args:
        address: address of the store and name of the experiment.
        outputs: the outputs folder that contains the runs.
        limit: time limit for calls to the store.
        outputs_existed: whether the outputs folder existed when the uploads were requested. If it
            did and no longer does, it was moved, and nothing creates it again.

    Attributes:
        uri: address of the store.
        name: address of the store, without secrets.
    """

    def __init__(
        self,
        address: StoreAddress,
        outputs: Path,
        limit: CallLimit,
        *,
        outputs_existed: bool = False,
    ) -> None:
        self.uri = store_uri(address.uri, outputs)
        self.name = store_name(self.uri)
        self._address = address
        self._outputs = outputs
        self._limit = limit
        self._store: Store | None = None
        self._outputs_existed = outputs_existed or outputs.exists()
        self._warned: set[str] = set()  # keys of the warnings that were logged

        # Values of time.monotonic() before which uploads are skipped: uploads during training, and
        # the first one after.
        self._not_before = 0.0
        self._last_not_before = 0.0

    def open(self) -> None:
        """Open the store, and warn if it is unavailable.

        Raises:
            StoreError: the store responds but cannot be used.
        """
        if self._lost_outputs():
            return
        try:
            self._opened()
        except (StoreUnavailable, StoreTimeout) as e:
            self._mark_away(e)

    def attempt(
        self, subject: str, action: Callable[[Store], T], *, last: bool = False
    ) -> T | None:
        """Return the result of an action that uses the open store, or None on failure.

        A failure is logged instead of raised. The action must be idempotent, because it is called
        again if it fails quickly.

        Args:
            subject: name of the run, sweep, or other object that the action concerns, for messages.
            action: function that accepts the open store.
            last: whether to try the action even if the store has just failed.
        """
        not_before = self._last_not_before if last else self._not_before
        if self._lost_outputs() or time.monotonic() < not_before:
            return None

        try:
            return self._call(action)
        except Exception as e:
            self._handle_failure(subject, e)
            return None

    def _opened(self) -> Store:
        """Return the open store, and open it if necessary.

        Raises:
            StoreUnavailable, StoreTimeout: the store does not respond.
            StoreError: the store cannot be used.
        """
        if self._store is None:
            self._store = open_store(self._address, self._outputs, limit=self._limit)
        return self._store

    def _call(self, action: Callable[[Store], T]) -> T:
        """Return the result of an action. If it fails quickly, reopen the store and retry once."""
        started = time.monotonic()
        try:
            result = action(self._opened())
        except Exception as e:
            if not self._may_retry(e, started):
                raise
            self._store = None
            result = action(self._opened())

        self._not_before = 0.0
        self._last_not_before = 0.0
        return result

    def _may_retry(self, error: Exception, started: float) -> bool:
        """Return whether an action that failed may succeed if the store is reopened.

        Args:
            started: value of time.monotonic() before the action.
        """
        if isinstance(error, StoreUnavailable | StoreError | StoreTimeout):
            return False
        if _is_overloaded(error) or self._lost_outputs():
            return False
        return time.monotonic() - started <= QUICK_SECONDS

    def _lost_outputs(self) -> bool:
        """Return whether the outputs folder was moved or removed.

        Reopening the store could recreate the folder.
        """
        return self._outputs_existed and not self._outputs.exists()

    def _handle_failure(self, subject: str, error: Exception) -> None:
        """Find out whether the store is unavailable or rejects only one action, and warn once.

        Args:
            subject: see `attempt`.
            error: error that the action raised.
        """
        log.debug("upload failed", exc_info=True)
        if self._lost_outputs():
            return
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            self._warn_of_disk(error)
            return

        self._store = None
        if _is_away(error):
            self._mark_away(error)
            return
        try:
            self._opened()
        except (StoreUnavailable, StoreError, StoreTimeout) as e:
            self._mark_away(e)
            return
        self._warn(f"MLflow request for {subject} failed: {_reason(error)}")

    def _mark_away(self, error: Exception) -> None:
        """Skip uploads for some time, and warn that the store cannot be used."""
        now = time.monotonic()
        self._not_before = now + AWAY_SECONDS
        if _is_timeout(error):
            self._last_not_before = now + WAITED_SECONDS
        else:
            self._last_not_before = now
        self._warn(
            f"tracking.uri={self.name}: cannot be written ({_reason(error)}); "
            "results are saved in the outputs folder. To upload them later, run lenet-sync.",
            once="away",
        )

    def _warn_of_disk(self, error: OSError) -> None:
        problem = error.strerror
        if error.filename:
            problem = f"{error.filename}: {error.strerror}"
        self._warn(
            f"{problem}; free some disk space, then run lenet-sync to upload the missing results",
            once="disk",
        )

    def _warn(self, line: str, once: str | None = None) -> None:
        """Log a warning, unless it was logged before.

        Args:
            line: text of the warning.
            once: key of the warning, if different texts count as the same warning.
        """
        key = once or line
        if key not in self._warned:
            log.warning("%s", line)
        self._warned.add(key)


def _is_away(error: Exception) -> bool:
    """Return whether an error concerns the whole store, and not only one run."""
    if isinstance(error, StoreUnavailable | StoreError):
        return True
    return _is_timeout(error) or _is_overloaded(error)


def _is_timeout(error: Exception) -> bool:
    """Return whether an error means that a time limit was reached."""
    if isinstance(error, StoreTimeout):
        return True
    return re.search(r"timed? ?out|database is locked", str(error), re.I) is not None


def _is_overloaded(error: Exception) -> bool:
    """Return whether an error means that a server is overloaded."""
    return re.search(r"too many (429|503) error responses", str(error)) is not None


def _reason(error: Exception) -> str:
    """Extract the reason for an error from a message of MLflow, urllib3, or SQLAlchemy.

    Such a message has many lines, and the reason is often in the middle.
    """
    reason = re.search(REASONS, str(error))
    if reason is not None:
        return reason.group()
    return hide_password(first_line(error))
