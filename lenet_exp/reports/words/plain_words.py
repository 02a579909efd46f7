"""Describes a comparison without terms of statistics, for a class."""

from __future__ import annotations

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.verdict import Relation, could_be_best, verdict_of
from lenet_exp.reports.words.names import names
from lenet_exp.reports.words.phrases import caution, verdict

LONGEST, SHORTEST = 40, 4  # number of characters of the bars with the largest and the smallest value


def plain_lines(comparison: Comparison) -> list[str]:
    """Return a line with a bar for each configuration, and sentences about which of them is better."""
    metric, leader, design = comparison.metric, comparison.leader, comparison.design
    behind_another = any(lead is not None and lead.points < 0 for lead in comparison.leads)
    tested = design.confirms is not None and behind_another  # the tested leader is not the best
    if leader is None or design.picked or tested:
        return [verdict(comparison)]
    shown = [(comparison.name(group), group.mean) for group in comparison.groups if group.n]
    means, width = [mean for _, mean in shown], max(len(name) for name, _ in shown)
    low, high = min(means), max(means)
    lines = [f"{comparison.dataset}: {metric.name} on images that no run trained on; bars do not start at 0"]
    for name, mean in shown:
        share = (mean - low) / (high - low) if high > low else 1.0
        bar = "#" * round(SHORTEST + (LONGEST - SHORTEST) * share)
        lines.append(f"  {name:<{width}}  {metric.text(mean):>8}  {bar}")
    reached = metric.text(leader.mean) + (f", the average of {leader.n} runs" if leader.n > 1 else " in a single run")
    found = verdict_of(comparison)
    single = any(group.n == 1 and metric.sign * (group.mean - leader.mean) > 0 for group in comparison.groups)
    lines.append(f"{comparison.name(leader)} leads{' those with several runs' * single}: {reached}.")
    if behind := found.related(Relation.behind):
        rarely = "luck alone would rarely show that"
        if caution(design, comparison.by) is not None:
            rarely = "but what was trained may have been chosen after results were seen, so it could be luck"
        lines.append(f"It is better than {names(comparison, behind)}; {rarely}.")
    if rest := [group for group in could_be_best(comparison) if group is not leader]:
        lines.append(f"Whether it is better than {names(comparison, rest)} is open: train more runs, with other seeds.")
    if lost := [group for group in comparison.groups if group.diverged]:
        lines.append(f"In some runs of {names(comparison, lost)}, training broke down: the loss grew without end.")
    return lines if found.complete else [*lines, "Some runs are still missing."]
