"""Chooses the leader of a comparison, and tests its lead over every other configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lenet_exp.comparison.design import Design
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.statistics.differences import Difference, against_chosen, against_fixed


def choose_leader(groups: Sequence[Group], design: Design) -> Group | None:
    """Return the leader of groups, which are sorted by their mean, best first.

    In a confirmation, this is the leader being tested. Otherwise, it is the best group that can be
    tested, that is, with two or more finished replicates and without a diverged run. If no group
    can be tested, it is the first group.

    A search adds seeds only to promising configurations, so the number of seeds differs. The best
    of the remaining groups with the most seeds leads then, if there is any. For example, A (mean
    0.99, 2 seeds, dropped) and B (0.98, 3 of 5 seeds finished) come before C (0.97, 5 seeds), but C
    is the leader.

    Returns:
        None if the leader has no finished run.
    """
    leader = tested_leader(groups, design)
    if leader is None:
        leader = _best_group(groups, design)
    if leader is None or leader.n == 0:
        return None
    return leader


def tested_leader(groups: Sequence[Group], design: Design) -> Group | None:
    """Return the leader that a confirmation tests; None for other sweeps."""
    if design.confirms is None:
        return None

    for group in groups:
        if any(run.id == design.leader for run in group.runs):
            return group
    return None


def _best_group(groups: Sequence[Group], design: Design) -> Group | None:
    """Return the group that leads outside a confirmation; None if there are no groups."""
    testable = _testable(groups)
    remaining = [group for group in testable if is_remaining(group, design)]
    if design.remaining_runs is not None:
        most_seeds = max((group.n for group in remaining), default=0)
        remaining = [group for group in remaining if group.n == most_seeds]

    candidates = remaining or testable or groups
    return candidates[0] if candidates else None


def is_remaining(group: Group, design: Design) -> bool:
    """Return whether the search kept a group; True for all groups of other sweeps."""
    if design.remaining_runs is None:
        return True
    return any(run.id in design.remaining_runs for run in group.runs)


def _testable(groups: Sequence[Group]) -> list[Group]:
    """Return the groups without diverged runs that have at least two replicates."""
    return [group for group in groups if group.stable and group.n > 1]


def leads_over(
    groups: Sequence[Group], leader: Group | None, design: Design, *, fixed: bool
) -> list[Difference | None]:
    """Return the difference between the leader and each group; see `Comparison.leads`.

    All are None if there is no leader, if one of its runs diverged, or if a filter selected the
    runs by their results.

    Args:
        fixed: whether the leader was selected before these runs, as in a confirmation.
    """
    if leader is None or design.selected_by_results:
        return [None] * len(groups)

    stable = [group for group in groups if group.stable]
    if leader not in stable:
        return [None] * len(groups)

    testable = _testable(groups)
    others = [group for group in testable if group is not leader]
    leads: dict[Group, Difference] = {}
    if leader in testable and others:
        differences = _tested_differences(leader, others, fixed=fixed)
        leads = dict(zip(others, differences, strict=True))

    for group in stable:
        if group is leader or group in leads:
            continue
        # One of the two has a single run, so there is no test.
        points = leader.metric.sign * (leader.mean - group.mean)
        leads[group] = Difference(points, 1)
    return [leads.get(group) for group in groups]


def _tested_differences(leader: Group, others: Sequence[Group], *, fixed: bool) -> list[Difference]:
    """Test the leader against other groups, all with at least two replicates."""
    scores = [group.scores for group in others]
    if fixed:
        differences = against_fixed(leader.scores, scores)
    else:
        images = images_per_accuracy([leader, *others])
        differences = against_chosen(leader.scores, scores, images)

    if not leader.metric.is_accuracy:
        return differences
    # Accuracies are from 0 to 1, so their difference is from -1 to 1.
    return [
        replace(difference, low=max(difference.low, -1.0), high=min(difference.high, 1.0))
        for difference in differences
    ]


def images_per_accuracy(groups: Sequence[Group]) -> int | None:
    """Return the number of images from which each accuracy was computed.

    None if it differs between groups, is unknown, or the accuracies are test accuracies, because
    `Group.images` counts validation images.
    """
    if any(group.on_test for group in groups):
        return None
    images = {group.images for group in groups}
    return images.pop() if len(images) == 1 else None
