"""Describes the result of a confirmation in sentences."""

from __future__ import annotations

import math

from lenet_exp.amounts import number_of
from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.confirmation_result import ConfirmationResult
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.statistics.differences import Difference
from lenet_exp.reports.words.formatting import ACCURACY, interval_words, points_words
from lenet_exp.reports.words.names import NAMED
from lenet_exp.reports.words.scope import elsewhere


def confirmation_answer(comparison: Comparison, tested: ConfirmationResult) -> str:
    """Describe the result of a confirmation and the reason for it, or the runs that are still
    missing.

    For example: `Confirmed on 20 new seeds: selu is better than relu by 0.43 points (0.21 to
    0.65).`
    """
    leader = tested.leader
    name = comparison.name(leader)
    if tested.missing:
        missing = f"missing runs: {tested.missing} of {comparison.num_runs}"
        return f"The test of {name} is not complete ({missing})."

    seeds = f"{leader.replicates} new seeds"
    if leader.diverged:
        return f"Not confirmed: {name} diverged on {leader.diverged} of {seeds}."

    not_beaten = [(group, lead) for group, lead in tested.leads if not lead.ahead]
    beaten = [(group, lead) for group, lead in tested.leads if lead.ahead]
    beaten.sort(key=lambda pair: pair[1].points)  # smallest lead first

    parts = []
    differences = _differences(comparison, tested, not_beaten, beaten)
    if differences:
        parts.append(f"{name} is {'; '.join(differences)}")
    for group in tested.unsteady:
        parts.append(f"{comparison.name(group)} diverged on {group.diverged} of them")

    answer = "Confirmed" if tested.confirmed else "Not confirmed"
    where = elsewhere(comparison, [group for group, _ in beaten]) if beaten else ""
    if not parts:
        return f"{answer} on {seeds}{where}."
    return f"{answer} on {seeds}: {'; '.join(parts)}{where}."


def _differences(
    comparison: Comparison,
    tested: ConfirmationResult,
    not_beaten: list[tuple[Group, Difference]],
    beaten: list[tuple[Group, Difference]],
) -> list[str]:
    """Describe how the leader compares with the others: all that it did not beat, and the closest
    of those that it beat.
    """
    differences = []
    for group, lead in [*not_beaten, *beaten[:NAMED]]:
        name = comparison.name(group)
        if comparison.design.has_baseline:
            name = f"the baseline {name}"
        differences.append(_difference(name, lead, tested.points))

    num_others = len(beaten) - NAMED
    if num_others > 0:
        others = number_of(num_others, "other configuration")
        differences.append(f"better than {others} by larger margins")
    return differences


def _difference(other: str, lead: Difference, points_to_detect: float) -> str:
    """Describe how the leader compares with another configuration.

    For example: `better than relu by 0.43 points (0.21 to 0.65)`, or `not significantly different
    from tanh: 0.01 points above it (0.05 below to 0.07 above), less than the 0.2 points tested
    for`.

    Args:
        points_to_detect: the lead that the confirmation was designed to detect, as a fraction.
    """
    size = ACCURACY.size(lead.points)
    if math.isnan(lead.low):
        side = "above" if lead.points > 0 else "below"
        why_untested = "because the difference is the same on all seeds"
        return f"{size} {side} {other}, not tested, {why_untested}"

    # The interval of the size, which is positive.
    low, high = (lead.low, lead.high) if lead.points > 0 else (-lead.high, -lead.low)
    if lead.differs:
        direction = "better" if lead.ahead else "worse"
        return f"{direction} than {other} by {size}{interval_words(low, high)}"

    side, other_side = ("below", "above") if lead.points < 0 else ("above", "below")
    interval = f"({ACCURACY.number(-low)} {other_side} to {ACCURACY.number(high)} {side})"
    text = f"not significantly different from {other}: {size} {side} it {interval}"
    if max(abs(low), abs(high)) < points_to_detect:
        text += f", less than the {points_words(points_to_detect * 100)} tested for"
    return text
