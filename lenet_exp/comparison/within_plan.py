"""Plans how seeds are added: about how many runs a smaller `sweep.within` would add."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.design import RaceDesign
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.leader import images_per_accuracy
from lenet_exp.comparison.statistics.looks import (
    FEWEST_SEEDS,
    MOST_SEEDS,
    RaceTable,
    look_sizes,
    race,
)
from lenet_exp.comparison.statistics.pairs import Floats, Replicate
from lenet_exp.config.schema import EpochChoice

SIMULATED = 20  # number of simulated races
MOST_GROUPS = 200  # number of configurations above which no race is simulated

# Differences to suggest, in percentage points.
DIFFERENCES = (5.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05)


@dataclass(frozen=True)
class WithinPlan:
    """About what a smaller `sweep.within` would add to the runs of a race.

    Attributes:
        within: difference that does not matter: in percentage points if the metric is in percent,
            and otherwise in its unit.
        runs: mean number of added runs.
        seconds: mean training time of these runs, in seconds; NaN if unknown.
    """

    within: float
    runs: int
    seconds: float


def design_of_continued(comparison: Comparison, bound: float) -> RaceDesign | None:
    """Return the design of a sweep with a fixed number of seeds if `sweep.within` adds more; None
    if its command cannot add seeds, or if the verdict would then have a caution.

    Args:
        bound: how far the leader can be below the best configuration so far, as a fraction if the
            metric is in percent.
    """
    if comparison.has_trials or not _can_be_continued(comparison):
        return None

    listed = _replicates_of(comparison.groups[0])
    if any(_replicates_of(group) != listed for group in comparison.groups):
        return None
    seeds = [seed for seed, _ in listed]
    if len(set(seeds)) < len(seeds) or len(seeds) >= MOST_SEEDS:
        return None
    # Two configurations: seeds that are added because of a verdict raise its error rate.
    if len(comparison.groups) == 2 and len(seeds) > 1:
        return None

    added = [(max(seeds) + number, 0) for number in range(1, 1 + MOST_SEEDS - len(listed))]
    return RaceDesign(within=bound, replicates=(*listed, *added), listed=len(listed))


def _can_be_continued(comparison: Comparison) -> bool:
    """Return whether the design of a comparison is that of a single sweep, fixed in advance."""
    design = comparison.design
    has_reason_for_caution = (
        design.has_no_digest or design.retrained or design.earlier_runs or design.earlier_sweeps
    )
    is_one_sweep = bool(design.sweep) and design.sweeps == 1
    is_by_best = comparison.epoch_choice is EpochChoice.best
    return is_one_sweep and is_by_best and not has_reason_for_caution


def _replicates_of(group: Group) -> list[Replicate]:
    """Return the seeds and splits of a configuration's runs, in order."""
    return sorted({run.replicate for run in group.runs})


def runs_of_first_look(comparison: Comparison) -> int:
    """Return how many runs a sweep adds before its first look."""
    missing = 0
    for group in comparison.groups:
        missing += max(FEWEST_SEEDS - group.replicates, 0)
    return missing


def smaller_within(comparison: Comparison, design: RaceDesign) -> WithinPlan | None:
    """Return the plan for a smaller difference than that of a race; None if none can be suggested.

    It is the smallest of `_differences` that takes at most as many more runs as there are or, if
    all take more, the largest one.

    Args:
        design: design of the race so far.
    """
    best = None
    for within in _differences(comparison, design.within):
        plan = plan_within(comparison, design, within)
        if plan is None or (best is not None and plan.runs > comparison.num_runs):
            break
        best = plan
    return best


def _differences(comparison: Comparison, within: float) -> list[float]:
    """Return differences to suggest below a difference, largest first, in percentage points if the
    metric is in percent.

    For other metrics, they are the seven next smaller numbers that begin with 5, 2, or 1.
    """
    if comparison.metric.percent:
        return [points for points in DIFFERENCES if points < 100 * within]
    if math.isinf(within) or within <= 0:
        return []
    smaller = []
    exponent = math.floor(math.log10(within))
    for power in range(exponent, exponent - 4, -1):
        smaller += [digit * 10.0**power for digit in (5, 2, 1)]
    return [number for number in smaller if number < within * (1 - 1e-9)][:7]


def plan_within(
    comparison: Comparison, design: RaceDesign, within: float, *, simulated: int = SIMULATED
) -> WithinPlan | None:
    """Return about what a race with this difference would add.

    Races are simulated from the results so far. The values of later seeds are drawn from a normal
    distribution with the mean and the standard deviation of each configuration.

    Args:
        within: difference that does not matter: in percentage points if the metric is in percent,
            and otherwise in its unit.
        simulated: number of simulated races.

    Returns:
        None if there are too few or too many configurations, or if more than half of the simulated
        races use all seeds without reaching the difference.
    """
    if not can_be_simulated(comparison):
        return None

    groups = _groups_with_deviation(comparison)
    difference = within / 100 if comparison.metric.percent else within
    known = _known_values(groups, design.replicates)
    is_known = ~np.isnan(known)
    sizes = look_sizes(max(design.listed, FEWEST_SEEDS), len(design.replicates))
    images = images_per_accuracy(groups)

    random = np.random.default_rng(0)
    added = []
    num_decided = 0
    for _ in range(simulated):
        values = np.where(is_known, known, _drawn(groups, known.shape, random))
        table = RaceTable(values, np.zeros(values.shape, dtype=bool))
        standing = race(table, difference, sizes, images)
        added.append(int((standing.requested & ~is_known).sum()))
        last = standing.last
        num_decided += last is not None and last.is_decided(difference)

    if 2 * num_decided < simulated:
        return None
    runs = round(statistics.fmean(added))
    return WithinPlan(within, runs, seconds=runs * seconds_per_run(groups))


def can_be_simulated(comparison: Comparison) -> bool:
    """Return whether the results show how noisy at least two configurations are, and whether there
    are few enough configurations to simulate races.
    """
    return 2 <= len(_groups_with_deviation(comparison)) <= MOST_GROUPS


def _groups_with_deviation(comparison: Comparison) -> list[Group]:
    """Return the stable configurations with several finished runs."""
    return [group for group in comparison.groups_with_all_runs if group.stable and group.n > 1]


def _known_values(groups: Sequence[Group], replicates: Sequence[Replicate]) -> Floats:
    """Return the known values, with shape (groups, replicates); NaN for other runs."""
    known = np.full((len(groups), len(replicates)), np.nan)
    for row, group in enumerate(groups):
        scores = group.scores
        for column, replicate in enumerate(replicates):
            known[row, column] = scores.get(replicate, math.nan)
    return known


def _drawn(groups: Sequence[Group], shape: tuple[int, ...], random: np.random.Generator) -> Floats:
    """Return random values of each configuration, with the given shape (groups, replicates)."""
    means = np.array([group.metric.sign * group.mean for group in groups])
    deviations = np.array([group.sd for group in groups])
    noise = random.standard_normal(shape)
    return np.asarray(means[:, None] + deviations[:, None] * noise)


def seconds_per_run(groups: Sequence[Group]) -> float:
    """Return the mean training time of the finished runs of configurations, in seconds; NaN if
    unknown.
    """
    seconds = []
    for group in groups:
        seconds += [run.seconds for run in group.finished if run.seconds is not None]
    return statistics.fmean(seconds) if seconds else math.nan
