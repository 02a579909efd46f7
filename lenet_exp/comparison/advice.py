"""Suggests the next step after a comparison, as data. Reports add the wording."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.confirmation_plan import plan_confirmation
from lenet_exp.comparison.confirmation_result import confirmation_result
from lenet_exp.comparison.statistics.differences import Difference
from lenet_exp.comparison.verdict import Relation, Verdict, verdict_of
from lenet_exp.config.class_groups import VERSION
from lenet_exp.errors import ConfigError

AT_MOST = 100  # maximum number of seeds for a suggested confirmation
MANY_RUNS = 200  # number of runs above which a larger difference is suggested
DIFFERENCES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # differences to confirm, in percentage points
ROUNDING = 5e-5  # half of the last digit of a printed accuracy


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
        sweep: ID of the sweep that the step applies to; empty if it does not apply to a single
            sweep.
        points: the difference to confirm or, after a confirmation, the difference that was tested,
            in percentage points.
        runs: number of runs of the step; 0 if unknown.
        seconds: total training time of these runs, in seconds; NaN if unknown.
    """

    step: NextStep
    sweep: str = ""
    points: str = ""
    runs: int = 0
    seconds: float = math.nan


def advice(comparison: Comparison) -> Advice | None:
    """Return the most useful next step after a comparison; None if no step is suggested."""
    leader, design = comparison.leader, comparison.design
    if comparison.part:
        return None
    if design.running:
        return Advice(NextStep.watch, design.sweep)
    verdict = verdict_of(comparison)
    if not verdict.complete:
        return Advice(NextStep.finish, design.sweep)
    edited = {flag.removesuffix(f".{VERSION}") for flag in comparison.flags} - {*comparison.flags}
    # A sweep cannot train two versions of the same code. A search with another objective trains a
    # configuration once.
    if edited or (design.has_trials and not design.can_add_seeds and design.sweeps == 1):
        return None
    if leader is None or leader.diverged:
        return Advice(NextStep.steady, design.sweep)
    predict = (
        Advice(NextStep.predict, design.sweep) if design.sweep and not comparison.scored else None
    )
    if (tested := confirmation_result(comparison)) is not None:
        return predict if tested.confirmed else None
    for test in design.confirmations:
        if test.dataset == comparison.dataset:
            confirmed = NextStep.scored if test.scored or comparison.scored else NextStep.confirmed
            step = confirmed if test.confirmed else NextStep.not_confirmed
            return Advice(step, test.sweep, f"{test.points:g}")
    if not verdict.compared:
        return None
    seeds = Advice(NextStep.seeds, design.sweep)
    if leader.n < 2:
        return seeds
    leads = [lead for _, lead, _ in verdict.compared]
    best = comparison.searched.best if comparison.searched is not None else None
    if (
        design.can_add_seeds and design.sweep and (best is None or best.number)
    ):  # trial 0 is the baseline itself
        return _confirming(comparison, NextStep.baseline, leads)
    if verdict.not_behind:
        open_leads = _open_leads(verdict)
        return (
            (_confirming(comparison, NextStep.confirm, open_leads) or seeds)
            if open_leads
            else predict
        )
    nearest = min(leads, key=lambda lead: lead.points)
    if nearest.low > nearest.points / 2:  # even if biased upward, the lead is real
        return predict
    return _confirming(comparison, NextStep.confirm_winner, [nearest])


def _open_leads(verdict: Verdict) -> list[Difference]:
    """Return the leads that are not significant, without ties."""
    return [
        lead
        for _, lead, relation in verdict.compared
        if relation in (Relation.open, Relation.untested) and round(lead.points, 4) != 0
    ]


def _confirming(
    comparison: Comparison, step: NextStep, leads: Sequence[Difference]
) -> Advice | None:
    """Return the advice to confirm the median lead, rounded down to one of `DIFFERENCES` that 100
    seeds can detect, or rounded up if this takes more than 200 runs.

    Return None if no confirmation can be planned, or if 100 seeds cannot detect any of these
    differences.
    """
    make = partial(plan_confirmation, comparison, baseline=step is NextStep.baseline)
    seen = statistics.median(abs(lead.points) for lead in leads)
    try:
        detects = make(1.0, AT_MOST).detects
        if detects is None:
            return None
        able = [d for d in DIFFERENCES if d / 100 >= detects]
        points = max((d for d in able if d / 100 <= seen + ROUNDING), default=able[0])
        wanted = make(points / 100)
        if wanted.seeds * max(len(wanted.groups), 2) > MANY_RUNS and points < able[-1]:
            points = able[able.index(points) + 1]
            wanted = make(points / 100)
    except (ConfigError, IndexError):
        return None
    runs = wanted.seeds * max(len(wanted.groups), 2)
    known = [
        run.seconds for group in wanted.groups for run in group.finished if run.seconds is not None
    ]
    seconds = statistics.fmean(known) * runs if known else math.nan
    return Advice(step, comparison.design.sweep, f"{points:g}", runs=runs, seconds=seconds)
