"""The race of a sweep with `sweep.within`: which configuration leads, how much better each other
one could be, and which runs are needed next. See `statistics.looks` for the rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from lenet_exp.comparison.design import RaceDesign
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.leader import images_per_accuracy
from lenet_exp.comparison.runs import ComparedRun
from lenet_exp.comparison.statistics.looks import (
    FEWEST_SEEDS,
    Look,
    RaceStanding,
    RaceTable,
    look_sizes,
    race,
)
from lenet_exp.comparison.statistics.pairs import Replicate
from lenet_exp.folders.records import Outcome


class CandidateState(StrEnum):
    """The state of a configuration in a race."""

    leader = "leader"
    open = "open"  # could be better than the leader
    not_best = "not the best"  # worse than the leader
    copy = "copy"  # trains the same weights as an earlier configuration
    diverged = "diverged"  # has left the race, because a run diverged
    undecided = "undecided"  # has left the race, because a run could not be trained
    waiting = "waiting"  # the first look is not complete


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A configuration in a race.

    Attributes:
        group: the configuration with the runs of the last complete look or, without such a look,
            with all its runs.
        trained: the configuration with all its runs.
        state: its state after the last complete look.
        bound: upper bound of how much better it is than the leader, as a fraction if the metric is
            in percent; infinite if it is unknown, and NaN if it is not judged.
        copy_of: configuration that trains the same weights; None if there is none.
    """

    group: Group
    trained: Group
    state: CandidateState
    bound: float = np.nan
    copy_of: Group | None = None


@dataclass(frozen=True, kw_only=True)
class SweepRace:
    """The race of the configurations that were trained on one dataset.

    Attributes:
        design: the decisions made before the race.
        candidates: the configurations, by their groups.
        configurations: number of different configurations, without copies, that the error rate
            covers.
        seeds: number of seeds of the last complete look; 0 if there is none.
        bound: how far the leader can be below the best configuration, as a fraction if the metric
            is in percent; infinite without a complete look.
        decided: whether the bound is at most `within`.
        is_over: whether no runs are missing and no seeds are left to add.
        next_seeds: number of seeds of the look whose runs are being trained.
        requested: the runs that the race needs so far, as pairs of group and replicate. They
            include runs that have ended.
    """

    design: RaceDesign
    candidates: Mapping[Group, Candidate]
    configurations: int
    seeds: int = 0
    bound: float = np.inf
    decided: bool = False
    is_over: bool = False
    next_seeds: int = 0
    requested: list[tuple[Group, Replicate]] = field(default_factory=list)

    def with_groups(self, groups: Mapping[Group, Group]) -> SweepRace:
        """Return the same race with other groups for its configurations.

        Args:
            groups: the new group of each configuration.
        """
        candidates = {groups[group]: candidate for group, candidate in self.candidates.items()}
        requested = [(groups[group], replicate) for group, replicate in self.requested]
        return replace(self, candidates=candidates, requested=requested)

    @property
    def leader(self) -> Candidate | None:
        """The leader; None without a complete look."""
        for candidate in self.candidates.values():
            if candidate.state is CandidateState.leader:
                return candidate
        return None

    def in_state(self, state: CandidateState) -> list[Candidate]:
        """Return the configurations with a state, those with the largest bounds first."""
        candidates = [
            candidate for candidate in self.candidates.values() if candidate.state is state
        ]
        return sorted(candidates, key=lambda candidate: -candidate.bound)


def sweep_race(groups: Sequence[Group], design: RaceDesign) -> SweepRace:
    """Return the race of the configurations on one dataset.

    Args:
        groups: the configurations with all their runs. Their order breaks ties.
    """
    first = max(design.listed, FEWEST_SEEDS)
    replicates = design.replicates
    copy_of = _copies(groups, replicates[:first])
    different = [group for group in groups if group not in copy_of]

    table = _table(different, replicates)
    sizes = look_sizes(first, len(replicates))
    images = images_per_accuracy(different)
    standing = race(table, design.within, sizes, images)

    candidates = _candidates(different, standing, table, design)
    for group, original in copy_of.items():
        candidates[group] = Candidate(
            group=group, trained=group, state=CandidateState.copy, copy_of=original
        )

    last = standing.last
    requested = []
    for row, group in enumerate(different):
        for column in np.flatnonzero(standing.requested[row]):
            requested.append((group, replicates[column]))
    return SweepRace(
        design=design,
        candidates={group: candidates[group] for group in groups},
        configurations=len(different),
        seeds=0 if last is None else last.seeds,
        bound=np.inf if last is None else last.bound,
        decided=last is not None and last.is_decided(design.within),
        is_over=standing.is_over,
        next_seeds=standing.seeds,
        requested=requested,
    )


