"""The sentences about the best configuration that the verdicts of races and of sweeps with a fixed
number of seeds have in common.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.statistics.multiplicity import LEVEL
from lenet_exp.config.metric import Metric
from lenet_exp.reports.words.formatting import points_words
from lenet_exp.reports.words.names import NAMED

ERROR_RATE = f"error rate {LEVEL:.0%}"


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A configuration that could be better than the leader.

    Attributes:
        group: the configuration.
        bound: upper bound of how much better it is, as a fraction if the metric is in percent; at
            least 0, and infinite if it is unknown.
    """

    group: Group
    bound: float


def reached(group: Group) -> str:
    """Format the mean of a configuration: `99.07% (sd 0.42, n = 16)`."""
    metric = group.metric
    return f"{metric.text(group.mean)} (sd {metric.number(group.sd)}, n = {group.n})"


def claim(which: str, bound: float, metric: Metric) -> str:
    """Say how far the best configuration could be above the leader.

    Args:
        which: the configurations that the claim is about, such as `the 18`.
        bound: largest bound of a rival.
        metric: metric by which the configurations are compared.
    """
    if math.isinf(bound):
        return f"The best of {which} is not known."
    if bound <= 0:
        return f"No other one of {which} is better ({ERROR_RATE})."
    return f"The best of {which} is this one, or is at most {better(bound, metric)} ({ERROR_RATE})."


def rival_sentences(comparison: Comparison, rivals: Sequence[Rival], num_worse: int) -> list[str]:
    """Say which configuration is the best if the leader is not.

    Args:
        rivals: the configurations that could be better, those with the largest bounds first.
        num_worse: number of configurations that are not the best.
    """
    if not rivals:
        return []

    listed = []
    for rival in rivals[:NAMED]:
        listed.append(f"{comparison.name(rival.group)} ({at_most(rival.bound, comparison.metric)})")
    others = rivals[NAMED:]
    if others:
        count = "one other" if len(others) == 1 else f"one of {len(others)} others"
        listed.append(f"{count} ({at_most(others[0].bound, comparison.metric)})")
    alternatives = f"If it is not the best, the best is {_alternatives(listed)}."
    return [alternatives, *worse_sentences(num_worse)]


def worse_sentences(num_worse: int) -> list[str]:
    """Return a sentence about the remaining configurations, which are not the best, if any."""
    if num_worse == 0:
        return []
    if num_worse == 1:
        return ["The other one is not the best."]
    return [f"The other {num_worse} are not the best."]


def at_most(bound: float, metric: Metric) -> str:
    """Format the bound of a configuration: `at most 0.31 points better`."""
    if math.isinf(bound):
        return "equal differences on all seeds, so no limit is known"
    if bound <= 0:
        return "at most equally good"
    return f"at most {better(bound, metric)}"


def better(bound: float, metric: Metric) -> str:
    """Format how much better a configuration could be: `0.31 points better`, or `0.02 lower` for a
    metric of which smaller values are better.
    """
    return f"{bound_size(bound, metric)} {'better' if metric.larger else 'lower'}"


def bound_size(bound: float, metric: Metric) -> str:
    """Format a positive upper bound, rounded up: `0.31 points`."""
    if metric.percent:
        # without the rounding error of 0.005 * 10000
        hundredths = math.ceil(round(bound * 1e4, 6))
        return points_words(hundredths / 100)
    digits = 3 - math.floor(math.log10(bound))
    return f"{math.ceil(round(bound * 10**digits, 6)) / 10**digits:g}"


def distance_words(lead: float, metric: Metric) -> str:
    """Describe a configuration's distance from the leader: `0.27 lower`, or `same mean`.

    Args:
        lead: lead of the leader; positive if the leader is better.
        metric: metric by which the configurations are compared.
    """
    if float(metric.number(lead)) == 0:
        return "same mean"
    is_lower = (lead > 0) is metric.larger
    return f"{metric.number(abs(lead))} {'lower' if is_lower else 'higher'}"


def _alternatives(listed: Sequence[str]) -> str:
    """Join alternatives: `a`, `a or b`, `a, b, or c`."""
    if len(listed) < 3:
        return " or ".join(listed)
    *first, last = listed
    return f"{', '.join(first)}, or {last}"
