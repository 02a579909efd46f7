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

CALL_SECONDS = 60.0  # maximum duration of a call, unless the user sets a longer time for requests


class StoreTimeout(Exception):
    """Raised when a call to a store takes too long. The store may still execute the request."""


class CallLimit:
    """The time limit for calls to stores, for a process whose main thread makes all calls.

    Args:
        seconds: maximum duration of a call.
    """

    def __init__(self, seconds: float = CALL_SECONDS) -> None:
        self.seconds = seconds
        self._started: float | None = None
        signal.signal(signal.SIGALRM, self._interrupt)

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

    def shorten(self, seconds: float) -> None:
        """Set a shorter limit, also for the call in progress. Any thread can call this method."""
        if seconds >= self.seconds:
            return
        self.seconds = seconds
        left = seconds - self.elapsed()
        if self._started is not None:
            signal.setitimer(signal.ITIMER_REAL, max(0.01, left))

    def elapsed(self) -> float:
        """Return the duration of the call in progress, in seconds; 0 if there is none."""
        started = self._started
        return 0.0 if started is None else time.monotonic() - started

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
