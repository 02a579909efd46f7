"""Loads the runs of a comparison, from the run folders of local sweeps or from an MLflow store."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from lenet_exp.addresses import default_uri, store_name, store_uri
from lenet_exp.comparison.compare import Comparison, compare_runs
from lenet_exp.comparison.design import Design, EndedConfirmation, combined_design, design_of
from lenet_exp.comparison.part import select_part
from lenet_exp.comparison.race import with_listed_seeds
from lenet_exp.comparison.runs import ComparedRun, StoredRuns, from_results
from lenet_exp.comparison.search.summary import SearchSummary, searched
from lenet_exp.config.schema import EpochChoice
from lenet_exp.errors import ConfigError, DamagedError, one_of
from lenet_exp.folders.find import all_runs, find_sweep, is_mlflow_run_id
from lenet_exp.folders.results import job_results
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.folders.sweep_plan import SweepPlan
from lenet_exp.outputs import outputs_dir
from lenet_exp.reports.run_source import RunSource
from lenet_exp.reports.terminal.sweep_table import missing_digests
from lenet_exp.sweeps.confirms import ended_confirmation

# Returns the runs in a store and an experiment that match a filter.
FindRuns = Callable[[str, str, str], StoredRuns]
# Returns the same in a fixed store and experiment.
Find = Callable[[str], StoredRuns]

log = logging.getLogger("lenet_exp")


def load_comparisons(
    sweep: str | None,
    filter_string: str | None,
    uri: str | None,
    experiment: str,
    by: str = EpochChoice.best,
    only: str | None = None,
    best_per: str | None = None,
    *,
    find_runs: FindRuns,
) -> tuple[list[Comparison], RunSource]:
    """Compare the runs of one or more sweeps, or the runs that match a filter.

    Args:
        sweep: sweeps, separated by commas; by default, the last sweep.
        filter_string: MLflow filter that selects runs in the store.
        uri: address of the MLflow store.
        experiment: MLflow experiment of the runs.
        by: epoch whose accuracy is compared: `best` or `last`.
        only, best_per: the part of the comparisons; see `select_part`.
        find_runs: function that returns the runs in a store that match a filter; see
            `find_runs.runs_of_filter`.

    Returns:
        The comparisons, and the source of their runs.

    Raises:
        UserError: a sweep, a store, or a run was not found, or MLflow rejects the filter.
    """
    epoch = EpochChoice(one_of("by", by, list(EpochChoice)))
    if sweep is not None and filter_string is not None:
        raise ConfigError("sweep= and filter= are both set; set only one of them")

    uri = uri or default_uri()
    store = store_name(uri)
    find = partial(find_runs, uri, experiment)
    if filter_string is not None:
        loaded = _load_filter(filter_string, find, experiment, store)
    else:
        if sweep is None:
            _check_any_sweep()
        names = [name.strip() for name in (sweep or "last").split(",")]
        loaded = _combined([_load_sweep(name, find, store) for name in names])
    if not loaded.runs:
        raise ConfigError(f"filter={filter_string}: no runs in experiment '{experiment}' match")

    comparisons = compare_runs(
        loaded.runs, loaded.swept, epoch, loaded.design, search=loaded.search
    )
    return select_part(comparisons, only, best_per), loaded.source


@dataclass(frozen=True)
class _LoadedRuns:
    """Runs to compare.

    Attributes:
        runs: the runs.
        swept: names of the swept flags.
        design: the decisions made before the first result; None if unknown.
        search: summary of the search that the runs belong to; None if they do not belong to a
            single search.
        source: source of the runs, for use in reports.
    """

    runs: list[ComparedRun]
    swept: list[str]
    design: Design | None
    search: SearchSummary | None
    source: RunSource


def _check_any_sweep() -> None:
    """Raise an error if the outputs folder has runs but no sweeps."""
    outputs = outputs_dir()
    if not all_sweeps(outputs) and all_runs(outputs):
        raise ConfigError(
            f"no sweep found in {outputs}; "
            "to compare runs that are not part of a sweep, set filter="
        )


def _load_filter(filter_string: str, find: Find, experiment: str, store: str) -> _LoadedRuns:
    """Load the runs in a store that match a filter."""
    stored = find(filter_string)
    title = filter_string.strip() or f"all runs of {experiment}"
    design = Design(filter=title, has_added_seeds=stored.have_added_seeds)
    source = RunSource(title, store=store)
    return _LoadedRuns(stored.runs, stored.swept, design, search=None, source=source)


def _load_sweep(name: str, find: Find, store: str) -> _LoadedRuns:
    """Load the runs of a sweep from the outputs folder or, if it is not there, from the store.

    Args:
        name: ID, folder, or MLflow run ID of the sweep. Only the MLflow run ID finds a sweep in the
            store.
        find: function that returns the runs in the store that match a filter.
        store: name of the store.

    Raises:
        UserError: the sweep was not found.
    """
    try:
        sweep = find_sweep(name)
    except ConfigError:
        if not is_mlflow_run_id(name):
            raise
        stored = find(f"tags.sweeps LIKE '%{name}%'")
        if not stored.runs:
            raise
        design = Design(has_added_seeds=True) if stored.have_added_seeds else None
        source = RunSource(f"sweep {name}", store=store)
        return _LoadedRuns(stored.runs, stored.swept, design, search=None, source=source)
    return _load_local_sweep(sweep)


def _load_local_sweep(sweep: SweepFolder) -> _LoadedRuns:
    """Load the runs of a sweep in an outputs folder."""
    plan = sweep.started()
    results = job_results(sweep, sweep.jobs(), since_ms=0)
    digests_line = missing_digests(results)
    if digests_line is not None:
        log.info("%s", digests_line)

    design = design_of(plan, results, sweep)
    return _LoadedRuns(
        runs=from_results(results),
        swept=[flag.lstrip("+") for flag in plan.swept],
        design=_with_confirmations(design, sweep),
        search=searched(plan, results),
        source=_source_of(sweep, plan),
    )


def _combined(sweeps: Sequence[_LoadedRuns]) -> _LoadedRuns:
    """Combine the runs of several sweeps. A run that belongs to several sweeps appears once.

    Of a sweep with `sweep.within`, only the listed seeds count, because results determined which
    runs were added.
    """
    runs: dict[str, ComparedRun] = {}
    swept: dict[str, None] = {}
    for sweep in sweeps:
        runs_of_sweep = sweep.runs
        race = sweep.design.race if sweep.design is not None else None
        if len(sweeps) > 1 and race is not None:
            runs_of_sweep = with_listed_seeds(runs_of_sweep, race)
        runs |= {run.id: run for run in runs_of_sweep}
        swept |= dict.fromkeys(sweep.swept)

    designs = [sweep.design for sweep in sweeps if sweep.design is not None]
    search = None
    source = sweeps[0].source
    if len(sweeps) == 1:
        search = sweeps[0].search
    else:
        title = "; ".join(sweep.source.title for sweep in sweeps)
        source = RunSource(title, store=source.store)
    return _LoadedRuns(
        list(runs.values()), list(swept), combined_design(designs), search=search, source=source
    )


def _with_confirmations(design: Design, sweep: SweepFolder) -> Design:
    """Return a sweep's design, updated with whether the sweep is running and with confirmations of
    its leader.
    """
    confirmations: list[EndedConfirmation] = []
    for other in all_sweeps(sweep.outputs, quietly=True):
        plan = other.started()
        if plan.confirms != sweep.id or plan.confirmed is None:
            continue
        with contextlib.suppress(DamagedError):  # reported when that sweep itself is compared
            result = ended_confirmation(other, tested=sweep)
            if result is not None:
                confirmations.append(result)
    return replace(design, running=sweep.owner() is not None, confirmations=tuple(confirmations))


def _source_of(sweep: SweepFolder, plan: SweepPlan) -> RunSource:
    """Return the source of a local sweep, for use in reports."""
    stores = sweep.delivered().run_ids()
    store: str | None = store_name(store_uri(plan.tracking_uri, sweep.outputs))
    if store not in stores:  # the outputs folder has moved
        store = next(iter(stores), None)
    return RunSource(plan.command, plan.command, store)
