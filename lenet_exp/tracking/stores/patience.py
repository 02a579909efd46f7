"""Limits the time that requests to a store can use.

MLflow's own time limit applies to each read from a socket, so a response that arrives byte by byte or never ends does
not exceed the limit. Therefore, every access to a store runs in a daemon thread. The thread is abandoned if a call
takes too long or many calls are slow; it ends at its next call. Only the time within calls counts, not the time spent
exporting models or drawing figures.
"""

from __future__ import annotations

import functools
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from lenet_exp.stopping import raise_discarded

if TYPE_CHECKING:
    from mlflow import MlflowClient

QUICK_SECONDS = 1.0  # a call that takes longer counts as slow
TURN_SECONDS = 60.0  # maximum wait for an action of another thread, such as uploading a model
TICK_SECONDS = 0.1

T = TypeVar("T")


@dataclass(frozen=True)
class Limit:
    """Time limits for calls to a store, in seconds.

    Attributes:
        call: maximum duration of each call.
        slow: maximum total time of slow calls, excluding the first `QUICK_SECONDS` of each call.
    """

    call: float
    slow: float = math.inf

    def times(self, factor: float) -> Limit:
        """Return the limits multiplied by a factor. A factor below 1 is treated as 1."""
        return Limit(self.call * max(1.0, factor), self.slow * max(1.0, factor))


WAITED = Limit(call=8.0, slow=6.0)  # for the end of a run; MLflow's time limit for a silent server is 6 s
PAGES = Limit(call=8.0)  # for queries about many runs before training
BACKGROUND = Limit(call=60.0)
PATIENT = Limit(call=300.0)  # for commands that only upload


class StoreTimeout(Exception):
    """Raised when a store does not respond in time. The store may still execute the request."""


class StoreCalls:
    """Runs actions that access a store, one at a time, and limits the duration of each call."""

    def __init__(self) -> None:
        self._begun: float | None = None
        self._slow = 0.0
        self._thread: threading.Thread | None = None
        self._given_up = False

    @contextmanager
    def call(self) -> Iterator[None]:
        """Measure how long a `with` block takes, as a single call to the store."""
        if self._given_up:
            raise StoreTimeout("it was abandoned")
        self._begun = time.monotonic()
        try:
            yield
        finally:
            self._slow, self._begun = self.slow(), None

    def seconds(self) -> float:
        """Return the duration of the current call so far, in seconds, or 0 if no call is in progress."""
        begun = self._begun
        return 0.0 if begun is None else time.monotonic() - begun

    def slow(self) -> float:
        """Return the total time of slow calls, in seconds, excluding the first `QUICK_SECONDS` of each call."""
        return self._slow + max(0.0, self.seconds() - QUICK_SECONDS)

    @property
    def stuck(self) -> bool:
        """Whether a thread was abandoned and has not ended yet."""
        return self._given_up and self._busy()

    def _busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def run(self, action: Callable[[], T], limit: Limit) -> T:
        """Call `action` in a separate thread and return its result.

        Raises:
            StoreTimeout: the action took too long.
            BaseException: `action` raised this exception.
        """
        done = Future[T]()

        def work() -> None:
            CURRENT.set(self)
            try:
                done.set_result(action())
            except BaseException as e:
                done.set_exception(e)

        self.wait(lambda: not self._busy(), limit)  # an interrupt may have left a thread running
        self._begun, self._given_up = None, False
        self._thread = threading.Thread(target=work, name="store", daemon=True)
        self._thread.start()
        self.wait(lambda: not self._busy(), limit, seconds=math.inf)
        return done.result()

    def wait(self, ready: Callable[[], bool], limit: Limit, seconds: float = TURN_SECONDS) -> None:
        """Wait until `ready()` returns true or another thread's calls to the store exceed a limit.

        Raises:
            StoreTimeout: the calls or the wait took too long.
        """
        slow, deadline = self.slow(), time.monotonic() + seconds
        while not ready():
            raise_discarded()
            if self._thread is not None and self._thread.is_alive():
                self._thread.join(TICK_SECONDS)
            else:
                time.sleep(TICK_SECONDS / 10)
            late = self.seconds() > limit.call or self.slow() - slow > limit.slow or time.monotonic() > deadline
            if late and not ready():
                self._given_up = True
                raise StoreTimeout("it timed out because it responds too slowly")


CURRENT: ContextVar[StoreCalls | None] = ContextVar("calls", default=None)


@contextmanager
def calling() -> Iterator[None]:
    """Measure how long a `with` block takes, as a single call to a store. Outside `StoreCalls.run`, do nothing."""
    calls = CURRENT.get()
    if calls is None:
        yield
    else:
        with calls.call():
            yield


class TimedClient:
    """A wrapper for an MLflow client, with which `StoreCalls` measures the duration of each call."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)

        @functools.wraps(found)
        def call(*arguments: Any, **keywords: Any) -> Any:
            with calling():
                return found(*arguments, **keywords)

        return call if callable(found) else found
