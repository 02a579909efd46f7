"""Limits the time that a call to a store can take.

MLflow's own time limit applies to each read from a socket, so a response that arrives byte by byte
or never ends does not exceed the limit. Therefore, an alarm interrupts calls that take too long.
"""

from __future__ import annotations

import functools
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

# maximum duration of a call while a command trains, or in lenet-sync
CALL_SECONDS = 60.0
# maximum duration of a call while a command waits for its uploads
WAITED_SECONDS = 8.0


class StoreTimeout(Exception):
    """Raised when a call to a store takes too long. The store may still execute the request."""


class CallLimit:
    """The time limit for calls to stores, for a process whose main thread makes all calls.

    Attributes:
        patience: factor by which all limits are longer, because the user set a longer time limit
            for MLflow's requests.
    """

    def __init__(self) -> None:
        self.patience = 1.0
        self._usual_seconds = CALL_SECONDS
        self._started: float | None = None
        signal.signal(signal.SIGALRM, self._interrupt)

    @property
    def seconds(self) -> float:
        """The maximum duration of a call."""
        return self._usual_seconds * self.patience

    @contextmanager
    def call(self) -> Iterator[None]:
        """Limit the duration of a `with` block, which makes a single call to a store.

        Raises:
            StoreTimeout: the block took too long.
        """
        self._started = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, self.seconds)
        try:
            yield
        finally:
            self._started = None
            signal.setitimer(signal.ITIMER_REAL, 0)

    def shorten(self) -> None:
        """Limit calls to the time for which a command waits, including the call in progress.

        Any thread can call this method.
        """
        self._usual_seconds = WAITED_SECONDS
        # The main thread may end the call at any moment, so `_started` is read only once.
        started = self._started
        if started is not None:
            seconds_left = started + self.seconds - time.monotonic()
            # A timer of 0 s would never fire.
            signal.setitimer(signal.ITIMER_REAL, max(0.01, seconds_left))

    def relax(self) -> None:
        """Allow calls the usual time again."""
        self._usual_seconds = CALL_SECONDS

    def overdue(self) -> float:
        """Return by how many seconds the call in progress exceeds its limit; 0 if it does not."""
        started = self._started
        if started is None:
            return 0.0
        return max(0.0, time.monotonic() - started - self.seconds)

    def _interrupt(self, signum: int, frame: object) -> None:
        if self._started is not None:
            raise StoreTimeout("it timed out because it responds too slowly")


class LimitedClient:
    """A wrapper for an MLflow client that limits the duration of each call."""

    def __init__(self, client: MlflowClient, limit: CallLimit) -> None:
        self._client = client
        self._limit = limit

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)
        if not callable(attribute):
            return attribute

        @functools.wraps(attribute)
        def call(*arguments: Any, **keywords: Any) -> Any:
            with self._limit.call():
                return attribute(*arguments, **keywords)

        return call
