"""The first word to who waits: imports alone take seconds."""

from __future__ import annotations

import sys


def say_at_work(what: str) -> None:
    """Print to stderr what takes a while, even without a terminal."""
    if sys.stderr is not None:
        print(f"{what} ...", file=sys.stderr, flush=True)


def say_waiting(what: str) -> None:
    """Print what takes a while if stderr is a terminal."""
    if sys.stderr is not None and sys.stderr.isatty():
        say_at_work(what)
