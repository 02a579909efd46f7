"""Suggests the next step after a comparison, as data. Reports add the wording."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.confirmation_plan import ConfirmationPlan, plan_confirmation
from lenet_exp.comparison.confirmation_result import confirmation_result
from lenet_exp.comparison.design import EndedConfirmation, RaceDesign
from lenet_exp.comparison.race import SweepRace
from lenet_exp.comparison.statistics.differences import Difference
from lenet_exp.comparison.verdict import Relation, Verdict, has_bounds, verdict_of
from lenet_exp.comparison.within_plan import (
    design_of_continued,
    runs_of_first_look,
    seconds_per_run,
    smaller_within,
)
from lenet_exp.config.class_groups import VERSION
from lenet_exp.errors import ConfigError

AT_MOST = 100  # maximum number of seeds for a suggested confirmation
MANY_RUNS = 200  # number of runs above which a larger difference is suggested
DIFFERENCES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # differences to confirm, in percentage points
ROUNDING = 5e-5  # half of the last digit of a printed accuracy
FIRST_WITHIN = "1"  # difference for `sweep.within` after one seed, in percentage points


class NextStep(StrEnum):
    """A kind of next step."""

    watch = "watch"  # the sweep is still running
    finish = "finish"  # runs are missing
    steady = "steady"  # make training stable: the leader has diverged runs, or no run finished
    seeds = "seeds"  # the leader has only one seed
    baseline = "baseline"  # compare the best configuration of a search with the baseline
    confirm = "confirm"  # no significant difference between the leader and some others
    within = "within"  # add seeds until the best is known within a smaller difference
    more_seeds = "more seeds"  # a race was ended by a limit
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
            in percentage points; for `within`, in the metric's unit if that is not percent.
        runs: number of runs of the step; 0 if unknown.
        is_least: whether the step can take more runs than this number.
        seconds: total training time of these runs, in seconds; NaN if unknown.
        limit: for a race, the flag with a larger limit.
    """

    step: NextStep
    sweep: str = ""
    points: str = ""
    runs: int = 0
    is_least: bool = False
    seconds: float = math.nan
    limit: str = ""


def advice(comparison: Comparison) -> Advice | None:
    """Return the most useful next step after a comparison; None if no step is suggested."""
    leader = comparison.leader
    design = comparison.design
    if comparison.part:
        return None
    if design.running:
        return Advice(NextStep.watch, design.sweep)
    verdict = verdict_of(comparison)
    race = comparison.race
    is_race_unfinished = race is not None and not race.is_over and not race.design.ended_by
    if not verdict.complete or is_race_unfinished:
        return Advice(NextStep.finish, design.sweep)

    # A sweep cannot train two versions of the same code.
    if _compares_versions(comparison):
        return None
    # A search with another objective trains a configuration once.
    if design.has_trials and not design.can_add_seeds and design.sweeps == 1:
        return None

    if leader is None or leader.diverged:
        return Advice(NextStep.steady, design.sweep)
    own_result = confirmation_result(comparison)
    if own_result is not None:
        return _advice_to_predict(comparison) if own_result.confirmed else None
    earlier_confirmation = _earlier_confirmation(comparison)
    if earlier_confirmation is not None:
        return _advice_after_confirmation(comparison, earlier_confirmation)

    if race is not None:
        return _advice_after_race(comparison, race)
    if not verdict.compared:
        return None
    if leader.n < 2:
        return _advice_on_one_seed(comparison)
    if _needs_baseline(comparison):
        leads = [lead for _, lead, _ in verdict.compared]
        return _advice_to_confirm(comparison, NextStep.baseline, leads)
    if has_bounds(comparison) and verdict.rivals:
        bound = verdict.rivals[0][1]
        continued = design_of_continued(comparison, bound)
        if continued is not None:
            return _advice_on_within(comparison, continued) or _advice_to_predict(comparison)
    return _advice_on_open_leads(comparison, verdict)


def _advice_after_race(comparison: Comparison, race: SweepRace) -> Advice | None:
    """Return the advice to raise the limit that ended a race or, if none did, to evaluate the
    leader on test data.
    """
    if race.leader is None:
        return None
    if race.bound <= 0:
        return _advice_to_predict(comparison)
    if race.decided:
        return _advice_on_within(comparison, race.design) or _advice_to_predict(comparison)

    design = race.design
    limit = f"sweep.most_seeds={2 * len(design.replicates)}"
    if not race.is_over and design.max_seconds is not None:
        seconds = max(design.max_seconds, design.seconds)
        limit = f"max_seconds={math.ceil(2 * seconds)}"
    return Advice(NextStep.more_seeds, comparison.design.sweep, limit=limit)


def _advice_on_within(comparison: Comparison, design: RaceDesign) -> Advice | None:
    """Return the advice to add seeds until the best is known within a smaller difference; None if
    that would take too many runs.

    Args:
        design: design of the race so far, or of a sweep as if it were a race.
    """
    plan = smaller_within(comparison, design)
    if plan is None or not plan.runs:
        return None
    return Advice(
        NextStep.within,
        comparison.design.sweep,
        f"{plan.within:g}",
        runs=plan.runs,
        seconds=plan.seconds,
    )


