"""Describes how each configuration compares with the leader, for the column "vs. leader" of tables."""

from __future__ import annotations

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.statistics.differences import Difference
from lenet_exp.comparison.verdict import Relation, relation_of
from lenet_exp.reports.words.formatting import interval_words
from lenet_exp.reports.words.run_outcomes import (
    at_chance,
    collapsed,
    diverged_on,
    unfinished,
)


def remark(comparison: Comparison, position: int) -> str:
    """Describe how the configuration at a position in the ranking compares with the leader, and
    mention its unfinished runs."""
    group, lead = comparison.groups[position], comparison.leads[position]
    relation = relation_of(comparison, position)
    said = ["the baseline"] if comparison.is_baseline(group) else []
    said += [against_leader(comparison, group, lead, relation)] if lead else []
    if relation is Relation.leader and len(comparison.groups) > 1:
        several = "leader of the configurations with several seeds" if position else "leader"
        said.append(
            "leader, chosen in advance" if position and chosen_in_advance(comparison) else several
        )
    if group.diverged and group.n:
        said.append(f"{diverged_on(group)}, ranked last")
    return "; ".join(
        [*said, *filter(None, [at_chance(group), collapsed(group), unfinished(group)])]
    )


def against_leader(
    comparison: Comparison, group: Group, lead: Difference, relation: Relation
) -> str:
    """Describe how a configuration compares with the leader, such as `could be the best; 0.23
    points lower`.
    """
    metric = comparison.metric
    side = "lower" if (lead.points > 0) is metric.larger else "higher"
    lower = (
        f"{metric.size(lead.points)} {side}" if float(metric.number(lead.points)) else "same mean"
    )
    if relation is Relation.untested:
        why = "one seed" if lead.n < 2 else f"equal differences on {lead.n} seeds, not tested"
        return f"{why}; {lower}"
    ends = (lead.low, lead.high) if lead.points >= 0 else (-lead.high, -lead.low)
    interval = interval_words(*ends, metric=metric)
    if relation is Relation.behind:
        return f"behind by {metric.size(lead.points)}{interval}"
    if lead.differs:
        return f"better by {metric.size(lead.points)}{interval} over {lead.n} common seeds"
    if chosen_in_advance(
        comparison
    ):  # the leader was chosen in advance, so the question is not which one is the best
        return f"not significantly different; {lower}{interval}"
    if comparison.is_dropped(group) and not lead.excluded:
        return f"dropped by the search; {lower}"
    label = {
        Relation.excluded: "not the best",
        Relation.unstable: f"unstable (sd {metric.number(group.sd)})",
    }
    return f"{label.get(relation, 'could be the best')}; {lower}"


def chosen_in_advance(comparison: Comparison) -> bool:
    """Return whether the leader was chosen before these runs, as in a confirmation."""
    return comparison.design.confirms is not None
