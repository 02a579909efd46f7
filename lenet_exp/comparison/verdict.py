"""The verdict of a comparison, as data: how each configuration compares with the leader."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.statistics.differences import Difference


class Relation(StrEnum):
    """The result of comparing a configuration with the leader."""

    leader = "leader"
    behind = "behind"  # significantly worse than the leader
    # not the best, because a better configuration beats it, or because a search dropped it
    excluded = "excluded"
    open = "open"  # could be the best
    unstable = "unstable"  # could be the best, but has an unusually large standard deviation
    # one seed, no variation between seeds, a diverged run, or no finished run
    untested = "untested"


@dataclass(frozen=True)
class Verdict:
    """The result of comparing the leader with all other configurations.

    Attributes:
        compared: each configuration that the leader is compared with, its difference from the
            leader, and its relation to the leader.
        complete: whether all runs have ended.
    """

    compared: list[tuple[Group, Difference, Relation]]
    complete: bool

    @property
    def wins(self) -> bool:
        """Whether all others are behind the leader and all runs have ended."""
        return self.complete and bool(self.compared) and not self.not_behind

    @property
    def not_behind(self) -> list[Difference]:
        """The differences between the leader and the configurations that are not significantly
        worse.
        """
        return [lead for _, lead, relation in self.compared if relation is not Relation.behind]

    @property
    def tested_groups(self) -> list[Group]:
        """The configurations that are compared with the leader by a test."""
        return [group for group, lead, _ in self.compared if lead.test != "none"]

    @property
    def tested(self) -> bool:
        """Whether any comparison is based on several seeds."""
        return any(lead.n > 1 for _, lead, _ in self.compared)

    @property
    def rivals(self) -> list[tuple[Group, float]]:
        """The configurations that could be better than the leader, except unstable ones, each with
        an upper bound of how much better it is if it is the best: at least 0, and infinite if
        unknown. Those with the largest bounds come first.
        """
        rivals = []
        for group, lead, relation in self.compared:
            has_equal_differences = relation is Relation.untested and lead.n > 1
            if relation is Relation.open or has_equal_differences:
                rivals.append((group, max(lead.bound, 0.0)))
        return sorted(rivals, key=lambda rival: -rival[1])

    @property
    def typical(self) -> float:
        """The typical standard deviation over seeds, as a fraction; NaN if variances were not
        moderated.
        """
        for _, lead, _ in self.compared:
            if lead.test != "none":
                return lead.typical
        return float("nan")

    def related(self, relation: Relation) -> list[Group]:
        """Return the configurations that have this relation to the leader."""
        return [
            group for group, _, relation_of_group in self.compared if relation_of_group is relation
        ]

    def untested(self, *, single: bool) -> list[Group]:
        """Return the configurations that cannot be tested.

        Args:
            single: whether to return those with a single seed, or those without variation.
        """
        untested = []
        for group, lead, relation in self.compared:
            has_single_seed = lead.n < 2
            if relation is Relation.untested and has_single_seed is single:
                untested.append(group)
        return untested


def verdict_of(comparison: Comparison) -> Verdict:
    """Judge each configuration of a comparison against the leader."""
    compared = []
    for position, group in enumerate(comparison.groups):
        lead = comparison.leads[position]
        if lead is not None:
            compared.append((group, lead, relation_of(comparison, position)))
    is_complete = not any(group.missing for group in comparison.groups_with_all_runs)
    return Verdict(compared, complete=is_complete)


def has_bounds(comparison: Comparison) -> bool:
    """Return whether the verdict says how much better the best configuration could be than the
    leader, from a fixed number of seeds (`Difference.bound`).

    It does for all configurations of a grid. A search and a race add seeds depending on results, a
    part can be selected by its results, and a confirmation tests a leader that was chosen before.
    """
    design = comparison.design
    if comparison.race is not None or comparison.part or comparison.has_trials:
        return False
    if design.confirms is not None or design.selected_by_results:
        return False
    leader = comparison.leader
    has_several_seeds = leader is not None and leader.stable and leader.n > 1
    return has_several_seeds and verdict_of(comparison).tested


def could_be_best(comparison: Comparison) -> list[Group]:
    """Return the configurations that are not excluded and not unstable, such as those that are
    printed in bold.

    Return an empty list if a filter selected the runs by their results, because no test is valid
    then.
    """
    if comparison.design.selected_by_results:
        return []
    unstable = verdict_of(comparison).related(Relation.unstable)
    return [group for group in comparison.not_excluded if group not in unstable]


def relation_of(comparison: Comparison, position: int) -> Relation:
    """Return the relation of the configuration at a position in the ranking to the leader."""
    group = comparison.groups[position]
    lead = comparison.leads[position]
    if group is comparison.leader and group.stable:
        return Relation.leader
    if lead is None or lead.test == "none":
        return Relation.untested
    if lead.ahead:
        return Relation.behind
    if lead.excluded or comparison.is_dropped(group):
        return Relation.excluded
    return Relation.unstable if lead.unstable else Relation.open
