"""Numbers of things and bytes, as lenet-sweep prints them."""

from __future__ import annotations


def megabytes(count: int) -> str:
    """Of 10^6 bytes; three digits at least of what is small."""
    value = count / 1e6
    return f"{value:,.1f}" if value >= 100 else f"{value:.2f}"


def number_of(count: int, what: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
