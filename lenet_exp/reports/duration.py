"""How long something takes, as a person says it."""

from __future__ import annotations

import math


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `2.5 h`, `3.1 days`."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
