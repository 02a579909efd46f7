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
    for number, item in enumerate(items):
        counting.show(number, str(len(items)))
        yield item


# One event for each `with` block of a step that has begun, the innermost last.
_unfinished: list[threading.Event] = []


class SlowStep:
    """A step that may never end, such as a check of the user's own code. After 5 s, a line on
    stderr names it.

    A step can contain itself or other steps. If several are slow, the line names the innermost one.

    Args:
        what: description of the step, such as `checking model=mine`.
    """

    def __init__(self, what: str) -> None:
        self._line = f"{what} ({FIRST_SECONDS:g} s so far; press Ctrl-C to stop)"
        # One event for each `with` block that has begun, the innermost last.
        self._ends: list[threading.Event] = []

    def __enter__(self) -> Self:
        end = threading.Event()
        self._ends.append(end)
        _unfinished.append(end)
        threading.Thread(
            target=self._watch, args=[end], name="lenet_exp slow step", daemon=True
        ).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        end = self._ends.pop()
        _unfinished.remove(end)
        end.set()

    def end(self) -> None:
        """End the step before the end of its `with` blocks, if it has begun."""
        for end in self._ends:
            end.set()

    def _watch(self, end: threading.Event) -> None:
        """Print the line if a `with` block lasts long and contains no other unfinished step."""
        is_ended = end.wait(FIRST_SECONDS)
        if not is_ended and _unfinished[-1:] == [end]:
            print_status(self._line)


# From the start of a command until its work begins.
READING_OPTIONS = SlowStep("reading option files")
