"""Describes the result of a confirmation in sentences."""

from __future__ import annotations

import math

from lenet_exp.amounts import number_of
from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.confirm import Confirmation
from lenet_exp.comparison.statistics.differences import Difference
from lenet_exp.reports.words.formatting import ACCURACY, interval_words, points_words
from lenet_exp.reports.words.names import NAMED
from lenet_exp.reports.words.scope import elsewhere


def confirmation_answer(comparison: Comparison, found: Confirmation) -> str:
    """Describe the result of a confirmation and the reason for it, or the runs that are still
    missing.
    """
    name, runs = comparison.name(found.leader), comparison.num_runs
    baseline = "the baseline " if comparison.design.against else ""
    if found.missing:
        return f"The test of {name} is not complete (missing runs: {found.missing} of {runs})."
    seeds = f"{found.leader.replicates} new seeds"
    if found.leader.diverged:
        return f"Not confirmed: {name} diverged on {found.leader.diverged} of {seeds}."
    not_beaten = [(group, lead) for group, lead in found.leads if not lead.ahead]
    beaten = [(group, lead) for group, lead in found.leads if lead.ahead]
    beaten.sort(key=lambda pair: pair[1].points)
    named = [*not_beaten, *beaten[:NAMED]]
    against = [_against(f"{baseline}{comparison.name(g)}", lead, found.points) for g, lead in named]
    more = len(beaten) - NAMED
    against += (
        [f"better than {number_of(more, 'other configuration')} by larger margins"]
        if more > 0
        else []
    )
    parts = [f"{name} is {'; '.join(against)}"] if against else []
    parts += [f"{comparison.name(g)} diverged on {g.diverged} of them" for g in found.unsteady]
    answer = f"{'Confirmed' if found.confirmed else 'Not confirmed'} on {seeds}"
    where = elsewhere(comparison, [group for group, _ in beaten]) if beaten else ""
    return f"{': '.join(filter(None, [answer, '; '.join(parts)]))}{where}."


def _against(other: str, lead: Difference, looked_for: float) -> str:
    by, side = ACCURACY.size(lead.points), "above" if lead.points > 0 else "below"
    if math.isnan(lead.low):
        return f"{by} {side} {other}, not tested, because the difference is the same on all seeds"
    low, high = (lead.low, lead.high) if lead.points > 0 else (-lead.high, -lead.low)
    if lead.differs:
        return (
            f"{'better' if lead.ahead else 'worse'} than {other} by {by}{interval_words(low, high)}"
        )
    small = max(abs(low), abs(high)) < looked_for
    less = f", less than the {points_words(looked_for * 100)} tested for" if small else ""
    side, other_side = ("below", "above") if lead.points < 0 else ("above", "below")
    interval = f"({ACCURACY.number(-low)} {other_side} to {ACCURACY.number(high)} {side})"
    return f"not significantly different from {other}: {by} {side} it {interval}{less}"
