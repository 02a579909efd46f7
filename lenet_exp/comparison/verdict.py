"""The verdict of a comparison, as data: how the leader compares with every other configuration."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.statistics import Difference


class Relation(StrEnum):
    """The result of comparing the leader with another configuration."""

    ahead = "ahead"
    alike = "alike"  # no significant difference
    dropped = "dropped"  # no significant difference; a search stopped training the other configuration
    flat = "flat"  # no spread, so no test is possible
    single = "single"  # at least one of the two configurations has only one seed


@dataclass(frozen=True)
class Verdict:
    """The result of comparing the leader with all other configurations.

    Attributes:
        compared: each configuration that the leader is compared with, its difference from the leader, and its relation
            to the leader.
        complete: whether all runs have ended.
    """

    compared: list[tuple[Group, Difference, Relation]]
    complete: bool

    @property
    def wins(self) -> bool:
        """Whether the leader is ahead of all others and all runs have ended."""
        return self.complete and bool(self.compared) and not self.not_ahead

    @property
    def not_ahead(self) -> list[Difference]:
        """The differences between the leader and the configurations over which it has no significant lead."""
        return [lead for _, lead, relation in self.compared if relation is not Relation.ahead]

    @property
    def tested(self) -> bool:
        """Whether any comparison is based on several seeds."""
        return any(lead.n > 1 for _, lead, _ in self.compared)

    def related(self, relation: Relation) -> list[Group]:
        """Return the configurations that have this relation to the leader."""
        return [group for group, _, its in self.compared if its is relation]


def verdict_of(comparison: Comparison) -> Verdict:
    """Return the verdict of a comparison."""
    pairs = zip(comparison.groups, comparison.leads, strict=True)
    compared = [(group, lead, _relation(comparison, group, lead)) for group, lead in pairs if lead is not None]
    return Verdict(compared, complete=not any(group.missing for group in comparison.groups))


def _relation(comparison: Comparison, group: Group, lead: Difference) -> Relation:
    if lead.ahead:
        return Relation.ahead
    if lead.test != "none":
        return Relation.dropped if comparison.is_dropped(group) else Relation.alike
    return Relation.single if lead.n < 2 else Relation.flat
