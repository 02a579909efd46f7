"""The design of a comparison. Error rates are valid only if the design was fixed before the first
result was seen.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

from lenet_exp.comparison.statistics.pairs import Replicate
from lenet_exp.config.metric import Metric
from lenet_exp.config.schema import Objective
from lenet_exp.folders.results import JobResult
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.folders.sweep_plan import RacePlan, SweepPlan


@dataclass(frozen=True)
class RaceDesign:
    """The decisions about a sweep with `sweep.within`; see `RacePlan`.

    Attributes:
        within: difference that does not matter, as a fraction if the metric is in percent.
        replicates: seed and split of each replicate, in the order in which they are trained.
        listed: number of replicates that the command lists.
        after_verdict: whether the flag was added after a verdict was shown.
        replaced_within: difference of an earlier verdict that this one replaces, in the unit of
            `within`; None if there was none.
        max_seconds: time after which no seeds are added, in seconds; None if there is no limit.
        seconds: time in which seeds were added, in seconds.
        ended_by: limit that ended the race early, such as `max_seconds=60`; empty if none did.
    """

    within: float
    replicates: tuple[Replicate, ...]
    listed: int
    after_verdict: bool = False
    replaced_within: float | None = None
    max_seconds: float | None = None
    seconds: float = 0.0
    ended_by: str = ""


@dataclass(frozen=True)
class EndedConfirmation:
    """A confirmation that has ended, as seen from the sweep whose leader it tested.

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
        earlier_runs: number of runs that started before their sweep was first started. Their
            results may have influenced the sweep's design. A single such run per dataset allows no
            selection, so it counts only in a confirmation, which requires new seeds.
        sweeps: number of sweeps that are compared together.
        confirms: ID of the sweep whose leader this sweep tests on new seeds; None if this sweep is
            not a confirmation.
        points: the lead that the confirmation was designed to detect, as a fraction; None if this
            sweep is not a confirmation.
        leader: ID of the sweep's first run, which in a confirmation belongs to the leader being
            tested.
        can_add_seeds: whether the runs belong to a search that can train its configurations with
            more seeds.
        sweep: ID of the sweep; empty if several sweeps are compared.
        remaining_runs: for a search that added seeds only to promising configurations, the IDs of
            runs whose configurations could be the best; None if each configuration has one seed.
        has_baseline: whether the leader is tested against a baseline that was not part of the
            confirmed sweep.
        running: whether a process is training runs of the sweep.
        has_trials: whether any sweep is a search, so that pruning determines which runs finish.
        confirmations: the ended confirmations of the sweep's leader, latest first.
        filter: filter that selected the runs; empty if sweeps were selected.
        retrained: whether runs were retrained (`sweep.force`), so that earlier results may have
            been seen.
        has_no_digest: whether the sweep's plan has no digest, so that its start may have been
            edited.
        earlier_sweeps: number of earlier sweeps with the same command and other seeds.
        race: the decisions about a sweep that added seeds until the best configuration was known;
            None for other sweeps, and if several sweeps are compared.
        has_added_seeds: whether runs from a store belong to sweeps that added seeds depending on
            results; which runs were added is unknown there.
        omits_added_seeds: whether runs that were added depending on results are left out, because
            several sweeps are compared.
    """

    runs: int = 0
    earlier_runs: int = 0
    sweeps: int = 1
    confirms: str | None = None
    points: float | None = None
    leader: str = ""
    can_add_seeds: bool = False
    sweep: str = ""
    remaining_runs: frozenset[str] | None = None
    has_baseline: bool = False
    running: bool = False
    confirmations: tuple[EndedConfirmation, ...] = ()
    has_trials: bool = False
    filter: str = ""
    retrained: bool = False
    has_no_digest: bool = False
    earlier_sweeps: int = 0
    race: RaceDesign | None = None
    has_added_seeds: bool = False
    omits_added_seeds: bool = False

    @property
    def selected_by_results(self) -> bool:
        """Whether a filter selected the runs by a metric, so that no test is valid."""
        return bool(re.search(r"\bmetrics?\b", self.filter, re.IGNORECASE))


def design_of(plan: SweepPlan, results: Sequence[JobResult], sweep: SweepFolder) -> Design:
    """Return the design of a sweep, given its plan, the results of its jobs in order, and its
    folder.
    """
    run_ids = {result.job.run for result in results}
    design = Design(
        runs=len(run_ids),
        earlier_runs=_earlier_runs(plan, results),
        leader=results[0].job.run if results else "",
        sweep=sweep.id,
        retrained=plan.retrained,
        has_no_digest=not sweep.has_digest(),
    )
    if plan.race is not None and results:
        metric = Metric.of(results[0].job.config.metric)
        design = replace(design, race=race_design(plan.race, metric))

    if plan.confirms is None:
        design = replace(design, earlier_sweeps=_earlier_sweeps(plan, sweep, run_ids))
    elif results:
        requested = results[0].job.config.sweep
        design = replace(
            design,
            confirms=plan.confirms if requested.confirms is not None else None,
            points=requested.points / 100 if requested.points is not None else None,
            has_baseline=requested.against,
        )

    search = plan.search
    if search is None:
        return design
    remaining_runs = frozenset(search.left) if search.left is not None else None
    return replace(
        design,
        has_trials=True,
        can_add_seeds=search.objective in {Objective.accuracy, Objective.loss},
        remaining_runs=remaining_runs,
    )


def race_design(plan: RacePlan, metric: Metric) -> RaceDesign:
    """Return the design of a sweep with `sweep.within`.

    Args:
        metric: metric by which the configurations are compared.
    """
    replaced_within = plan.replaced_within
    if replaced_within is not None:
        replaced_within = _difference(replaced_within, metric)
    return RaceDesign(
        within=_difference(plan.within, metric),
        replicates=tuple((seed, split) for seed, split in plan.replicates),
        listed=plan.listed,
        after_verdict=plan.after_verdict,
        replaced_within=replaced_within,
        max_seconds=plan.max_seconds,
        seconds=plan.seconds,
        ended_by=plan.ended_by,
    )


def _difference(within: float, metric: Metric) -> float:
    """Convert a value of `sweep.within` from percentage points if the metric is in percent."""
    return within / 100 if metric.percent else within


def _earlier_runs(plan: SweepPlan, results: Sequence[JobResult]) -> int:
    """Return the number of runs that started before the sweep, if it counts.

    It counts in a confirmation, and if one dataset has at least two of these runs, so that they
    could have been selected. It is unknown after a corrupt plan was replaced.
    """
    record_of_run = {
        result.job.run: result.record for result in results if result.record is not None
    }
    runs_by_dataset: Counter[str] = Counter()
    for record in record_of_run.values():
        if record.created_ms < plan.created_ms:
            runs_by_dataset[record.dataset] += 1

    most = max(runs_by_dataset.values(), default=0)
    allow_selection = plan.confirms is not None or most > 1
    if plan.remade or not allow_selection:
        return 0
    return runs_by_dataset.total()


def _earlier_sweeps(plan: SweepPlan, sweep: SweepFolder, runs: Set[str]) -> int:
    """Return the number of earlier sweeps with the same command (except seeds) and code, and with
    other runs.
    """
    count = 0
    for other in all_sweeps(sweep.outputs, quietly=True):
        other_plan = other.started()
        if other_plan.created_ms >= plan.created_ms:
            continue
        if _experiment(other_plan) != _experiment(plan):
            continue
        if not runs >= set(other.run_ids()):
            count += 1
    return count


def _experiment(plan: SweepPlan) -> set[str]:
    """Return the flags and code of a sweep that can change its results, except the seeds."""
    omitted = ("seed=", "split_seed=", "sweep.", "tracking.")
    flags = {
        override for override in plan.overrides if not override.lstrip("+").startswith(omitted)
    }
    return flags | {plan.experiment, *plan.code.values()}


def combined_design(designs: Sequence[Design]) -> Design | None:
    """Return the common design of sweeps that are compared together; None if there are no
    sweeps.
    """
    if not designs:
        return None
    if len(designs) == 1:
        return designs[0]
    return Design(
        runs=sum(design.runs for design in designs),
        earlier_runs=sum(design.earlier_runs for design in designs),
        sweeps=len(designs),
        has_trials=any(design.has_trials for design in designs),
        retrained=any(design.retrained for design in designs),
        has_no_digest=any(design.has_no_digest for design in designs),
        has_added_seeds=any(design.has_added_seeds for design in designs),
        omits_added_seeds=any(design.race is not None for design in designs),
    )
