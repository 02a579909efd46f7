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
    untested = (
        "untested"  # one seed, no variation between seeds, a diverged run, or no finished run
    )


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
    def typical(self) -> float:
        """The typical standard deviation over seeds, as a fraction; NaN if variances were not
        moderated.
        """
        return next(
            (lead.typical for _, lead, _ in self.compared if lead.test != "none"), float("nan")
        )

    def related(self, relation: Relation) -> list[Group]:
        """Return the configurations that have this relation to the leader."""
        return [group for group, _, its in self.compared if its is relation]

    def untested(self, *, single: bool) -> list[Group]:
        """Return the configurations that cannot be tested, because of a single seed or of no
        variation.
        """
        return [
            g
            for g, lead, its in self.compared
            if its is Relation.untested and (lead.n < 2) is single
        ]


def verdict_of(comparison: Comparison) -> Verdict:
    """Judge each configuration of a comparison against the leader."""
    compared = [
        (group, lead, relation_of(comparison, position))
        for position, (group, lead) in enumerate(
            zip(comparison.groups, comparison.leads, strict=True)
        )
        if lead is not None
    ]
    return Verdict(compared, complete=not any(group.missing for group in comparison.groups))


def could_be_best(comparison: Comparison) -> list[Group]:
    """Return the configurations that are not excluded and not unstable, such as those that are
    printed in bold.

    Return an empty list if a filter selected the runs by their results, because no test is valid
    then.
    """
    unstable = verdict_of(comparison).related(Relation.unstable)
    return [
        g
        for g in comparison.not_excluded
        if g not in unstable and not comparison.design.selected_by_results
    ]


def relation_of(comparison: Comparison, position: int) -> Relation:
    """Return the relation of the configuration at a position in the ranking to the leader."""
    group, lead = comparison.groups[position], comparison.leads[position]
    if group is comparison.leader and group.stable:
        return Relation.leader
    if lead is None or lead.test == "none":
        return Relation.untested
    if lead.ahead:
        return Relation.behind
    if lead.excluded or comparison.is_dropped(group):
        return Relation.excluded
    return Relation.unstable if lead.unstable else Relation.open
