"""Limits what a store can cost those who wait for it: seconds and memory.

MLflow's own time limit is for each read from a socket. An answer that arrives byte by byte, or never ends, stays below
it for ever. So whatever asks a store runs in a thread that is given up when a call takes too long, when many calls are
slow, or when the process grows; only the time inside of calls counts, not that of exporting a model or drawing.
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

QUICK_SECONDS = 1.0  # what a call may take without counting as slow
TURN_SECONDS = 60.0  # for what another thread has begun, such as the upload of a model
MOST_BYTES = 2**30  # that the process may grow meanwhile
TICK_SECONDS = 0.1

T = TypeVar("T")


@dataclass(frozen=True)
class Limit:
    """How long calls may take, in seconds.

    Attributes:
        call: each of them.
        slow: all together, beyond `QUICK_SECONDS` each.
    """

    call: float
    slow: float = math.inf

    def times(self, factor: float) -> Limit:
        """Longer, by a factor above 1."""
        return Limit(self.call * max(1.0, factor), self.slow * max(1.0, factor))


WAITED = Limit(call=8.0, slow=6.0)  # for the end of a run; MLflow's time limit for a silent server is 6 s
PAGES = Limit(call=8.0)  # for questions about many runs before a training
BACKGROUND = Limit(call=60.0)
PATIENT = Limit(call=300.0)  # where a person asked for nothing but the upload


class StoreTimeout(Exception):
    """The store did not answer in time; what was asked may still be done."""


class Abandoned(BaseException):
    """Ends a thread that was given up."""


class StoreCalls:
    """The calls that one thread after the other makes to a store."""

    def __init__(self) -> None:
        self._begun: float | None = None
        self._slow = 0.0
        self._thread: threading.Thread | None = None
        self._given_up = False

    @contextmanager
    def call(self) -> Iterator[None]:
        """Around one call."""
        if self._begun is not None:  # inside of another
            yield
            return
        self._begun = time.monotonic()
        try:
            yield
        finally:
            self._slow, self._begun = self.slow(), None

    def seconds(self) -> float:
        """For how long the call that is under way has taken; 0 where none is."""
        begun = self._begun
        return 0.0 if begun is None else time.monotonic() - begun

    def slow(self) -> float:
        """The seconds that all calls have taken beyond `QUICK_SECONDS` each."""
        return self._slow + max(0.0, self.seconds() - QUICK_SECONDS)

    @property
    def stuck(self) -> bool:
        """Whether a thread that was given up has not ended yet."""
        return self._given_up and self._busy()

    def _busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def run(self, action: Callable[[], T], limit: Limit) -> T:
        """Run `action` in a thread and return its result.

        Raises:
            StoreTimeout: it took too long, or the process grew too much.
            BaseException: as `action`.
        """
        done: list[tuple[T | None, BaseException | None]] = []

        def work() -> None:
            CURRENT.set(self)
            try:
                done.append((action(), None))
            except BaseException as e:
                done.append((None, e))

        self.wait(lambda: not self._busy(), limit)  # one that an interrupt left behind
        self._begun, self._given_up = None, False
        self._thread = threading.Thread(target=work, name="store", daemon=True)
        self._thread.start()
        self.wait(lambda: not self._busy(), limit, seconds=math.inf)
        value, error = done[0]
        if error is not None:
            raise error
        return cast(T, value)

    def wait(self, ready: Callable[[], bool], limit: Limit, seconds: float = TURN_SECONDS) -> None:
        """Waits until `ready`, while another thread may make its calls.

        Raises:
            StoreTimeout: as of `run`.
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
                raise StoreTimeout("its answer is too large" if grown else "it timed out: it answers too slowly")

    def _abandon(self) -> None:
        """Ends the thread as soon as it executes Python again: it may be reading without end."""
        self._given_up = True
        if self._thread is not None and self._thread.ident is not None:
            ident, error = ctypes.c_ulong(self._thread.ident), ctypes.py_object(Abandoned)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, error)


CURRENT: ContextVar[StoreCalls | None] = ContextVar("calls", default=None)


@contextmanager
def calling() -> Iterator[None]:
    """Around a call to a store. It counts where `StoreCalls.run` runs it."""
    calls = CURRENT.get()
    if calls is None:
        yield
    else:
        with calls.call():
            yield


class _TimedClient:
    """A client whose calls count."""

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
    """The client, for `StoreCalls` to watch."""
    return cast("MlflowClient", _TimedClient(client))


def _resident() -> int:
    """The memory of this process in bytes; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return 0
