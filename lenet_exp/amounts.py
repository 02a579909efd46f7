"""Formatting of counts, lists, byte sizes, and durations."""

from __future__ import annotations

import math
from collections.abc import Sequence


def megabytes(count: int) -> str:
    """Format a number of bytes in megabytes (10^6 bytes), with fewer decimals for larger sizes:
    `0.02`, `10,240`.
    """
    value = count / 1e6
    # The limits are those above which rounding would add a digit: 9.996 is `10.0`, not `10.00`.
    if value < 9.995:
        return f"{value:.2f}"
    if value < 99.95:
        return f"{value:.1f}"
    return f"{value:,.0f}"


def number_of(count: int, noun: str) -> str:
    """Format a count with its noun: `1 run`, `2 runs`."""
    ending = "" if count == 1 else "s"
    return f"{count:,} {noun}{ending}"


def first_of(names: Sequence[str], most: int, separator: str = ", ") -> str:
    """List the first names, and count the others: `tanh, elu, relu, and 4 more`."""
    listed = list(names[:most])
    if len(names) > most:
        listed.append(f"and {len(names) - most} more")
    return separator.join(listed)


def duration(seconds: float) -> str:
    """Format a duration in seconds with a suitable unit: `45 s`, `12 min`, `2.5 h`, `3.1 days`."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86_400:.1f} days"
