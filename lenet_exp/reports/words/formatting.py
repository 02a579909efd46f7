"""Formats p-values, differences, and intervals, and capitalizes sentences."""

from __future__ import annotations

import math

from lenet_exp.comparison.statistics.differences import WIDEST
from lenet_exp.config.metric import Metric

ACCURACY = Metric()


def p_words(p: float) -> str:
    """Format a p-value: `p < 0.001`, or `p = 0.012`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def points_words(points: float) -> str:
    """Format a difference in percentage points: `0.2 points`, or `1 point`."""
    number = f"{points:g}"
    return f"{number} point" if number == "1" else f"{number} points"


def interval_words(low: float, high: float, metric: Metric = ACCURACY) -> str:
    """Format the interval of a difference: ` (0.38 to 1.62)`; empty if the interval is too wide to
    say anything.
    """
    too_wide = metric.is_accuracy and high - low > WIDEST
    if math.isnan(low) or too_wide:
        return ""
    return f" ({metric.number(low)} to {metric.number(high)})"


def capital(sentence: str) -> str:
    """Return a sentence with its first letter capitalized."""
    return sentence[:1].upper() + sentence[1:]
