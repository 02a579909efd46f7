"""Status lines for slow steps, such as imports that take several seconds."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self, TypeVar

from lenet_exp.stopping import raise_discarded

FIRST_SECONDS = 5.0  # delay before the first line
LINE_SECONDS = 30.0  # interval between lines

T = TypeVar("T")


def print_status(what: str) -> None:
    """Print a status line to stderr, even if stderr is not a terminal.

    Args:
        what: description of the current step, without the trailing dots.
    """
    print(f"{what} ...", file=sys.stderr, flush=True)


def print_waiting(what: str) -> None:
    """Print a status line to stderr if stderr is a terminal.

    Args:
        what: description of the current step, without the trailing dots.
    """
    if sys.stderr is not None and sys.stderr.isatty():
        print_status(what)


class Counting:
    """A slow step that counts. The count is printed to stderr, first after 5 s and then every 30 s.

    Args:
        what: description of the step, such as `uploading runs`.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._due = time.monotonic() + FIRST_SECONDS

    def show(self, count: int, of: str) -> None:
        """Print the count if it is time.

        Args:
            of: the number that the count will reach, such as `60 runs`.
        """
        raise_discarded()
        if time.monotonic() > self._due:
            print_status(f"{self._what}: {count} of {of}")
            self._due = time.monotonic() + LINE_SECONDS


def with_progress(what: str, items: Sequence[T]) -> Iterator[T]:
    """Yield items, and print the progress to stderr, as `Counting` does.

    Args:
        what: description of the step, such as `uploading runs`.
    """
    counting = Counting(what)
    for n, item in enumerate(items):
        counting.show(n, str(len(items)))
        yield item


_UNFINISHED: list[
    threading.Event
] = []  # one for each `with` block of a step that has begun, the innermost last


class SlowStep:
    """A step that may never end, such as a check of the user's own code. After 5 s, a line on
    stderr names it.

    A step can contain itself or other steps. If several are slow, the line names the innermost one.

    Args:
        what: description of the step, such as `checking model=mine`.
    """

    def __init__(self, what: str) -> None:
        self._line = f"{what} ({FIRST_SECONDS:g} s so far; press Ctrl-C to stop)"
        self._ends: list[
            threading.Event
        ] = []  # one for each `with` block that has begun, the innermost last

    def __enter__(self) -> Self:
        ended = threading.Event()
        self._ends.append(ended)
        _UNFINISHED.append(ended)
        watch = threading.Thread(
            target=self._watch, args=[ended], name="lenet_exp slow step", daemon=True
        )
        watch.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        ended = self._ends.pop()
        _UNFINISHED.remove(ended)
        ended.set()

    def end(self) -> None:
        """End the step before the end of its `with` blocks, if it has begun."""
        for ended in self._ends:
            ended.set()

    def _watch(self, ended: threading.Event) -> None:
        if not ended.wait(FIRST_SECONDS) and _UNFINISHED[-1:] == [ended]:
            print_status(self._line)


# from the start of a command until its work begins
READING_OPTIONS = SlowStep("reading option files")
