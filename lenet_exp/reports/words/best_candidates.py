"""Describes which configurations could be the best, and which ones are unstable."""

from __future__ import annotations

from lenet_exp.amounts import number_of
from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.statistics.differences import UNSTABLE
from lenet_exp.comparison.verdict import Relation, could_be_best, verdict_of
from lenet_exp.reports.words.names import names
from lenet_exp.reports.words.remarks import chosen_in_advance


def best_lines(comparison: Comparison) -> list[str]:
    """Return sentences about the configurations that could be the best, and about unstable ones.

    Return an empty list if all others are behind the leader, or if significance could not be
    tested.
    """
    found = verdict_of(comparison)
    steady = [
        group
        for group in could_be_best(comparison)
        if group is comparison.leader or group in found.tested_groups
    ]
    unstable = found.related(Relation.unstable)
    alone = len(steady) + len(unstable) < 2 and not found.related(Relation.excluded)
    if chosen_in_advance(comparison) or alone:  # a confirmation has its own result
        return []
    k, its = 1 + len(found.tested_groups), names(comparison, steady)
    if len(steady) == k:
        return [f"All {k} configurations could be the best."] if k > 2 else []
    noisy = f"; or {number_of(len(unstable), 'unstable one')}" if unstable else ""
    of = f"is one of {len(steady)} of {k} configurations (95% confidence): {its}"
    said = [f"The best {of if len(steady) > 1 else f'is {its} (95% confidence)'}{noisy}."]
    if unstable:
        limit = f"standard deviation more than {UNSTABLE:g} times the typical {comparison.metric.number(found.typical)}"
        said.append(
            f"Unstable: {names(comparison, unstable)} ({limit}). Error rates do not hold if runs can collapse."
        )
    return said
