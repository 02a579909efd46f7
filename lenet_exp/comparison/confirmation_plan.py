"""Plans a confirmation of a sweep's leader: which configurations to train, with how many new
seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.statistics.intervals import Accuracies
from lenet_exp.comparison.statistics.power import MOST_SEEDS, Power, shrunk
from lenet_exp.comparison.verdict import could_be_best
from lenet_exp.errors import ConfigError

# The correlation between the variances of two paired differences, which share the leader's runs.
_CORRELATION_OF_PAIRS = 0.25

# Numbers of seeds whose detectable leads are suggested if too many seeds would be needed.
_SUGGESTED_SEEDS = (20, 50, 100)


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


def plan_confirmation(
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
    argument = f"confirm={points * 100:g}"
    comparison.metric.require_points(argument)
    if baseline:
        groups = [_leader(comparison, argument)]
        power = _power(groups[0], [None], comparison.groups)
    else:
        groups = _leader_and_rivals(comparison, argument)
        power = _power(groups[0], groups[1:], comparison.groups)

    if seeds is not None:
        detects = None if power is None else power.detects(seeds)
        return ConfirmationPlan(groups, seeds, detects)

    if power is None:
        raise ConfigError(f"{argument}: {_no_spread(comparison)}")
    needed = power.seeds(points)
    if needed > MOST_SEEDS:
        raise ConfigError(
            f"{argument}: requires about {needed:,} seeds, more than the limit of {MOST_SEEDS:,}; "
            f"{_affordable(power)}"
        )
    return ConfirmationPlan(groups, needed, points)


def _leader(comparison: Comparison, argument: str) -> Group:
    """Return the leader, which is tested against a baseline."""
    if comparison.leader is None:
        raise ConfigError(
            f"{argument}: no finished runs on {comparison.dataset}; finish the sweep first"
        )
    return comparison.leader


def _leader_and_rivals(comparison: Comparison, argument: str) -> list[Group]:
    """Return the groups to train, the leader first: the groups that could be the best.

    If only the leader could be the best, its rival is the next-best group.
    """
    # No affordable number of seeds separates unstable configurations from the leader.
    candidates = sorted(could_be_best(comparison), key=lambda group: group is not comparison.leader)
    if len(candidates) == 1:
        leader = candidates[0]
        others = [group for group in comparison.groups if group.n and group is not leader]
        candidates = [leader, *others[:1]]

    if len(candidates) < 2:
        raise ConfigError(
            f"{argument}: {comparison.dataset} has fewer than two configurations with finished "
            "runs; to test the leader against a baseline, add against=baseline"
        )
    return candidates


def _no_spread(comparison: Comparison) -> str:
    more = "'seed=range(5)' to the sweep"
    if comparison.design.can_add_seeds:
        more = "seeds=5 to the search"
    return (
        f"requires at least two seeds per configuration; add {more}, or set the number of new "
        "seeds with seeds=10"
    )


def _affordable(power: Power) -> str:
    """Return the leads that affordable numbers of seeds detect, in words."""
    *options, last = [
        f"confirm={round(power.detects(seeds), 4) * 100:g} requires {seeds} seeds"
        for seeds in _SUGGESTED_SEEDS
    ]
    return f"{', '.join(options)}, and {last}"


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
    paired = _paired_variances(leader, groups)
    if paired:
        shrunken = shrunk(list(paired.values()), in_common=_CORRELATION_OF_PAIRS)
    else:
        # The difference of two independent accuracies has twice the variance of one.
        within = [(2 * group.sd**2, group.n - 1) for group in groups if group.n > 1]
        if not within:
            return None
        shrunken = shrunk(within, in_common=0.0)

    *_, without_runs = shrunken
    shrunken_of_group: dict[Group | None, tuple[float, float]] = {}
    if paired:
        shrunken_of_group.update(zip(paired, shrunken[:-1], strict=True))

    deviations = []
    degrees_of_freedom = []
    for group in others:
        variance, df = shrunken_of_group.get(group, without_runs)
        deviations.append(math.sqrt(variance))
        degrees_of_freedom.append(df)
    return Power(deviations, degrees_of_freedom)


def _paired_variances(leader: Group, groups: Sequence[Group]) -> dict[Group, tuple[float, int]]:
    """Return the variance of the differences from the leader over common seeds, by group.

    Each variance comes with its degrees of freedom. Groups with fewer than two seeds in common with
    the leader are omitted.
    """
    variances = {}
    for group in groups:
        if group is leader:
            continue
        differences = _differences_over_common_seeds(leader.accuracy, group.accuracy)
        if len(differences) > 1:
            variance = float(np.var(differences, ddof=1))
            variances[group] = variance, len(differences) - 1
    return variances


def _differences_over_common_seeds(first: Accuracies, second: Accuracies) -> list[float]:
    common = first.keys() & second.keys()
    return [first[replicate] - second[replicate] for replicate in common]
