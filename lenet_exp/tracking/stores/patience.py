"""Limits the time and memory that waiting for a store can take.

MLflow's own time limit applies to each read from a socket, so a response that arrives byte by byte or never ends stays
below it forever. Therefore, every access to a store runs in a separate thread. The thread is abandoned if a call takes
too long, many calls are slow, or the process grows. Only the time within calls counts, not the time spent exporting
models or drawing.
"""

from __future__ import annotations

import ctypes
import functools
import math
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from mlflow import MlflowClient

QUICK_SECONDS = 1.0  # calls up to this long do not count as slow
TURN_SECONDS = 60.0  # maximum wait for another thread's action, such as uploading a model
MOST_BYTES = 2**30  # maximum growth of the process in the meantime
TICK_SECONDS = 0.1

T = TypeVar("T")


@dataclass(frozen=True)
class Limit:
    """Time limits for calls, in seconds.

    Attributes:
        call: limit for each call.
        slow: limit for the total time beyond `QUICK_SECONDS` per call.
    """

    call: float
    slow: float = math.inf

    def times(self, factor: float) -> Limit:
        """Return the limits multiplied by a factor; unchanged if the factor is at most 1."""
        return Limit(self.call * max(1.0, factor), self.slow * max(1.0, factor))


WAITED = Limit(call=8.0, slow=6.0)  # for the end of a run; MLflow's time limit for a silent server is 6 s
PAGES = Limit(call=8.0)  # for queries about many runs before training
BACKGROUND = Limit(call=60.0)
PATIENT = Limit(call=300.0)  # for commands that only upload


class StoreTimeout(Exception):
    """The store did not respond in time. The request may still be executed."""


class Abandoned(BaseException):
    """Ends an abandoned thread."""


class StoreCalls:
    """Runs and times calls to a store, in one thread at a time."""

    def __init__(self) -> None:
        self._begun: float | None = None
        self._slow = 0.0
        self._thread: threading.Thread | None = None
        self._given_up = False

    @contextmanager
    def call(self) -> Iterator[None]:
        """Time one call."""
        if self._begun is not None:  # nested call
            yield
            return
        self._begun = time.monotonic()
        try:
            yield
        finally:
            self._slow, self._begun = self.slow(), None

    def seconds(self) -> float:
        """Return the seconds that the current call has taken; 0 if no call is running."""
        begun = self._begun
        return 0.0 if begun is None else time.monotonic() - begun

    def slow(self) -> float:
        """Return the seconds that all calls have taken beyond `QUICK_SECONDS` each."""
        return self._slow + max(0.0, self.seconds() - QUICK_SECONDS)

    @property
    def stuck(self) -> bool:
        """Whether an abandoned thread has not ended yet."""
        return self._given_up and self._busy()

    def _busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def run(self, action: Callable[[], T], limit: Limit) -> T:
        """Run `action` in a thread and return its result.

        Raises:
            StoreTimeout: the action took too long, or the process grew too much.
            BaseException: any exception that `action` raises.
        """
        done: list[tuple[T | None, BaseException | None]] = []

        def work() -> None:
            CURRENT.set(self)
            try:
                done.append((action(), None))
            except BaseException as e:
                done.append((None, e))

        self.wait(lambda: not self._busy(), limit)  # left behind by an interrupt
        self._begun, self._given_up = None, False
        self._thread = threading.Thread(target=work, name="store", daemon=True)
        self._thread.start()
        self.wait(lambda: not self._busy(), limit, seconds=math.inf)
        value, error = done[0]
        if error is not None:
            raise error
        return cast(T, value)

    def wait(self, ready: Callable[[], bool], limit: Limit, seconds: float = TURN_SECONDS) -> None:
        """Wait until `ready()` returns true; other threads may make calls in the meantime.

        Raises:
            StoreTimeout: see `run`.
        """
        slow, size, deadline = self.slow(), _resident(), time.monotonic() + seconds
        while not ready():
            if self._thread is not None and self._thread.is_alive():
                self._thread.join(TICK_SECONDS)
            else:
                time.sleep(TICK_SECONDS / 10)
            grown = _resident() - size > MOST_BYTES
            late = self.seconds() > limit.call or self.slow() - slow > limit.slow or time.monotonic() > deadline
            if late or grown:
                if ready():
                    return
                self._abandon()
                raise StoreTimeout("its answer is too large" if grown else "it timed out because it answers too slowly")

    def _abandon(self) -> None:
        """End the thread as soon as it executes Python again; it may be in an endless read."""
        self._given_up = True
        if self._thread is not None and self._thread.ident is not None:
            ident, error = ctypes.c_ulong(self._thread.ident), ctypes.py_object(Abandoned)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, error)


CURRENT: ContextVar[StoreCalls | None] = ContextVar("calls", default=None)


@contextmanager
def calling() -> Iterator[None]:
    """Time a call to a store, if it is made within `StoreCalls.run`."""
    calls = CURRENT.get()
    if calls is None:
        yield
    else:
        with calls.call():
            yield


class _TimedClient:
    """A client whose calls are timed."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)

        @functools.wraps(found)
        def call(*arguments: Any, **keywords: Any) -> Any:
            with calling():
                return found(*arguments, **keywords)

        return call if callable(found) else found


def timed_client(client: MlflowClient) -> MlflowClient:
    """Wrap a client so that `StoreCalls` times its calls."""
    return cast("MlflowClient", _TimedClient(client))


def _resident() -> int:
    """Return the memory that this process uses, in bytes; 0 if the system does not report it."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return 0
