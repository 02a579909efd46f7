"""The numbers of the line that sums a sweep up, whatever its other words are."""

from __future__ import annotations

import re

from tests.tools.commands import Done


def counts(done: Done) -> tuple[dict[str, int], int, int]:
    """How many runs came to each outcome, how many were trained, and how many had been trained before or twice."""
    ((outcomes, trained, before),) = re.findall(
        r"^\d+ runs?: (.*?); (\d+)\D*(\d+)?\D* [\d.]+ s$", done.stdout, re.MULTILINE
    )
    return {word: int(n) for n, word in re.findall(r"(\d+) ([^,]+)", outcomes)}, int(trained), int(before or 0)
