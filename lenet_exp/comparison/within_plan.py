"""Plans a sweep with `sweep.within`: about how many runs it would add."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

import numpy as np

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.leader import images_per_accuracy
from lenet_exp.comparison.statistics.looks import FEWEST_SEEDS, RaceTable, look_sizes, race
from lenet_exp.comparison.statistics.pairs import Replicate

SIMULATED = 20  # number of simulated races
MOST_SEEDS = 50  # number of seeds at which a simulated race ends
MOST_GROUPS = 200  # number of configurations above which no race is simulated

# Differences to suggest, in percentage points.
DIFFERENCES = (5.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05)


@dataclass(frozen=True)
class WithinPlan:
    """About what a sweep with `sweep.within` would add to the runs of a comparison.

    Attributes:
        within: difference that does not matter, in percentage points.
        runs: mean number of added runs.
        seconds: mean training time of these runs, in seconds; NaN if unknown.
    """

    within: float
    runs: int
    seconds: float


def plan_within(comparison: Comparison, within: float) -> WithinPlan | None:
    """Return about what a race with this difference would add; None if it would hardly end.

    Races are simulated from the results so far. The values of later seeds are drawn from a normal
    distribution with the mean and the standard deviation of each configuration.

    Args:
        within: difference that does not matter, in percentage points.

    Returns:
        None if there are too few or too many configurations with several seeds, or if more than
        half of the simulated races use all seeds without reaching the difference.
    """
    groups = [group for group in comparison.groups_with_all_runs if group.stable and group.n > 1]
    if len(groups) < 2 or len(groups) > MOST_GROUPS:
        return None

    replicates = _replicates(comparison, groups)
    known = _known_values(groups, replicates)
    listed = len(replicates)
    if comparison.race is not None:
        listed = comparison.race.design.listed
    sizes = look_sizes(max(listed, FEWEST_SEEDS), max(MOST_SEEDS, listed))
    images = images_per_accuracy(groups)

    random = np.random.default_rng(0)
    added = []
    num_decided = 0
    for _ in range(SIMULATED):
        values = _simulated(groups, known, sizes[-1], random)
        table = RaceTable(values, np.zeros(values.shape, dtype=bool))
        standing = race(table, within / 100, sizes, images)
        requested = standing.requested
        is_known = np.zeros(requested.shape, dtype=bool)
        is_known[:, : known.shape[1]] = ~np.isnan(known)[:, : sizes[-1]]
        added.append(int((requested & ~is_known).sum()))
        last = standing.last
        num_decided += last is not None and last.is_decided(within / 100)

    if 2 * num_decided < SIMULATED:
        return None
    runs = round(statistics.fmean(added))
    return WithinPlan(within, runs, seconds=runs * _seconds_per_run(groups))


def smaller_within(comparison: Comparison) -> WithinPlan | None:
    """Return the plan for the next smaller difference after a race that reached its own, or for the
    smallest difference that takes at most as many more runs as a comparison already has; None if
    there is none.
    """
    metric = comparison.metric
    if not metric.percent:
        return None
    candidates = list(DIFFERENCES)
    if comparison.race is not None:
        reached = 100 * comparison.race.design.within
        candidates = [points for points in DIFFERENCES if points < reached]

    best = None
    for points in candidates:
        plan = plan_within(comparison, points)
        if plan is None or (best is not None and plan.runs > comparison.num_runs):
            break
        best = plan
    return best


def _replicates(comparison: Comparison, groups: list[Group]) -> list[Replicate]:
    """Return the replicates of the runs so far, in the order in which a race uses them."""
    if comparison.race is not None:
        return list(comparison.race.design.replicates)
    replicates = {run.replicate: None for run in groups[0].finished}
    for group in groups:
        replicates |= {run.replicate: None for run in group.finished}
    return list(replicates)


def _known_values(groups: list[Group], replicates: list[Replicate]) -> np.ndarray:
    """Return the known values, with shape (groups, replicates); NaN for other runs."""
    known = np.full((len(groups), len(replicates)), np.nan)
    for row, group in enumerate(groups):
        for column, replicate in enumerate(replicates):
            known[row, column] = group.scores.get(replicate, math.nan)
    return known


def _simulated(
    groups: list[Group], known: np.ndarray, seeds: int, random: np.random.Generator
) -> np.ndarray:
    """Return the known values and random ones for all other seeds, with shape (groups, seeds)."""
    sign = groups[0].metric.sign
    means = np.array([sign * group.mean for group in groups])
    deviations = np.array([group.sd for group in groups])
    noise = random.standard_normal((len(groups), seeds))
    values = means[:, None] + deviations[:, None] * noise
    columns = min(known.shape[1], seeds)
    first = known[:, :columns]
    values[:, :columns] = np.where(np.isnan(first), values[:, :columns], first)
    return values


def _seconds_per_run(groups: list[Group]) -> float:
    """Return the mean training time of the finished runs, in seconds; NaN if unknown."""
    seconds = []
    for group in groups:
        seconds += [run.seconds for run in group.finished if run.seconds is not None]
    return statistics.fmean(seconds) if seconds else math.nan
