"""Starts or resumes a search, from the command line or from Python."""

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
    """The result of a search.

    Attributes:
        folder: the sweep folder; its `study.db` can be read by `optuna.load_study`.
        trials: results of the jobs, in order. With one seed, item n is trial n.
        best: the best finished run by the objective; None if none finished.
        value: the objective of that run.
        left: with several seeds, the first-seed results of the configurations that cannot be excluded as best.
    """

    folder: Path
    trials: list[JobResult]
    best: JobResult | None
    value: float | None
    left: list[JobResult] = field(default_factory=list)


def train_search(planned: PlannedSearch, command: str, launching: Launching) -> None:
    """Search until a budget is spent. With `sweep.dry_run=true`, only print the plan; with `sweep.detach=true`, only
    submit the search.

    Args:
        command: the command to record.
        launching: provides a launcher with an executor.

    Raises:
        ConfigError, StoreError: the search cannot be run, or the store cannot be used; raised before anything is
            trained.
        RunsFailed: a run did not finish; raised at the end.
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
    """Start or resume a search in processes on this machine, in the same folder as `hydra/sweeper=search`.

    Args:
        overrides: as on the command line, such as `optimizer.lr=interval(0.01,1)` and `n_trials=20`. With
            `sweep.dry_run=true`, the plan is printed and nothing is trained.

    Returns:
        The plan and the result. The best configuration is not confirmed yet.

    Raises:
        ConfigError, DataError, StoreError: the search is invalid, or the data or the store cannot be used; raised
            before anything is trained.
    """
    with composing():
        planned = plan_search(OverridesParser.create().parse_overrides(allow_new_keys(list(overrides))), composed)
        with contextlib.suppress(RunsFailed):  # the result shows which runs failed
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
