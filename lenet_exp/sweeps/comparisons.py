"""Loads the runs of a comparison, from the run folders of local sweeps or from an MLflow store."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from lenet_exp.addresses import default_uri, store_name, store_uri
from lenet_exp.comparison.compare import Comparison, compare_runs
from lenet_exp.comparison.design import Design, EndedConfirmation, combined_design, design_of
from lenet_exp.comparison.part import select_part
from lenet_exp.comparison.runs import ComparedRun, from_results
from lenet_exp.comparison.search.summary import SearchSummary, searched
from lenet_exp.config.schema import EpochChoice
from lenet_exp.errors import ConfigError, DamagedError, one_of
from lenet_exp.folders.find import all_runs, find_sweep, is_mlflow_run_id
from lenet_exp.folders.results import job_results
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.outputs import outputs_dir
from lenet_exp.reports.run_source import RunSource
from lenet_exp.reports.terminal.sweep_table import missing_digests
from lenet_exp.sweeps.confirms import ended_confirmation

# Returns the runs in a store, an experiment, and a filter, and the flags that their sweeps varied.
FindRuns = Callable[[str, str, str], tuple[list[ComparedRun], list[str]]]

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
        find_runs: function that returns the runs in a store that match a filter, and the flags that
            their sweeps varied; see `find_runs.runs_of_filter`.

    Returns:
        The comparisons, and the source of their runs.

    Raises:
        UserError: a sweep, a store, or a run was not found, or MLflow rejects the filter.
    """
    epoch = EpochChoice(one_of("by", by, list(EpochChoice)))
    if sweep is not None and filter_string is not None:
        raise ConfigError("sweep= and filter= are both set; set only one of them")
    uri = uri or default_uri()
    if filter_string is not None:
        runs, swept = find_runs(uri, experiment, filter_string)
        title = filter_string.strip() or f"all runs of {experiment}"
        design: Design | None = Design(filter=title)
        search, source = None, RunSource(title, store=store_name(uri))
    else:
        if sweep is None and not all_sweeps(outputs_dir()) and all_runs(outputs_dir()):
            raise ConfigError(
                f"no sweep found in {outputs_dir()}; to compare runs that are not part of a sweep, set filter="
            )
        runs, swept, design, search, source = runs_of_sweeps(
            (sweep or "last").split(","),
            lambda query: find_runs(uri, experiment, query),
            store_name(uri),
        )
    if not runs:
        raise ConfigError(f"filter={filter_string}: no runs in experiment '{experiment}' match")
    found = compare_runs(runs, swept, epoch, design, search=search)
    return select_part(found, only, best_per), source


def runs_of_sweeps(
    which: Sequence[str], find: Callable[[str], tuple[list[ComparedRun], list[str]]], store: str
) -> tuple[list[ComparedRun], list[str], Design | None, SearchSummary | None, RunSource]:
    """Return the runs, swept flags, design, search, and source of one or more sweeps.

    If a sweep is not in the outputs folder, it is looked up in the store by its MLflow run ID. The
    search is None if there is more than one sweep.

    Args:
        which: IDs, folders, or MLflow run IDs of the sweeps.
        find: function that returns the runs in the store that match a filter, and the flags that
            their sweeps varied.
        store: name of the store.

    Raises:
        UserError: a sweep was not found.
    """
    runs: dict[str, ComparedRun] = {}
    swept: dict[str, None] = {}
    sources: list[RunSource] = []
    designs = []
    searches: list[SearchSummary | None] = []
    for name in which:
        try:
            sweep = find_sweep(name.strip())
        except ConfigError:
            if not is_mlflow_run_id(name.strip()):
                raise
            found, flags = find(f"tags.sweeps LIKE '%{name.strip()}%'")
            if not found:
                raise
            sources.append(RunSource(f"sweep {name.strip()}", store=store))
            searches.append(None)
        else:
            plan = sweep.started()
            results = job_results(sweep, sweep.jobs(), since_ms=0)
            if (line := missing_digests(results)) is not None:
                log.info("%s", line)
            found, flags = from_results(results), [flag.lstrip("+") for flag in plan.swept]
            sources.append(source_of(sweep))
            designs.append(_with_tests(design_of(plan, results, sweep), sweep))
            searches.append(searched(plan, results))
        runs |= {run.id: run for run in found}
        swept |= dict.fromkeys(flags)
    search = searches[0] if len(searches) == 1 else None
    if len(sources) > 1:
        sources = [RunSource("; ".join(source.title for source in sources), store=sources[0].store)]
    return list(runs.values()), list(swept), combined_design(designs), search, sources[0]


def _with_tests(design: Design, sweep: SweepFolder) -> Design:
    """Return a sweep's design, updated with whether the sweep is running and with confirmations of
    its leader.
    """
    tests: list[EndedConfirmation] = []
    for other in all_sweeps(sweep.outputs, quietly=True):
        plan = other.started()
        if plan.confirms == sweep.id and plan.confirmed is not None:
            with contextlib.suppress(DamagedError):  # reported when that sweep itself is compared
                tests += filter(None, [ended_confirmation(other, tested=sweep)])
    return replace(design, running=sweep.owner() is not None, confirmations=tuple(tests))


def source_of(sweep: SweepFolder) -> RunSource:
    """Return the source of a local sweep, for use in reports."""
    plan = sweep.started()
    own = store_name(store_uri(plan.tracking_uri, sweep.outputs))
    stores = sweep.delivered().run_ids()
    store = own if own in stores else next(iter(stores), None)  # the outputs folder has moved
    return RunSource(plan.command, plan.command, store)
