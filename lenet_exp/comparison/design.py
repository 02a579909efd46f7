"""The design of a comparison. Error rates hold only for a design fixed before the first result was seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lenet_exp.config.schema import Objective
from lenet_exp.folders.records import SweepPlan
from lenet_exp.folders.results import JobResult


@dataclass(frozen=True)
class ConfirmationResult:
    """The result of a sweep that tested another sweep's leader on new seeds.

    Attributes:
        points: the difference that the sweep was designed to detect, in percentage points.
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
        known: number of runs that had begun before their sweep was first started, so their results may have influenced
            the sweep. A single such run per dataset leaves nothing to choose from, so it counts only if seeds must be
            new.
        sweeps: number of sweeps compared together.
        confirms: id of the sweep whose leader this sweep tests, on seeds not used to select that leader.
        points: the difference that the test was designed to detect, as a fraction.
        leader: id of the run that identifies that leader: the first run requested.
        searched: whether a search made the runs and can add seeds to them.
        sweep: id of the sweep; empty unless there is exactly one.
        against: whether the leader is tested against a baseline that the other sweep had not tried.
        running: whether a process is training for the sweep.
        tests: ended tests of the sweep's leader, latest first.
        left: for a search that added seeds only to promising configurations, the runs of the configurations that it
            could not exclude. None: all configurations got the same number of seeds.
    """

    runs: int
    known: int
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


def design_of(plan: SweepPlan, results: Sequence[JobResult], sweep: str = "") -> Design:
    """Return the design of one sweep, from its plan and the results of its jobs in order."""
    records = {r.job.run: r.record for r in results if r.record is not None}
    before = Counter(record.dataset for record in records.values() if record.created_ms < plan.created_ms)
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
        sweep=sweep,
        left=frozenset(search.left) if search is not None and search.left is not None else None,
        against=bool(results) and results[0].job.config.sweep.against,
    )


def combined_design(designs: Sequence[Design]) -> Design | None:
    """Return the design of several sweeps compared together; None if there is no sweep."""
    if len(designs) < 2:
        return designs[0] if designs else None
    return Design(sum(d.runs for d in designs), sum(d.known for d in designs), len(designs))
