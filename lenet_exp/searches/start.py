"""Starts a search, or goes on with it: from the command line, or from Python without Hydra's command line."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from hydra.core.override_parser.overrides_parser import OverridesParser

from lenet_exp.config.compose import allow_new_keys, composed, composing
from lenet_exp.errors import RunsFailed
from lenet_exp.executors.launcher import ExecutorLauncher
from lenet_exp.folders.results import JobResult, job_results
from lenet_exp.machine import command_line
from lenet_exp.reports.search_words import best_result
from lenet_exp.searches.plan import PlannedSearch, plan_lines, plan_search
from lenet_exp.searches.search import SearchRun
from lenet_exp.searches.study import check_storage
from lenet_exp.sweeps.detach import check_detachable, detach
from lenet_exp.sweeps.launching import Launching, LocalLaunching
from lenet_exp.sweeps.session import SweepRequest, sweep_session


@dataclass(frozen=True)
class SearchResult:
    """What a search came to.

    Attributes:
        folder: the sweep's, with `study.db`, which `optuna.load_study` reads.
        trials: the jobs' results in their order: with one seed, trial n's is the one at n.
        left: of a search with several seeds, the results (of the first seed) of what can't be excluded as the best.
        best: of those that finished, by the objective; None where none did.
        value: its, by the objective.
    """

    folder: Path
    trials: list[JobResult]
    best: JobResult | None
    value: float | None
    left: list[JobResult] = field(default_factory=list)


def train_search(planned: PlannedSearch, command: str, launching: Launching) -> None:
    """Searches to its budgets; with `sweep.dry_run=true` prints what it would do, with `sweep.detach=true` submits it.

    Args:
        command: the line that asks for it, to keep.
        launching: its launcher gives an executor.

    Raises:
        ConfigError, StoreError: before anything is trained.
        RunsFailed: at the end, where a run did not finish.
    """
    if planned.config.sweep.detach:
        check_detachable(launching.launcher(planned.sweep, planned.config)[0])
    if planned.search.storage is not None:
        check_storage(planned.search.storage)
    if planned.config.sweep.dry_run:
        print(*plan_lines(planned), sep="\n")
        return
    launching.check(planned.corners)
    swept = [flag.name for flag in planned.flags]
    request = SweepRequest(command=command, overrides=planned.overrides, swept=swept, search=planned.asked)
    if planned.config.sweep.detach:
        launcher, _ = launching.launcher(planned.sweep, planned.config)
        detach(launcher, planned.sweep, planned.corners, planned.config, request)
        return
    search = SearchRun(planned)
    with sweep_session(planned.sweep, search.open, planned.config, request) as session:
        launcher, environment = launching.launcher(session.sweep, session.config, session)
        search.run(session, cast(ExecutorLauncher, launcher), environment)


def search_here(overrides: Sequence[str]) -> tuple[PlannedSearch, SearchResult]:
    """Searches to its budgets, or goes on with it, in processes of this machine: the same as by
    `hydra/sweeper=search`, in the same folder.

    Args:
        overrides: as on the command line, such as `optimizer.lr=interval(0.01,1)` and `n_trials=20`; with
            `sweep.dry_run=true` it is only said what would be searched.

    Returns:
        What was planned, and what it came to. The best is not confirmed yet.

    Raises:
        ConfigError, DataError, StoreError: before anything is trained.
    """
    with composing():
        planned = plan_search(OverridesParser.create().parse_overrides(allow_new_keys(list(overrides))), composed)
        with contextlib.suppress(RunsFailed):  # which of them stands in the result
            train_search(planned, command_line(), LocalLaunching())
    plan = None if planned.config.sweep.dry_run else planned.sweep.kept_plan()
    found = plan.search if plan is not None else None
    if plan is None or found is None:
        return planned, SearchResult(planned.sweep.path, [], None, None)
    results = job_results(planned.sweep, planned.sweep.jobs(), plan.started_ms)
    runs = {result.job.run: result for result in reversed(results)}
    left = [runs[run] for run in found.left or [] if run in runs]
    return planned, SearchResult(
        folder=planned.sweep.path, trials=results, best=best_result(found, results), value=found.best_value, left=left
    )
