"""Selects part of a comparison after its results are known. All tests remain corrected for the
whole comparison.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

from lenet_exp.comparison.compare import Comparison, with_leader
from lenet_exp.comparison.effects import Effects, number
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.leader import choose_leader
from lenet_exp.comparison.multiplicity import LEVEL
from lenet_exp.comparison.statistics import Difference
from lenet_exp.comparison.studies.new_images import NewImages
from lenet_exp.errors import ConfigError, one_of

CONDITION = re.compile(r"\s*([\w.]+)\s*(<=|>=|!=|<|>|=)\s*(.*\S)\s*")
COMMA = re.compile(r",(?![^\[]*\])")  # outside of lists
ORDER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
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
        return _of_part(self.whole, self.members, self.whole.test_leads)

    @cached_property
    def effects(self) -> Effects:
        """No effects, because those in a part that was selected by its results would be biased."""
        return Effects(flags=[], seeds=math.nan, interactions=None)

    @cached_property
    def interactions(self) -> None:
        """None, because interactions cannot be tested in a part that was selected by its results."""

    @cached_property
    def new_images(self) -> NewImages | None:
        """Whether the leader's leads hold on new images; None if no lead was tested."""
        if (its := self.whole.new_images) is None:
            return None
        behind = set(its.behind)
        shown = [
            g
            for g, members in self.members.items()
            if g in behind and behind.issuperset(_judged(members))
        ]
        return replace(its, behind=shown)


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
    flags = list(
        dict.fromkeys(
            ["dataset", *(flag for comparison in comparisons for flag in comparison.flags)]
        )
    )
    per = None if best_per is None else flag_named("best_per", best_per, flags)
    conditions = [] if only is None else [_condition(text, flags) for text in only.split(" and ")]
    words = [only, f"the best of each {per}" if per is not None else None]
    found = []
    for comparison in comparisons:
        groups = [
            g
            for g in comparison.groups
            if all(_matches(g.value(flag), *rest) for flag, *rest in conditions)
        ]
        by_value: dict[Group | str, list[Group]] = {}
        for group in groups:
            by_value.setdefault(group if per is None else group.value(per), []).append(group)
        members = {
            choose_leader(its, comparison.design) or its[0]: its for its in by_value.values()
        }
        members = {
            group: members[group] for group in groups if group in members
        }  # the best one first
        if members:
            found.append(part_of(comparison, members, "; ".join(filter(None, words))))
    if not found:
        values = {
            flag: dict.fromkeys(g.value(flag) for c in comparisons for g in c.groups)
            for flag, *_ in conditions
        }
        known = "; ".join(f"{flag} has the values {', '.join(its)}" for flag, its in values.items())
        raise ConfigError(f"only={only}: no configuration matches; {known}")
    return found


def part_of(comparison: Comparison, members: Members, text: str) -> Comparison:
    """Return a part of a comparison.

    If each value of a flag is represented by its best configuration, a value is ahead of another
    one if its configuration is significantly better than each configuration with the other value,
    in tests that are corrected for all pairs of configurations. In addition, the leader's value
    wins if its configuration is ahead of all configurations with other values by unmoderated tests
    at the level 5% x 2 / n, because it is the best of n configurations with its value; see
    `statistics.pair_tests`.

    Args:
        members: see `PartOfComparison`.
        text: description of the part.

    Raises:
        ConfigError: the comparison is a confirmation, whose tests are for its leader only.
    """
    if comparison.design.confirms is not None:
        raise ConfigError("only=, best_per=, and matrix= cannot show a part of a confirmation")
    if isinstance(comparison, PartOfComparison):
        members = {
            group: [g for its in all_of for g in comparison.members[its]]
            for group, all_of in members.items()
        }
        comparison = comparison.whole
    leader = choose_leader(list(members), comparison.design)
    whole = with_leader(comparison, leader)
    leads = _of_part(whole, members, whole.leads)
    if sum(map(len, members.values())) < len(
        whole.groups
    ):  # others could have been selected instead
        leads = [replace(lead, excluded=lead.ahead) if lead is not None else None for lead in leads]
    elif leader is not None and _wins(whole, members[leader]):
        leads = [
            replace(lead, differs=True, excluded=True) if lead is not None else None
            for lead in leads
        ]
    kept = {f.name: getattr(whole, f.name) for f in fields(Comparison)}
    kept |= {"groups": list(members), "leads": leads, "searched": None, "part": text}
    return PartOfComparison(**kept, whole=whole, members=members)


def _wins(whole: Comparison, own: Sequence[Group]) -> bool:
    """Return whether the leader, the best of the groups with its value, is ahead of all groups with
    other values.
    """
    leads = [
        lead
        for g, lead in zip(whole.groups, whole.plain_leads, strict=True)
        if lead is not None and g not in own
    ]
    level = LEVEL * 2 / max(len(_judged(own)), 2)
    return bool(leads) and all(lead.points > 0 and lead.p <= level for lead in leads)


def _of_part(whole: Comparison, members: Members, leads: Leads) -> Leads:
    """Return the leads over the groups of a part, given those over all groups of the whole
    comparison.
    """
    by_group = dict(zip(whole.groups, leads, strict=True))
    return [
        _over_all(by_group[group], [by_group[g] for g in _judged(its)])
        for group, its in members.items()
    ]


def _over_all(lead: Difference | None, over: Leads) -> Difference | None:
    """Return the lead over the best of several groups, which is significant only if the leads over
    all of them are.

    Other groups that are unstable do not count, because no number of seeds would show a lead over
    them.
    """
    if lead is None:
        return None
    known = [lead, *(its for its in over if its is not None and not its.unstable)]
    ahead = None not in over and all(its.ahead for its in known)
    excluded = all(its.excluded for its in known)
    p, low = max(its.p for its in known), min(its.low for its in known)
    return replace(
        lead, differs=ahead if len(over) > 1 else lead.differs, excluded=excluded, p=p, low=low
    )


def _judged(groups: Sequence[Group]) -> list[Group]:
    return [group for group in groups if group.stable]


def flag_named(key: str, name: str, flags: Sequence[str]) -> str:
    """Return the flag with a name, of which the last part is enough; `key` is the argument that
    contains the name.
    """
    return next(
        (flag for flag in flags if flag == name or flag.endswith(f".{name}")), None
    ) or one_of(key, name, flags)


def _condition(text: str, flags: Sequence[str]) -> tuple[str, str, str]:
    """Return the flag, the sign, and the value of a condition."""
    found = CONDITION.fullmatch(text)
    if found is None:
        raise ConfigError(
            f"only={text}: must be conditions such as 'optimizer.lr<0.05 and activation=relu,selu'"
        )
    name, sign, value = found.groups()
    if sign in ORDER and number(value) is None:
        raise ConfigError(f"only={text}: '{value}' must be a number")
    return flag_named("only", name, flags), sign, value


def _matches(value: str, sign: str, wanted: str) -> bool:
    if sign in ORDER:
        size, limit = number(value), number(wanted)
        return size is not None and limit is not None and bool(ORDER[sign](size, limit))
    given, *alternatives = (text.replace(" ", "").lower() for text in [value, *COMMA.split(wanted)])
    same = given in alternatives or (
        number(given) is not None and number(given) in map(number, alternatives)
    )
    return same is (sign == "=")
