"""Describes which configurations could be the best, and which ones are unstable."""

from __future__ import annotations

from collections.abc import Sequence

from lenet_exp.amounts import number_of
from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.statistics.leader_tests import UNSTABLE_RATIO
from lenet_exp.comparison.verdict import (
    Relation,
    Verdict,
    could_be_best,
    has_bounds,
    verdict_of,
)
from lenet_exp.reports.words.names import names
from lenet_exp.reports.words.remarks import chosen_in_advance


def best_lines(comparison: Comparison) -> list[str]:
    """Return sentences about the configurations that could be the best, and about unstable ones.

    Return an empty list if all others are behind the leader, if significance could not be tested,
    or if the verdict itself says it.
    """
    if comparison.race is not None or has_bounds(comparison):
        return []
    judged = verdict_of(comparison)
    candidates = _candidates(comparison, judged)
    unstable = judged.related(Relation.unstable)
    is_clear = len(candidates) + len(unstable) < 2 and not judged.related(Relation.excluded)
    if is_clear or chosen_in_advance(comparison):  # a confirmation has its own result
        return []

    num_tested = 1 + len(judged.tested_groups)
    if len(candidates) == num_tested:
        all_could_be_best = f"All {num_tested} configurations could be the best."
        return [all_could_be_best] if num_tested > 2 else []

    lines = [_best_sentence(comparison, candidates, unstable, num_tested)]
    if unstable:
        typical = comparison.metric.number(judged.typical)
        limit = f"standard deviation more than {UNSTABLE_RATIO:g} times the typical {typical}"
        listed = f"Unstable: {names(comparison, unstable)} ({limit})."
        lines.append(f"{listed} Error rates do not hold if runs can collapse.")
    return lines


def _candidates(comparison: Comparison, judged: Verdict) -> list[Group]:
    """Return the stable configurations that could be the best: the leader, and those that were
    tested against it.
    """
    tested = [comparison.leader, *judged.tested_groups]
    return [group for group in could_be_best(comparison) if group in tested]


def _best_sentence(
    comparison: Comparison,
    candidates: Sequence[Group],
    unstable: Sequence[Group],
    num_tested: int,
) -> str:
    """Return a sentence such as `The best is one of 2 of 4 configurations (95% confidence): selu,
    tanh; or 1 unstable one.`
    """
    listed = names(comparison, candidates)
    if len(candidates) > 1:
        count = f"one of {len(candidates)} of {num_tested} configurations"
        text = f"The best is {count} (95% confidence): {listed}"
    else:
        text = f"The best is {listed} (95% confidence)"
    if unstable:
        text += f"; or {number_of(len(unstable), 'unstable one')}"
    return f"{text}."