def _copies(groups: Sequence[Group], replicates: Sequence[Replicate]) -> dict[Group, Group]:
    """Return the configurations that train the same weights as an earlier one, with the earlier
    one.

    They have equal digests of their weights for each of the given replicates. For example, dropout
    with the rate 0 is no dropout.
    """
    first_with: dict[tuple[str, ...], Group] = {}
    copies = {}
    for group in groups:
        digest_of = {run.replicate: run.weights_digest for run in group.finished}
        digests = [digest_of.get(replicate) for replicate in replicates]
        known = tuple(digest for digest in digests if digest is not None)
        if len(known) < len(replicates):
            continue
        original = first_with.setdefault(known, group)
        if original is not group:
            copies[group] = original
    return copies


def _table(groups: Sequence[Group], replicates: Sequence[Replicate]) -> RaceTable:
    """Return the results of configurations, with a column for each replicate."""
    shape = (len(groups), len(replicates))
    values = np.full(shape, np.nan)
    failed = np.zeros(shape, dtype=bool)
    column_of = {replicate: column for column, replicate in enumerate(replicates)}
    for row, group in enumerate(groups):
        scores = group.scores
        for run in group.runs:
            column = column_of.get(run.replicate)
            if column is None:
                continue
            if run.replicate in scores:
                values[row, column] = scores[run.replicate]
            elif run.outcome in (Outcome.diverged, Outcome.failed):
                failed[row, column] = True
    return RaceTable(values, failed)


def _candidates(
    groups: Sequence[Group], standing: RaceStanding, table: RaceTable, design: RaceDesign
) -> dict[Group, Candidate]:
    """Return the state of each configuration after the last complete look."""
    look = standing.last
    has_failed = np.any(standing.requested & table.failed, axis=1)
    if look is not None and not has_failed.all():
        has_failed = look.out  # later failures belong to a look that is not complete

    candidates = {}
    for row, group in enumerate(groups):
        if has_failed[row]:
            state = _state_of_failed(group.runs)
            candidates[group] = Candidate(group=group, trained=group, state=state)
        elif look is None:
            candidates[group] = Candidate(group=group, trained=group, state=CandidateState.waiting)
        else:
            candidates[group] = _judged(group, row, look, design)
    return candidates


def _state_of_failed(runs: Sequence[ComparedRun]) -> CandidateState:
    """Return the state of a configuration that has left the race."""
    has_diverged = any(run.outcome == Outcome.diverged for run in runs)
    return CandidateState.diverged if has_diverged else CandidateState.undecided


def _judged(group: Group, row: int, look: Look, design: RaceDesign) -> Candidate:
    """Return a configuration that a look has judged, with the runs of that look."""
    used = set(design.replicates[: look.counts[row]])
    at_look = replace(group, runs=[run for run in group.runs if run.replicate in used])
    bound = float(look.bounds[row])
    if row == look.leader:
        state = CandidateState.leader
    else:
        state = CandidateState.open if bound > 0 else CandidateState.not_best
    return Candidate(group=at_look, trained=group, state=state, bound=bound)


def in_order_of_race(groups: Sequence[Group], sweep: SweepRace) -> list[Group]:
    """Return groups in the order in which a table shows them: the leader, then the other judged
    configurations, best mean first, and then those that were not judged.
    """
    return sorted(groups, key=lambda group: _rank(sweep.candidates[group]))


def _rank(candidate: Candidate) -> tuple[int, float]:
    """Return a sort key that is lower for better configurations."""
    group = candidate.group
    is_judged = candidate.state in (CandidateState.open, CandidateState.not_best)
    mean = group.metric.sign * group.mean if group.n else -np.inf
    if candidate.state is CandidateState.leader:
        return 0, -mean
    if is_judged or candidate.state in (CandidateState.waiting, CandidateState.copy):
        return 1, -mean
    return 2, -mean


def with_listed_seeds(runs: Sequence[ComparedRun], design: RaceDesign) -> list[ComparedRun]:
    """Return the runs whose seeds the sweep's command lists; the others were added depending on
    results.
    """
    listed_seeds = {seed for seed, _ in design.replicates[: design.listed]}
    return [run for run in runs if run.seed in listed_seeds]
