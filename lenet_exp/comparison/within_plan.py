"""Plans how a race goes on: about how many runs a smaller `sweep.within` would add."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.leader import images_per_accuracy
from lenet_exp.comparison.race import SweepRace
from lenet_exp.comparison.statistics.looks import FEWEST_SEEDS, RaceTable, look_sizes, race
from lenet_exp.comparison.statistics.pairs import Floats, Replicate

SIMULATED = 20  # number of simulated races
MOST_GROUPS = 200  # number of configurations above which no race is simulated

# Differences to suggest, in percentage points.
DIFFERENCES = (5.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05)


@dataclass(frozen=True)
class WithinPlan:
    """About what a smaller `sweep.within` would add to the runs of a race.

    Attributes:
        within: difference that does not matter, in percentage points.
        runs: mean number of added runs.
        seconds: mean training time of these runs, in seconds; NaN if unknown.
    """

    within: float
    runs: int
    seconds: float


def smaller_within(comparison: Comparison, race_so_far: SweepRace) -> WithinPlan | None:
    """Return the plan for a smaller difference after a race has reached its own; None if none can
    be suggested.

    It is the smallest of `DIFFERENCES` that takes at most as many more runs as the race already
    has or, if all take more, the largest one.
    """
    if not comparison.metric.percent:
        return None

    best = None
    for points in DIFFERENCES:
        if points >= 100 * race_so_far.design.within:
            continue
        plan = _plan_within(comparison, race_so_far, points)
        if plan is None or (best is not None and plan.runs > comparison.num_runs):
            break
        best = plan
    return best


def _plan_within(
    comparison: Comparison, race_so_far: SweepRace, within: float
) -> WithinPlan | None:
    """Return about what a race with this difference would add.

    Races are simulated from the results so far. The values of later seeds are drawn from a normal
    distribution with the mean and the standard deviation of each configuration.

    Args:
        within: difference that does not matter, in percentage points.

    Returns:
        None if there are too few or too many configurations, or if more than half of the simulated
        races use all seeds without reaching the difference.
    """
    groups = [group for group in comparison.groups_with_all_runs if group.stable and group.n > 1]
    if len(groups) < 2 or len(groups) > MOST_GROUPS:
        return None

    design = race_so_far.design
    known = _known_values(groups, design.replicates)
    is_known = ~np.isnan(known)
    sizes = look_sizes(max(design.listed, FEWEST_SEEDS), len(design.replicates))
    images = images_per_accuracy(groups)

    random = np.random.default_rng(0)
    added = []
    num_decided = 0
    for _ in range(SIMULATED):
        values = np.where(is_known, known, _drawn(groups, known.shape, random))
        table = RaceTable(values, np.zeros(values.shape, dtype=bool))
        standing = race(table, within / 100, sizes, images)
        added.append(int((standing.requested & ~is_known).sum()))
        last = standing.last
        num_decided += last is not None and last.is_decided(within / 100)

    if 2 * num_decided < SIMULATED:
        return None
    runs = round(statistics.fmean(added))
    return WithinPlan(within, runs, seconds=runs * _seconds_per_run(groups))


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


def _seconds_per_run(groups: Sequence[Group]) -> float:
    """Return the mean training time of the finished runs, in seconds; NaN if unknown."""
    seconds = []
    for group in groups:
        seconds += [run.seconds for run in group.finished if run.seconds is not None]
    return statistics.fmean(seconds) if seconds else math.nan
