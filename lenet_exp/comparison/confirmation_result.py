"""The result of a confirmation, which tests a sweep's leader on seeds not used to select it."""

from __future__ import annotations

from dataclasses import dataclass

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.leader import tested_leader
from lenet_exp.comparison.statistics.differences import Difference
from lenet_exp.folders.records import RESULTS


@dataclass(frozen=True)
class ConfirmationResult:
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
        earlier_runs: number of runs that started before the confirmation; their results may have
            been seen.
    """

    leader: Group
    leads: list[tuple[Group, Difference]]
    unsteady: list[Group]
    points: float
    missing: int
    earlier_runs: int

    @property
    def confirmed(self) -> bool | None:
        """Whether the leader is significantly ahead of all others without diverged runs, none of
        its own runs diverged, and no run started before the confirmation; None if runs are missing.
        """
        if self.missing:
            return None
        if self.earlier_runs or self.leader.diverged:
            return False
        return all(lead.ahead for _, lead in self.leads)


def confirmation_result(comparison: Comparison) -> ConfirmationResult | None:
    """Return the result of a confirmation; None if the compared runs do not belong to a
    confirmation.
    """
    design = comparison.design
    groups = comparison.groups
    leader = tested_leader(groups, design)
    if leader is None or design.points is None:
        return None

    leads = []
    for group, lead in zip(groups, comparison.leads, strict=True):
        if lead is not None:
            leads.append((group, lead))
    unsteady = [group for group in groups if group is not leader and group.diverged]
    missing = 0
    for group in groups:
        missing += sum(n for outcome, n in group.outcomes.items() if outcome not in RESULTS)

    return ConfirmationResult(
        leader,
        leads,
        unsteady,
        design.points,
        missing=missing,
        earlier_runs=design.earlier_runs,
    )
