"""The design of a comparison: error rates hold for a design that was fixed before the first result was seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lenet_exp.config.schema import Objective
from lenet_exp.folders.records import SweepPlan
from lenet_exp.folders.results import JobResult


@dataclass(frozen=True)
class ConfirmationResult:
    """A sweep that has put another one's leader to the test on fresh seeds.

    Attributes:
        points: the difference that it was made to find, in percentage points.
        scored: its leader has a test result.
    """

    sweep: str
    dataset: str
    points: float
    confirmed: bool
    scored: bool = False


@dataclass(frozen=True)
class Design:
    """How the runs of a comparison came to be.

    Attributes:
        runs: of all its sweeps.
        known: those of them that had begun before their sweep was first typed, so that one may have chosen by them.
            A single one of a data set leaves nothing to choose among; it counts only where seeds must be fresh.
        sweeps: how many were put together.
        confirms: id of the sweep whose leader this one puts to the test, on seeds that had no say in naming it.
        points: the difference that the test was made to find, as a fraction.
        leader: the run that stands for that leader: the first that was asked for.
        searched: whether a search made the runs that can give further seeds to them.
        sweep: id of the one sweep that it is; empty where it is none, or several.
        against: it holds that leader against a baseline that the other sweep had not tried.
        running: a process is training for it.
        tests: of its leader that have ended, the last one first.
        left: of a search that gave seeds to those that were still worth it: runs of the configurations that it could
            not exclude; None: it gave all the same.
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
    """The design of one sweep, by its jobs in their order, and its id."""
    records = {r.job.run: r.record for r in results if r.record is not None}
    before = Counter(record.dataset for record in records.values() if record.created_ms < plan.created_ms)
    counts = not plan.remade and (plan.confirms is not None or max(before.values(), default=0) > 1)
    search = plan.search
    asked = results[0].job.config.sweep if results and plan.confirms is not None else None  # the jobs have it, too
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
    """The design of sweeps that are compared as one; None for runs of no sweep."""
    if len(designs) < 2:
        return designs[0] if designs else None
    return Design(sum(d.runs for d in designs), sum(d.known for d in designs), len(designs))
