"""Describes how each configuration compares with the leader, for the column "vs. leader"."""

from __future__ import annotations

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.statistics.differences import Difference
from lenet_exp.comparison.verdict import Relation, has_bounds, relation_of
from lenet_exp.config.metric import Metric
from lenet_exp.reports.words.fixed_words import fixed_remark
from lenet_exp.reports.words.formatting import interval_words
from lenet_exp.reports.words.race_words import race_remark
from lenet_exp.reports.words.run_outcomes import (
    at_chance,
    collapsed,
    diverged_on,
    unfinished,
)


def remark(comparison: Comparison, position: int) -> str:
    """Describe how the configuration at a position in the ranking compares with the leader, and
    mention its unfinished runs."""
    group = comparison.groups[position]
    lead = comparison.leads[position]
    relation = relation_of(comparison, position)

    parts = []
    if comparison.race is not None:
        race = comparison.race
        parts.append(race_remark(comparison, race, group))
        parts += run_remarks(race.candidates[group].trained)
        return "; ".join(filter(None, parts))

    if comparison.is_baseline(group):
        parts.append("the baseline")
    if lead is not None and has_bounds(comparison):
        parts.append(fixed_remark(group, lead, relation))
    elif lead is not None:
        parts.append(against_leader(comparison, group, lead, relation))
    if relation is Relation.leader and len(comparison.groups) > 1:
        parts.append(_leader_remark(comparison, position))
    parts += run_remarks(group)
    return "; ".join(parts)


def run_remarks(group: Group) -> list[str]:
    """Describe the runs of a configuration that did not end as intended."""
    parts = []
    if group.diverged and group.n:
        parts.append(f"{diverged_on(group)}, ranked last")
    parts += filter(None, [at_chance(group), collapsed(group), unfinished(group)])
    return parts


def _leader_remark(comparison: Comparison, position: int) -> str:
    """Describe a leader, which need not have the best mean."""
    if position == 0:
        return "leader"
    if chosen_in_advance(comparison):
        return "leader, chosen in advance"
    return "leader of the configurations with several seeds"


def against_leader(
    comparison: Comparison, group: Group, lead: Difference, relation: Relation
) -> str:
    """Describe how a configuration compares with the leader, such as `could be the best; 0.23
    points lower`.
    """
    metric = comparison.metric
    distance = _distance(lead, metric)
    if relation is Relation.untested:
        reason = "one seed"
        if lead.n >= 2:
            reason = f"equal differences on {lead.n} seeds, not tested"
        return f"{reason}; {distance}"

    # The interval of the size, which is positive. The tests are more powerful than the intervals,
    # so that the interval of a significant difference can contain 0; it is then left out.
    low, high = (lead.low, lead.high) if lead.points >= 0 else (-lead.high, -lead.low)
    interval = "" if lead.differs and low <= 0 else interval_words(low, high, metric)
    size = metric.size(lead.points)
    if relation is Relation.behind:
        return f"behind by {size}{interval}"
    if lead.differs:
        return f"better by {size}{interval} over {lead.n} common seeds"
    if chosen_in_advance(comparison):  # then the question is not which configuration is the best
        return f"not significantly different; {distance}{interval}"
    if comparison.is_dropped(group) and not lead.excluded:
        return f"dropped by the search; {distance}"
    if relation is Relation.excluded:
        return f"not the best; {distance}"
    if relation is Relation.unstable:
        return f"unstable (sd {metric.number(group.sd)}); {distance}"
    return f"could be the best; {distance}"


def _distance(lead: Difference, metric: Metric) -> str:
    """Describe a configuration's distance from the leader: `0.23 points lower`, or `same mean`."""
    is_zero_as_printed = float(metric.number(lead.points)) == 0
    if is_zero_as_printed:
        return "same mean"
    # The difference is positive if the leader is better. If smaller values of the metric are
    # better, the values of other configurations are then higher.
    is_lower = (lead.points > 0) is metric.larger
    return f"{metric.size(lead.points)} {'lower' if is_lower else 'higher'}"


def chosen_in_advance(comparison: Comparison) -> bool:
    """Return whether the leader was chosen before these runs, as in a confirmation."""
    return comparison.design.confirms is not None
