"""Selects part of a comparison after its results are known. All tests remain corrected for the
whole comparison.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from lenet_exp.comparison.compare import Comparison, with_leader
from lenet_exp.comparison.conditions import Condition, find_flag, parse_condition
from lenet_exp.comparison.design import Design
from lenet_exp.comparison.effects import Effects
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.leader import choose_leader
from lenet_exp.comparison.statistics.differences import Difference
from lenet_exp.comparison.statistics.multiplicity import LEVEL
from lenet_exp.comparison.studies.new_images import NewImages
from lenet_exp.errors import ConfigError

Members = Mapping[Group, Sequence[Group]]
Leads = list[Difference | None]


@dataclass(frozen=True, kw_only=True)
class PartOfComparison(Comparison):
    """A part of a comparison.

    Attributes:
        whole: the whole comparison, with the part's leader.
        members: for each group of the part, the groups that it represents: itself or, if it is the
            best group with a value of a flag, all groups with this value. A lead over all members
            is a lead over the value.
    """

    whole: Comparison
    members: Members

    @cached_property
    def test_leads(self) -> Leads:
        """The differences in test accuracy between the leader and each group."""
        return _leads_over_members(self.whole, self.members, self.whole.test_leads)

    @cached_property
    def effects(self) -> Effects:
        """No effects, because those in a part that was selected by its results would be biased."""
        return Effects(flags=[], seeds=math.nan, interactions=None)

    @cached_property
    def interactions(self) -> None:
        """None, because interactions cannot be tested in a part that was selected by its
        results.
        """

    @cached_property
    def new_images(self) -> NewImages | None:
        """Whether the leader's leads hold on new images; None if no lead was tested."""
        new_images = self.whole.new_images
        if new_images is None:
            return None

        behind_in_whole = set(new_images.behind)
        behind = []
        for group, represented in self.members.items():
            if group in behind_in_whole and behind_in_whole.issuperset(_stable(represented)):
                behind.append(group)
        return replace(new_images, behind=behind)


def select_part(
    comparisons: Sequence[Comparison], only: str | None, best_per: str | None
) -> list[Comparison]:
    """Return the parts of comparisons that match conditions, without comparisons that have no such
    configuration.

    Args:
        only: conditions, such as `optimizer.lr<0.05 and activation=relu,selu`; None for all
            configurations.
        best_per: flag of which each value is represented by its best configuration; None for all
            configurations.

    Raises:
        ConfigError: a condition or a flag is wrong, or no configuration matches.
    """
    if only is None and best_per is None:
        return list(comparisons)

    differing = [flag for comparison in comparisons for flag in comparison.flags]
    flags = list(dict.fromkeys(["dataset", *differing]))
    per_flag = find_flag("best_per", best_per, flags) if best_per is not None else None
    conditions = []
    if only is not None:
        conditions = [parse_condition(text, flags) for text in only.split(" and ")]

    parts = []
    for comparison in comparisons:
        groups = _matching(comparison.groups, conditions)
        members = _members(groups, per_flag, comparison.design)
        if members:
            parts.append(part_of(comparison, members, _description(only, per_flag)))

    if not parts:
        existing = _existing_values(comparisons, conditions)
        raise ConfigError(f"only={only}: no configuration matches; {existing}")
    return parts


def _description(only: str | None, per_flag: str | None) -> str:
    """Return the selection in words, such as `optimizer.lr<0.05; the best of each activation`."""
    words = []
    if only:
        words.append(only)
    if per_flag is not None:
        words.append(f"the best of each {per_flag}")
    return "; ".join(words)


def _matching(groups: Sequence[Group], conditions: Sequence[Condition]) -> list[Group]:
    """Return the groups that satisfy all conditions."""
    return [group for group in groups if all(condition.matches(group) for condition in conditions)]


def _members(groups: Sequence[Group], per_flag: str | None, design: Design) -> Members:
    """Return the groups of a part with the groups that they represent, best first.

    Args:
        groups: the selected groups, best first.
        per_flag: flag of which each value is represented by its best group; None if each group
            represents itself.
    """
    if per_flag is None:
        return {group: [group] for group in groups}

    groups_by_value: dict[str, list[Group]] = {}
    for group in groups:
        groups_by_value.setdefault(group.value(per_flag), []).append(group)

    represented_by: dict[Group, list[Group]] = {}
    for groups_with_value in groups_by_value.values():
        best = choose_leader(groups_with_value, design) or groups_with_value[0]
        represented_by[best] = groups_with_value
    return {group: represented_by[group] for group in groups if group in represented_by}


def _existing_values(comparisons: Sequence[Comparison], conditions: Sequence[Condition]) -> str:
    """Return the values of the flags in conditions, in words."""
    groups = [group for comparison in comparisons for group in comparison.groups]
    values_of_flag: dict[str, list[str]] = {}
    for condition in conditions:
        values = dict.fromkeys(group.value(condition.flag) for group in groups)
        values_of_flag[condition.flag] = list(values)
    return "; ".join(
        f"{flag} has the values {', '.join(values)}" for flag, values in values_of_flag.items()
    )


