"""The first word to who waits: imports alone take seconds."""

from __future__ import annotations

import sys


def say_at_work(what: str) -> None:
    """What takes a while now, also where there is no terminal; on stderr, since stdout may be read by a program."""
    if sys.stderr is not None:
        print(f"{what} ...", file=sys.stderr, flush=True)


def say_waiting(what: str) -> None:
    """The same on a terminal alone, before anything is checked: elsewhere what is wrong is one line."""
    if sys.stderr is not None and sys.stderr.isatty():
        say_at_work(what)
