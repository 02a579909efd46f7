"""The comparison of any set of runs, one for each data set: accuracies on different images can't be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from lenet_exp.comparison.effects import Effects, effects
from lenet_exp.comparison.group import Group, grouped
from lenet_exp.comparison.runs import EXECUTION, ComparedRun
from lenet_exp.comparison.statistics import Difference, differences
from lenet_exp.config.conf_dir import config_groups
from lenet_exp.config.names import job_name


@dataclass(frozen=True)
class Comparison:
    """Groups of one data set.

    Attributes:
        groups: best mean first.
        flags: those that differ between groups; the swept ones first.
        leads: the leader against each of the other groups that have finished runs, in their order.
    """

    dataset: str
    groups: list[Group]
    flags: list[str]
    leads: list[Difference]

    @property
    def leader(self) -> Group | None:
        """The group with the best mean, if any run finished."""
        return self.groups[0] if self.groups and self.groups[0].n else None

    @property
    def num_runs(self) -> int:
        return sum(len(g.runs) for g in self.groups)

    @property
    def most_seeds(self) -> int:
        """Runs of the group that has most."""
        return max((len(g.runs) for g in self.groups), default=0)

    @cached_property
    def effects(self) -> Effects:
        """What each flag does."""
        return effects(self.groups, self.flags)

    def lead(self, position: int) -> Difference | None:
        """The leader against the group at a position of `groups`; None for itself and for those without result."""
        return self.leads[position - 1] if 0 < position <= len(self.leads) else None

    def values(self, group: Group) -> list[str]:
        """A group's values of `flags`; `-` where a flag has no effect in it."""
        return [group.flags.get(flag, "-") for flag in self.flags]

    def name(self, group: Group) -> str:
        """A group's own values, short: `relu lr=0.1`."""
        values = {f: v for f, v in zip(self.flags, self.values(group), strict=True) if v != "-"}
        return job_name(0, values, set(config_groups())) if values else self.dataset


def compare_runs(runs: Sequence[ComparedRun], swept: Sequence[str] = ()) -> list[Comparison]:
    """Comparisons by data set, in the order in which the data sets come.

    Args:
        swept: flags to name first. How a run was executed makes a configuration only where it is one of them.
    """
    by_dataset: dict[str, list[ComparedRun]] = {}
    without = EXECUTION.difference(swept)
    for run in runs:
        flags = {flag: value for flag, value in run.flags.items() if flag not in without}
        by_dataset.setdefault(run.flags["dataset"], []).append(replace(run, flags=flags))
    return [_compare(dataset, its, swept) for dataset, its in by_dataset.items()]


def _compare(dataset: str, runs: Sequence[ComparedRun], swept: Sequence[str]) -> Comparison:
    groups = grouped(runs)
    leads = []
    if groups and groups[0].n:
        leads = differences(groups[0].accuracy, [g.accuracy for g in groups[1:] if g.n])
    return Comparison(dataset, groups, _differing(groups, swept), leads)


def _differing(groups: Sequence[Group], swept: Sequence[str]) -> list[str]:
    """The flags by which groups differ, without those that only come along with another (`betas` with Adam)."""
    known = dict.fromkeys(flag for g in groups for flag in g.flags)
    first = [flag for s in swept for flag in known if flag == s or flag.startswith(f"{s}.")]
    order = list(dict.fromkeys([*first, *known]))
    with_values = {flag: {g.flags[flag] for g in groups if flag in g.flags} for flag in order}
    chosen = [flag for flag in order if len(with_values[flag]) > 1]
    for flag in order:  # what tells groups apart by being there at all
        if flag not in chosen and any(flag not in g.flags for g in groups) and _kinds(groups, chosen) < len(groups):
            more = [f for f in order if f in {*chosen, flag}]
            chosen = more if _kinds(groups, more) > _kinds(groups, chosen) else chosen
    return chosen


def _kinds(groups: Sequence[Group], flags: Sequence[str]) -> int:
    return len({tuple(g.flags.get(flag) for flag in flags) for g in groups})
