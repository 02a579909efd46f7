"""Read the numbers in the summary line of a sweep, independent of its wording."""

from __future__ import annotations

import re

from tests.tools.commands import Done


def counts(done: Done) -> tuple[dict[str, int], int, int]:
    """Return the number of runs by outcome, of trained runs, and of reused or duplicate runs."""
    ((outcomes, trained, before),) = re.findall(
        r"^\d+ runs?: (.*?); (\d+)\D*(\d+)?\D* [\d.]+ s$", done.stdout, re.MULTILINE
    )
    return (
        {word: int(n) for n, word in re.findall(r"(\d+) ([^,]+)", outcomes)},
        int(trained),
        int(before or 0),
    )
