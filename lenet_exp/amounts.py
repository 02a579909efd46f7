"""Format counts and byte sizes."""

from __future__ import annotations


def megabytes(count: int) -> str:
    """Format bytes as megabytes (10^6) with three digits: `0.02`, `12.3`, `10,240`."""
    value = count / 1e6
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"


def number_of(count: int, what: str) -> str:
    """Format a count with its noun: `1 run`, `2 runs`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