def part_of(comparison: Comparison, members: Members, text: str) -> Comparison:
    """Return a part of a comparison.

    If each value of a flag is represented by its best configuration, a value is ahead of another
    one if its configuration is significantly better than each configuration with the other value,
    in tests that are corrected for all pairs of configurations. In addition, the leader's value
    wins if its configuration is ahead of all configurations with other values by unmoderated tests
    at the level 5% x 2 / n, because it is the best of n configurations with its value; see
    `leader_tests.pair_tests`.

    Args:
        members: see `PartOfComparison`.
        text: description of the part.

    Raises:
        ConfigError: the comparison is a confirmation, whose tests are for its leader only.
    """
    if comparison.design.confirms is not None:
        raise ConfigError("only=, best_per=, and matrix= cannot show a part of a confirmation")
    if isinstance(comparison, PartOfComparison):
        members = _members_of_whole(comparison, members)
        comparison = comparison.whole
    if comparison.race is not None:
        return _part_of_race(comparison, members, text)

    leader = choose_leader(list(members), comparison.design)
    whole = with_leader(comparison, leader)
    leads = _leads_over_members(whole, members, whole.leads)

    represented = sum(len(groups) for groups in members.values())
    if represented < len(whole.groups):
        # Other groups could have been selected instead, so only significant leads count.
        leads = [_excluded_if_behind(lead) for lead in leads]
    elif leader is not None and _value_wins(whole, members[leader]):
        leads = [_significant(lead) for lead in leads]

    return PartOfComparison(
        dataset=whole.dataset,
        groups=list(members),
        flags=whole.flags,
        leads=leads,
        leader=whole.leader,
        design=whole.design,
        searched=None,
        part=text,
        whole=whole,
        members=members,
    )


def _part_of_race(comparison: Comparison, members: Members, text: str) -> Comparison:
    """Return rows of a race. The verdict stays that of all configurations, because no other one was
    planned.
    """
    leads_of_whole = dict(zip(comparison.groups, comparison.leads, strict=True))
    return PartOfComparison(
        dataset=comparison.dataset,
        groups=list(members),
        flags=comparison.flags,
        leads=[leads_of_whole[group] for group in members],
        leader=comparison.leader,
        design=comparison.design,
        part=text,
        race=comparison.race,
        whole=comparison,
        members=members,
    )


def _members_of_whole(part: PartOfComparison, members: Members) -> Members:
    """Return the members of a part of a part as groups of the whole comparison.

    For example, let A represent A and B, and C represent C and D. A part of this part in which A
    represents A and C is a part of the whole in which A represents all four groups.
    """
    members_of_whole = {}
    for group, represented in members.items():
        members_of_whole[group] = [
            member for representative in represented for member in part.members[representative]
        ]
    return members_of_whole


def _excluded_if_behind(lead: Difference | None) -> Difference | None:
    """Return a lead over a group that is excluded only if it is significantly behind."""
    return replace(lead, excluded=lead.ahead) if lead is not None else None


def _significant(lead: Difference | None) -> Difference | None:
    """Return a lead that is significant because the leader's value wins."""
    return replace(lead, differs=True, excluded=True) if lead is not None else None


def _value_wins(whole: Comparison, with_leaders_value: Sequence[Group]) -> bool:
    """Return whether the leader is ahead of all groups with other values.

    The leader is the best of n groups with its value, so the level of these tests is 5% x 2 / n:
    5% for one or two groups, and 2% for five groups.

    Args:
        whole: the whole comparison, with the part's leader.
        with_leaders_value: the groups that have the leader's value, including the leader.
    """
    leads = []
    for group, lead in zip(whole.groups, whole.plain_leads, strict=True):
        if lead is not None and group not in with_leaders_value:
            leads.append(lead)
    if not leads:
        return False

    level = LEVEL * 2 / max(len(_stable(with_leaders_value)), 2)
    return all(lead.points > 0 and lead.p <= level for lead in leads)


def _leads_over_members(whole: Comparison, members: Members, leads: Leads) -> Leads:
    """Return the leads over the groups of a part.

    Args:
        leads: the leads over all groups of the whole comparison.
    """
    lead_over = dict(zip(whole.groups, leads, strict=True))
    leads_of_part = []
    for group, represented in members.items():
        over_members = [lead_over[member] for member in _stable(represented)]
        leads_of_part.append(_lead_over_all(lead_over[group], over_members))
    return leads_of_part


def _lead_over_all(lead: Difference | None, over_members: Leads) -> Difference | None:
    """Return the lead over the best of several groups, which is significant only if the leads over
    all of them are.

    For example, let tanh be represented by its best group, over which the lead is 0.2 points (p =
    0.001, from 0.1 points), and let the lead over tanh's other group be 0.4 points (p = 0.02, from
    -0.1 points, not significant). The lead over tanh is 0.2 points with p = 0.02, from -0.1 points,
    and is not significant.

    Other groups that are unstable do not count, because no number of seeds would show a lead over
    them.

    Args:
        lead: the lead over the best group.
        over_members: the leads over all groups that this group represents, including itself.
    """
    if lead is None:
        return None

    leads = [lead]
    for other in over_members:
        if other is not None and not other.unstable:
            leads.append(other)

    differs = lead.differs
    if len(over_members) > 1:
        differs = None not in over_members and all(other.ahead for other in leads)
    return replace(
        lead,
        differs=differs,
        excluded=all(other.excluded for other in leads),
        p=max(other.p for other in leads),
        low=min(other.low for other in leads),
    )


def _stable(groups: Sequence[Group]) -> list[Group]:
    return [group for group in groups if group.stable]
