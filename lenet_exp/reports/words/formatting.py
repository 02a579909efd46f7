"""Formats p-values, differences, and intervals, and capitalizes sentences."""

from __future__ import annotations

import math

from lenet_exp.comparison.statistics.differences import WIDE
from lenet_exp.config.metric import Metric

ACCURACY = Metric()


def p_words(p: float) -> str:
    """Format a p-value: `p < 0.001`, or `p = 0.012`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def points_words(points: float) -> str:
    """Format a difference in percentage points: `0.2 points`."""
    return f"{points:g} point" if f"{points:g}" == "1" else f"{points:g} points"


def interval_words(low: float, high: float, metric: Metric = ACCURACY) -> str:
    """Format the interval of a difference: ` (0.38 to 1.62)`; empty if the interval is too wide to
    say anything.
    """
    wide = math.isnan(low) or (metric.is_accuracy and high - low > WIDE)
    return "" if wide else f" ({metric.number(low)} to {metric.number(high)})"


def capital(sentence: str) -> str:
    """Return a sentence with its first letter capitalized."""
    return sentence[:1].upper() + sentence[1:]
