"""The design of a comparison. Error rates are valid only if the design was fixed before the first
result was seen.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass

from lenet_exp.config.schema import Objective
from lenet_exp.folders.results import JobResult
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.folders.sweep_plan import SweepPlan


@dataclass(frozen=True)
class ConfirmationResult:
    """The result of a confirmation, which is a sweep that tests another sweep's leader on new
    seeds.

    Attributes:
        sweep: ID of the confirmation.
        dataset: name of the dataset.
        points: the lead that the confirmation was designed to detect, in percentage points.
        confirmed: whether the leader was confirmed.
        scored: whether the leader has a test result.
    """

    sweep: str
    dataset: str
    points: float
    confirmed: bool
    scored: bool = False


@dataclass(frozen=True)
class Design:
    """The decisions about a comparison that were made before its results were seen.

    Attributes:
        runs: number of runs in all compared sweeps.
        known: number of runs that started before their sweep was first started. Their results may
            have influenced the sweep's design. A single such run per dataset allows no selection,
            so it counts only in a confirmation, which requires new seeds.
        sweeps: number of sweeps that are compared together.
        confirms: ID of the sweep whose leader this sweep tests on new seeds; None if this sweep is
            not a confirmation.
        points: the lead that the confirmation was designed to detect, as a fraction; None if this
            sweep is not a confirmation.
        leader: ID of the sweep's first run, which in a confirmation belongs to the leader being
            tested.
        searched: whether the runs belong to a search that can train its configurations with more
            seeds.
        sweep: ID of the sweep; empty if several sweeps are compared.
        left: for a search that added seeds only to promising configurations, the IDs of runs whose
            configurations could be the best; None if each configuration has one seed.
        against: whether the leader is tested against a baseline that was not part of the confirmed
            sweep.
        running: whether a process is training runs of the sweep.
        trials: whether any sweep is a search, so that pruning determines which runs finish.
        tests: results of the ended confirmations of the sweep's leader, latest first.
        filter: filter that selected the runs; empty if sweeps were selected.
        retrained: whether runs were retrained (`sweep.force`), so that earlier results may have
            been seen.
        unsigned: whether the sweep's plan has no digest, so that its start may have been edited.
        repeats: number of earlier sweeps with the same command and other seeds.
    """

    runs: int = 0
    known: int = 0
    sweeps: int = 1
    confirms: str | None = None
    points: float | None = None
    leader: str = ""
    searched: bool = False
    sweep: str = ""
    left: frozenset[str] | None = None
    against: bool = False
    running: bool = False
    tests: tuple[ConfirmationResult, ...] = ()
    trials: bool = False
    filter: str = ""
    retrained: bool = False
    unsigned: bool = False
    repeats: int = 0

    @property
    def picked(self) -> bool:
        """Whether results selected the runs, so that no test is valid."""
        return bool(re.search(r"\bmetrics?\b", self.filter, re.IGNORECASE))


def design_of(plan: SweepPlan, results: Sequence[JobResult], sweep: SweepFolder) -> Design:
    """Return the design of a sweep, given its plan, the results of its jobs in order, and its
    folder.
    """
    records = {r.job.run: r.record for r in results if r.record is not None}
    before = Counter(
        record.dataset for record in records.values() if record.created_ms < plan.created_ms
    )
    counts = not plan.remade and (plan.confirms is not None or max(before.values(), default=0) > 1)
    search = plan.search
    asked = results[0].job.config.sweep if results and plan.confirms is not None else None
    return Design(
        runs=len({r.job.run for r in results}),
        known=before.total() if counts else 0,
        confirms=plan.confirms if asked is not None and asked.confirms is not None else None,
        points=asked.points / 100 if asked is not None and asked.points is not None else None,
        leader=results[0].job.run if results else "",
        searched=search is not None and search.objective in {Objective.accuracy, Objective.loss},
        sweep=sweep.id,
        unsigned=not sweep.has_digest(),
        repeats=_repeats(plan, sweep, {r.job.run for r in results}) if plan.confirms is None else 0,
        left=frozenset(search.left) if search is not None and search.left is not None else None,
        against=asked is not None and asked.against,
        trials=search is not None,
        retrained=plan.retrained,
    )


def _repeats(plan: SweepPlan, sweep: SweepFolder, runs: Set[str]) -> int:
    """Return the number of earlier sweeps with the same command (except seeds) and code, and with
    other runs.
    """

    def trains(plan: SweepPlan) -> set[str]:
        besides = ("seed=", "split_seed=", "sweep.", "tracking.")
        flags = {o for o in plan.overrides if not o.lstrip("+").startswith(besides)}
        return flags | {plan.experiment, *plan.code.values()}

    plans = [(other, other.started()) for other in all_sweeps(sweep.outputs, quietly=True)]
    alike = [
        other
        for other, its in plans
        if its.created_ms < plan.created_ms and trains(its) == trains(plan)
    ]
    return sum(not runs >= set(other.run_ids()) for other in alike)


def combined_design(designs: Sequence[Design]) -> Design | None:
    """Return the common design of sweeps that are compared together; None if there are no sweeps."""
    if len(designs) < 2:
        return designs[0] if designs else None
    runs, known = sum(d.runs for d in designs), sum(d.known for d in designs)
    return Design(
        runs,
        known,
        len(designs),
        trials=any(d.trials for d in designs),
        retrained=any(d.retrained for d in designs),
        unsigned=any(d.unsigned for d in designs),
    )
