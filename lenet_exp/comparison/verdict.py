"""The verdict of a comparison as a value: how the leader compares to each other configuration."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.statistics import Difference


class Relation(StrEnum):
    """How the leader compares to another configuration."""

    ahead = "ahead"
    alike = "alike"  # not told apart
    dropped = "dropped"  # not told apart, and a search gave it no further seeds
    flat = "flat"  # there is no spread to judge by
    single = "single"  # one of them has one seed


@dataclass(frozen=True)
class Verdict:
    """The leader against the others.

    Attributes:
        held: the configurations that it is held against.
        complete: whether all runs have ended.
    """

    held: list[tuple[Group, Difference, Relation]]
    complete: bool

    @property
    def wins(self) -> bool:
        """Whether it is ahead of all others, and none can change that any more."""
        return self.complete and bool(self.held) and not self.open

    @property
    def open(self) -> list[Difference]:
        """Where it is not ahead."""
        return [lead for _, lead, relation in self.held if relation is not Relation.ahead]

    @property
    def tested(self) -> bool:
        """Whether there are several seeds to judge any difference by."""
        return any(lead.n > 1 for _, lead, _ in self.held)

    def related(self, relation: Relation) -> list[Group]:
        """The configurations to which it stands so."""
        return [group for group, _, its in self.held if its is relation]


def verdict_of(comparison: Comparison) -> Verdict:
    """The verdict on its groups."""
    pairs = zip(comparison.groups, comparison.leads, strict=True)
    held = [(group, lead, _relation(comparison, group, lead)) for group, lead in pairs if lead is not None]
    return Verdict(held, complete=not any(group.missing for group in comparison.groups))


def _relation(comparison: Comparison, group: Group, lead: Difference) -> Relation:
    if lead.ahead:
        return Relation.ahead
    if lead.test != "none":
        return Relation.dropped if comparison.is_dropped(group) else Relation.alike
    return Relation.single if lead.n < 2 else Relation.flat
