"""Suggests the next step after a comparison, as data. Reports add the wording."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.confirm import confirmation, plan, plan_against
from lenet_exp.comparison.design import Design
from lenet_exp.comparison.statistics import Difference
from lenet_exp.comparison.verdict import Relation, Verdict, verdict_of
from lenet_exp.errors import ConfigError

AT_MOST = 100  # maximum number of seeds for a suggested confirmation


class NextStep(StrEnum):
    """A kind of next step."""

    watch = "watch"  # the sweep is still running
    finish = "finish"  # runs are missing
    steady = "steady"  # make training stable: the leader has diverged runs, or no run finished
    seeds = "seeds"  # the leader has only one seed
    baseline = "baseline"  # compare the best configuration of a search with the baseline
    confirm = "confirm"  # no significant difference between the leader and some others
    confirm_winner = "confirm winner"  # the leader is ahead, but its true lead may be much smaller
    predict = "predict"  # the leads are clear; evaluate on test data
    confirmed = "confirmed"  # the leads are clear and confirmed on new seeds
    scored = "scored"  # the leads are confirmed, and the test result is known
    not_confirmed = "not confirmed"  # a confirmation did not confirm the leads


@dataclass(frozen=True)
class Advice:
    """A suggested next step.

    Attributes:
        step: the kind of next step.
        sweep: ID of the sweep that the step applies to; empty if it does not apply to a single sweep.
        points: the difference to confirm or, after a confirmation, the difference that was tested, in percentage
            points.
        equivalence: whether a confirmation tested equivalence within `points`.
    """

    step: NextStep
    sweep: str = ""
    points: str = ""
    equivalence: bool = False


def advice(comparison: Comparison) -> Advice | None:
    """Return the most useful next step after a comparison; None if no step is suggested."""
    leader, design = comparison.leader, comparison.design or Design(0, 0)
    if design.running:
        return Advice(NextStep.watch, design.sweep)
    verdict = verdict_of(comparison)
    if not verdict.complete:
        return Advice(NextStep.finish, design.sweep)
    if leader is None or leader.diverged:
        return Advice(NextStep.steady, design.sweep)
    predict = Advice(NextStep.predict, design.sweep) if design.sweep and not comparison.scored else None
    if (tested := confirmation(comparison)) is not None:
        return predict if tested.confirmed else None
    for test in design.tests:
        if test.dataset == comparison.dataset:
            confirmed = NextStep.scored if test.scored or comparison.scored else NextStep.confirmed
            step = confirmed if test.confirmed else NextStep.not_confirmed
            return Advice(step, test.sweep, f"{test.points:g}", test.equivalence)
    if not verdict.compared:
        return None
    if leader.n < 2:
        return Advice(NextStep.seeds, design.sweep)
    leads = [lead for _, lead, _ in verdict.compared]
    best = comparison.searched.best if comparison.searched is not None else None
    if design.searched and design.sweep and (best is None or best.number):  # trial 0 is the baseline itself
        return _confirming(comparison, NextStep.baseline, leads)
    if verdict.not_ahead:
        open_leads = _open_leads(comparison, verdict)
        return _confirming(comparison, NextStep.confirm, open_leads) if open_leads else predict
    nearest = min(leads, key=lambda lead: lead.points)
    if nearest.low > nearest.points / 2:  # even if biased upward, the lead is real
        return predict
    return _confirming(comparison, NextStep.confirm_winner, [nearest])


def _open_leads(comparison: Comparison, verdict: Verdict) -> list[Difference]:
    """Return the leads that are not significant, without ties and without configurations shown to be equivalent."""
    pairs = zip(comparison.groups, comparison.equivalences, strict=True)
    equivalent = {id(group) for group, its in pairs if its is not None and its.shown}
    return [
        lead
        for group, lead, relation in verdict.compared
        if relation is not Relation.ahead and id(group) not in equivalent and round(lead.points, 4) != 0
    ]


def _confirming(comparison: Comparison, step: NextStep, leads: Sequence[Difference]) -> Advice | None:
    """Return the advice to confirm the observed difference or, if 100 seeds cannot detect it, the smallest difference
    that 100 seeds can detect; None if no confirmation can be planned."""
    searched = step is NextStep.baseline
    try:
        detects = (plan_against if searched else plan)(comparison, 1.0, AT_MOST).detects
    except ConfigError:
        return None
    seen = statistics.median(abs(lead.points) for lead in leads)
    if detects is None:
        return None
    return Advice(step, comparison.design.sweep if comparison.design is not None else "", _rounded(max(seen, detects)))


def _rounded(difference: float) -> str:
    """Format a difference in percentage points with one significant digit, such as `0.2`."""
    points = max(difference * 100, 0.01)
    digits = max(0, -math.floor(math.log10(points)))
    return f"{round(points, digits):.{digits}f}"
