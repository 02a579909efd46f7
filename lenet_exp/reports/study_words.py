"""Describes the studies of a comparison in sentences, which all reports use."""

from __future__ import annotations

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.studies.numeric import NumericFlag, numeric_flags
from lenet_exp.config.names import rounded


def numeric_lines(comparison: Comparison) -> list[str]:
    """Return a line for each numeric flag: its best value, and the values that are not significantly worse."""
    return [_numeric(found) for found in numeric_flags(comparison) if found.not_worse or found.worse]


def _numeric(found: NumericFlag) -> str:
    best = f"{found.flag}: best at {rounded(found.best)}"
    if not found.not_worse:
        return f"{best}; significantly worse: {_listed(found.worse)}"
    return f"{best}; not significantly worse: {_listed(found.not_worse)}"


def _listed(values: tuple[str, ...]) -> str:
    return ", ".join(map(rounded, values))
