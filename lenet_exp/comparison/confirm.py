"""Whether a leader that other seeds named is the best on seeds that had no say in it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.statistics import MOST_SEEDS, Difference, seeds_for
from lenet_exp.errors import ConfigError
from lenet_exp.folders.records import RESULTS

K = TypeVar("K")


@dataclass(frozen=True)
class Confirmation:
    """The answer of a sweep that confirms another.

    Attributes:
        leader: the configuration that the other sweep named.
        leads: it against those that the other sweep could not exclude as best, on the fresh seeds alone
            (`against_fixed`).
        unsteady: those of which a run diverged; the leader is not held against their survivors.
        points: the difference that it was made to find, as a fraction.
        missing: runs that have not come to a result.
        known: runs that were there before it began: somebody may have looked at them.
    """

    leader: Group
    leads: list[tuple[Group, Difference]]
    unsteady: list[Group]
    points: float
    missing: int
    known: int

    @property
    def confirmed(self) -> bool | None:
        """Whether the leader is ahead of all others, none of its runs diverged, and none was known before; None while
        runs are missing."""
        if self.missing:
            return None
        return not self.known and not self.leader.diverged and all(lead.ahead for _, lead in self.leads)


def confirmation(comparison: Comparison) -> Confirmation | None:
    """The answer, where the comparison's runs are those of a sweep that confirms another."""
    design, groups = comparison.design, comparison.groups
    if design is None or design.confirms is None:
        return None
    leader = next((g for g in groups if any(run.id == design.leader for run in g.runs)), None)
    if leader is None:
        return None
    leads = [(g, lead) for g, lead in zip(groups, comparison.leads, strict=True) if lead is not None]
    unsteady = [g for g in groups if g is not leader and g.diverged]
    missing = sum(n for g in groups for outcome, n in g.outcomes.items() if outcome not in RESULTS)
    return Confirmation(leader, leads, unsteady, design.points or 0.0, missing, design.known)


@dataclass(frozen=True)
class Plan:
    """A confirmation that is still to be run.

    Attributes:
        groups: the leader, and those that can't be excluded as best; where it is ahead of all, the next best. Against a
            baseline the leader alone.
        seeds: how many of each.
    """

    groups: list[Group]
    seeds: int


def plan(comparison: Comparison, points: float, seeds: int | None = None) -> Plan:
    """How many fresh seeds tell a difference of `points` (a fraction) with a power of 80 %, unless it is said.

    Of a configuration that lies far behind they have to tell half of that, if it is more: what was seen of a leader is
    too large by its luck, though hardly by so much.

    Raises:
        ConfigError: no two configurations have a run that finished, no spread is known, or more than 1,000 seeds would
            be needed.
    """
    asked, name = f"confirm={points * 100:g}", comparison.dataset
    candidates = sorted(comparison.not_excluded, key=lambda g: g is not comparison.leader)
    if len(candidates) == 1:
        candidates = [*candidates, *(g for g in comparison.groups if g.n and g is not candidates[0])][:2]
    if len(candidates) < 2:
        raise ConfigError(
            f"{asked}: {name} has no two configurations with a run that finished; against=baseline holds "
            "the one against what its line trains without what it swept"
        )
    if seeds is not None:
        return Plan(candidates, seeds)
    leader, *others = candidates
    spreads, df = _spreads(leader, others, comparison.groups)
    if not df:
        raise ConfigError(f"{asked}: {_no_spread(comparison)}")
    differences = [max(points, (leader.mean - other.mean) / 2) for other in others]
    hardest, spread = max(zip(differences, spreads, strict=True), key=lambda pair: pair[1] / pair[0])
    return Plan(candidates, _enough(asked, seeds_for(hardest, spread, df, len(others))))


def plan_against(comparison: Comparison, points: float, seeds: int | None = None) -> Plan:
    """The same for its leader against one configuration of which nothing is known: taken to spread as these do.

    Raises:
        ConfigError: no run finished, no spread is known, or more than 1,000 seeds would be needed.
    """
    asked, leader = f"confirm={points * 100:g}", comparison.leader
    if leader is None:
        raise ConfigError(f"{asked}: no run on {comparison.dataset} has finished; allowed is a sweep with a leader")
    if seeds is not None:
        return Plan([leader], seeds)
    likely, df = _within(comparison.groups)
    if not df:
        raise ConfigError(f"{asked}: {_no_spread(comparison)}")
    return Plan([leader], _enough(asked, seeds_for(points, math.sqrt(likely), df, 1)))


def _enough(asked: str, seeds: int | None) -> int:
    if seeds is None:
        raise ConfigError(f"{asked}: it would take more than {MOST_SEEDS:,} seeds; allowed is a larger difference")
    return seeds


def _no_spread(comparison: Comparison) -> str:
    searched = comparison.design is not None and comparison.design.searched
    more = "the search's line again with seeds=5" if searched else "the sweep's line again with 'seed=range(5)'"
    return f"one seed each tells no spread; {more} trains what does, or seeds=10 says here how many fresh ones to take"


def _within(groups: list[Group]) -> tuple[float, int]:
    """The variance of a difference between two of them that the spread within all makes likely, and its degrees of
    freedom."""
    known = [(g.sd**2, g.n - 1) for g in groups if g.n > 1]
    df = sum(d for _, d in known)
    return (2 * sum(v * d for v, d in known) / df if df else 0.0), df


def _spreads(leader: Group, others: list[Group], groups: list[Group]) -> tuple[list[float], int]:
    """Standard deviations of the paired differences between the leader and each other, and how well they are known
    together: degrees of freedom after Satterthwaite 1946; 0 where nothing is known.

    Without common seeds it is what the spread within all groups makes likely.
    """
    within = [(g.sd**2, g.n - 1) for g in groups if g.n > 1]
    likely, df = _within(groups)
    pairs = [_variance(leader.accuracy, other.accuracy) for other in others]
    variances = [v if d else likely for v, d in pairs]
    known = [(v, d) for v, d in pairs if d] or [(v, d) for v, d in within if v]
    square = sum(v**2 / d for v, d in known)
    together = math.floor(sum(v for v, _ in known) ** 2 / square) if square else df
    return [math.sqrt(v) for v in variances], together


def _variance(a: Mapping[K, float], b: Mapping[K, float]) -> tuple[float, int]:
    """Of the differences over common seeds, and its degrees of freedom."""
    common = a.keys() & b.keys()
    return (float(np.var([a[s] - b[s] for s in common], ddof=1)), len(common) - 1) if len(common) > 1 else (0.0, 0)