def _advice_on_one_seed(comparison: Comparison) -> Advice:
    """Return the advice to add seeds if every configuration has one. Which ones are added then does
    not depend on a test, so that these seeds can be continued.
    """
    sweep = comparison.design.sweep
    can_continue = design_of_continued(comparison, math.inf) is not None
    if not can_continue or not comparison.metric.percent:
        return Advice(NextStep.seeds, sweep)
    runs = runs_of_first_look(comparison)
    return Advice(
        NextStep.within,
        sweep,
        FIRST_WITHIN,
        runs=runs,
        is_least=True,
        seconds=runs * seconds_per_run(comparison.groups),
    )


def _compares_versions(comparison: Comparison) -> bool:
    """Return whether configurations differ in the version of the same code.

    For example, `model.code` differs but `model` does not.
    """
    suffix = f".{VERSION}"
    with_versions = {
        flag.removesuffix(suffix) for flag in comparison.flags if flag.endswith(suffix)
    }
    return not with_versions <= set(comparison.flags)


def _advice_to_predict(comparison: Comparison) -> Advice | None:
    """Return the advice to evaluate on test data; None if that is done or needs a single sweep."""
    sweep = comparison.design.sweep
    if not sweep or comparison.scored:
        return None
    return Advice(NextStep.predict, sweep)


def _earlier_confirmation(comparison: Comparison) -> EndedConfirmation | None:
    """Return the latest confirmation of the leader on the same dataset; None if there is none."""
    for confirmation in comparison.design.confirmations:
        if confirmation.dataset == comparison.dataset:
            return confirmation
    return None


def _advice_after_confirmation(comparison: Comparison, confirmation: EndedConfirmation) -> Advice:
    """Return the advice for a sweep whose leader was tested in a confirmation."""
    if not confirmation.confirmed:
        step = NextStep.not_confirmed
    elif confirmation.scored or comparison.scored:
        step = NextStep.scored
    else:
        step = NextStep.confirmed
    return Advice(step, confirmation.sweep, f"{confirmation.points:g}")


def _needs_baseline(comparison: Comparison) -> bool:
    """Return whether the best configuration of a search should be compared with the baseline."""
    design = comparison.design
    if not design.can_add_seeds or not design.sweep:
        return False
    best_trial = comparison.searched.best if comparison.searched is not None else None
    if best_trial is None:
        return True
    # Trial 0 is the baseline itself.
    return best_trial.number != 0


def _advice_on_open_leads(comparison: Comparison, verdict: Verdict) -> Advice | None:
    """Return the advice to test on new seeds those leads that are not significant; if all are, to
    evaluate the leader on test data.
    """
    open_leads = _open_leads(verdict)
    if not open_leads:
        return _advice_to_predict(comparison)
    confirm = _advice_to_confirm(comparison, NextStep.confirm, open_leads)
    return confirm or Advice(NextStep.seeds, comparison.design.sweep)


def _open_leads(verdict: Verdict) -> list[Difference]:
    """Return the leads that are not significant, without ties."""
    open_leads = []
    for _, lead, relation in verdict.compared:
        is_tie = round(lead.points, 4) == 0
        if relation in (Relation.open, Relation.untested) and not is_tie:
            open_leads.append(lead)
    return open_leads


def _advice_to_confirm(
    comparison: Comparison, step: NextStep, leads: Sequence[Difference]
) -> Advice | None:
    """Return the advice to confirm the median lead.

    The lead is rounded down to one of `DIFFERENCES` that 100 seeds can detect, or to the next
    larger one if this takes more than 200 runs. For example, a median lead of 0.37 percentage
    points is rounded down to 0.2, or to 0.5 if 0.2 takes too many runs. If 100 seeds can detect
    only larger differences, the smallest of them is used.

    Return None if no confirmation can be planned, or if 100 seeds cannot detect any of these
    differences.
    """
    plan_for = partial(plan_confirmation, comparison, baseline=step is NextStep.baseline)
    median_lead = statistics.median(abs(lead.points) for lead in leads)
    try:
        detects = plan_for(1.0, AT_MOST).detects
        if detects is None:
            return None
        detectable = [points for points in DIFFERENCES if points / 100 >= detects]
        if not detectable:
            return None

        not_above_lead = [points for points in detectable if points / 100 <= median_lead + ROUNDING]
        points = max(not_above_lead, default=detectable[0])
        plan = plan_for(points / 100)
        if _num_runs(plan) > MANY_RUNS and points < detectable[-1]:
            points = detectable[detectable.index(points) + 1]
            plan = plan_for(points / 100)
    except ConfigError:
        return None

    return Advice(
        step,
        comparison.design.sweep,
        f"{points:g}",
        runs=_num_runs(plan),
        seconds=seconds_per_run(plan.groups) * _num_runs(plan),
    )


def _num_runs(plan: ConfirmationPlan) -> int:
    """Return the number of runs of a confirmation.

    A single group is tested against a baseline, which has the same number of runs.
    """
    return plan.seeds * max(len(plan.groups), 2)
