"""Confirmation of a sweep's leader on new seeds, which were not used to select it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.leader import tested_leader
from lenet_exp.comparison.statistics.differences import Accuracies, Difference
from lenet_exp.comparison.statistics.power import MOST_SEEDS, Power, shrunk
from lenet_exp.comparison.verdict import could_be_best
from lenet_exp.errors import ConfigError
from lenet_exp.folders.records import RESULTS


@dataclass(frozen=True)
class Confirmation:
    """The result of a confirmation, which is a sweep that tests another sweep's leader on new
    seeds.

    Attributes:
        leader: the leader, with its runs on the new seeds.
        leads: the other configurations, each with the difference between the leader and the
            configuration on the new seeds (`against_fixed`).
        unsteady: the other configurations that have diverged runs, which are not compared with the
            leader.
        points: the lead that the confirmation was designed to detect, as a fraction.
        missing: number of runs without a result.
        known: number of runs that started before the confirmation; their results may have been
            seen.
    """

    leader: Group
    leads: list[tuple[Group, Difference]]
    unsteady: list[Group]
    points: float
    missing: int
    known: int

    @property
    def confirmed(self) -> bool | None:
        """Whether the leader is significantly ahead of all others without diverged runs, none of
        its own runs diverged, and no run started before the confirmation; None if runs are missing.
        """
        if self.missing:
            return None
        return (
            not self.known
            and not self.leader.diverged
            and all(lead.ahead for _, lead in self.leads)
        )


def confirmation(comparison: Comparison) -> Confirmation | None:
    """Return the result of a confirmation; None if the compared runs do not belong to a
    confirmation.
    """
    design, groups = comparison.design, comparison.groups
    leader = tested_leader(groups, design)
    if leader is None or design.points is None:
        return None
    leads = [
        (group, lead)
        for group, lead in zip(groups, comparison.leads, strict=True)
        if lead is not None
    ]
    unsteady = [g for g in groups if g is not leader and g.diverged]
    missing = sum(n for g in groups for outcome, n in g.outcomes.items() if outcome not in RESULTS)
    return Confirmation(leader, leads, unsteady, design.points, missing=missing, known=design.known)


@dataclass(frozen=True)
class ConfirmationPlan:
    """The plan of a confirmation.

    Attributes:
        groups: the leader and the other groups that could be the best. If the leader is ahead of
            all others, the leader and the next-best group. Against a baseline, only the leader.
        seeds: number of new seeds per group.
        detects: the true lead over every other group, as a fraction, that is confirmed with a
            probability of 80%; None if no spread is known.
    """

    groups: list[Group]
    seeds: int
    detects: float | None


def plan(
    comparison: Comparison,
    points: float,
    seeds: int | None = None,
    *,
    baseline: bool = False,
) -> ConfirmationPlan:
    """Plan a confirmation of a sweep's leader.

    Args:
        points: the true lead over every other configuration, as a fraction, that should be
            confirmed with a probability of 80%.
        seeds: number of new seeds; None for the number that `points` requires.
        baseline: whether to test the leader against a configuration without runs. The spread of
            that configuration is assumed to match the spreads of the sweep's configurations.

    Raises:
        ConfigError: fewer than two configurations (with `baseline`, one) have a finished run, no
            spread is known, or more than 1,000 seeds would be needed.
    """
    asked = f"confirm={points * 100:g}"
    comparison.metric.require_points(asked)
    groups = _groups(comparison, asked, baseline)
    power = _power(groups[0], [None] if baseline else groups[1:], comparison.groups)
    if seeds is not None:
        return ConfirmationPlan(groups, seeds, None if power is None else power.detects(seeds))
    if power is None:
        raise ConfigError(f"{asked}: {_no_spread(comparison)}")
    needed = power.seeds(points)
    if needed > MOST_SEEDS:
        *some, last = [
            f"confirm={round(power.detects(n), 4) * 100:g} requires {n} seeds"
            for n in (20, 50, 100)
        ]
        smaller = f"{', '.join(some)}, and {last}"
        raise ConfigError(
            f"{asked}: requires about {needed:,} seeds, more than the limit of {MOST_SEEDS:,}; {smaller}"
        )
    return ConfirmationPlan(groups, needed, points)


def _groups(comparison: Comparison, asked: str, baseline: bool) -> list[Group]:
    """Return the groups to train: the leader and, unless it is tested against a baseline, its
    rivals.
    """
    leader, name = comparison.leader, comparison.dataset
    if baseline:
        if leader is None:
            raise ConfigError(f"{asked}: no finished runs on {name}; finish the sweep first")
        return [leader]
    # No affordable number of seeds separates unstable configurations from the leader.
    candidates = sorted(could_be_best(comparison), key=lambda g: g is not leader)
    if len(candidates) == 1:
        candidates = [
            *candidates,
            *(g for g in comparison.groups if g.n and g is not candidates[0]),
        ][:2]
    if len(candidates) < 2:
        raise ConfigError(
            f"{asked}: {name} has fewer than two configurations with finished runs; to test the leader against a "
            "baseline, add against=baseline"
        )
    return candidates


def _no_spread(comparison: Comparison) -> str:
    more = "seeds=5 to the search" if comparison.design.searched else "'seed=range(5)' to the sweep"
    return f"requires at least two seeds per configuration; add {more}, or set the number of new seeds with seeds=10"


def _power(leader: Group, others: Sequence[Group | None], groups: Sequence[Group]) -> Power | None:
    """Return the power of a confirmation of the leader against other groups; None if no spread is
    known.

    The power is computed from the variances of the paired differences between the leader and all
    groups. If the groups have no common seeds, the power is computed from the variances within
    groups.

    Args:
        others: the other groups; None for a configuration without runs.
        groups: all groups of the sweep.
    """
    pairs = {g: _variance(leader.accuracy, g.accuracy) for g in groups if g is not leader}
    known = {g: pair for g, pair in pairs.items() if pair[1]}
    within = [(2 * g.sd**2, g.n - 1) for g in groups if g.n > 1] if not known else []
    if not known and not within:
        return None
    found = shrunk([*known.values()] or within, in_common=0.25 if known else 0.0)
    by_group: dict[Group | None, tuple[float, float]] = dict(zip(known, found, strict=False))
    chosen = [by_group.get(group, found[-1]) for group in others]
    return Power([math.sqrt(v) for v, _ in chosen], [d for _, d in chosen])


def _variance(a: Accuracies, b: Accuracies) -> tuple[float, int]:
    """Return the variance of the paired differences over common seeds, and its degrees of freedom."""
    common = a.keys() & b.keys()
    return (
        (float(np.var([a[s] - b[s] for s in common], ddof=1)), len(common) - 1)
        if len(common) > 1
        else (0.0, 0)
    )
