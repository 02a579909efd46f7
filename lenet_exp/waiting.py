"""The first word to who waits: imports alone take seconds."""

from __future__ import annotations

import sys


def say_waiting(what: str) -> None:
    """On a terminal, what is being waited for."""
    if sys.stderr is not None and sys.stderr.isatty():
        print(f"{what} ...", file=sys.stderr, flush=True)
