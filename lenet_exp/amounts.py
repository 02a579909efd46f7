"""Formatting of counts, lists, byte sizes, and durations."""

from __future__ import annotations

import math
from collections.abc import Sequence


def megabytes(count: int) -> str:
    """Format a number of bytes in megabytes (10^6 bytes), with fewer decimals for larger sizes:
    `0.02`, `10,240`.
    """
    value = count / 1e6
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"


def number_of(count: int, what: str) -> str:
    """Format a count with its noun: `1 run`, `2 runs`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def first_of(names: Sequence[str], most: int, separator: str = ", ") -> str:
    """List the first names, and count the others: `tanh, elu, relu, and 4 more`."""
    more = [f"and {len(names) - most} more"] if len(names) > most else []
    return separator.join([*names[:most], *more])


def duration(seconds: float) -> str:
    """Format a duration in seconds with a suitable unit: `45 s`, `12 min`, `2.5 h`, `3.1 days`."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
