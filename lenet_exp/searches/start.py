"""Starts or resumes a search, from the command line or from Python."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.trial import FrozenTrial

from lenet_exp.config.compose import allow_new_keys, composed, composing
from lenet_exp.config.own_code import codes
from lenet_exp.errors import DamagedError, RunsFailed
from lenet_exp.folders.damage import warn_once
from lenet_exp.folders.job import Job
from lenet_exp.folders.results import JobResult, job_results
from lenet_exp.machine import command_line
from lenet_exp.reports.words.search_words import best_result
from lenet_exp.searches.epoch_counts import HAD, RUN
from lenet_exp.searches.plan import PlannedSearch, plan_lines, plan_search
from lenet_exp.searches.search import SearchRun
from lenet_exp.searches.study import StudyDatabase, open_database
from lenet_exp.sweeps.launching import Launching
from lenet_exp.sweeps.session import Follow, SweepRequest, sweep_session


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
        folder: the sweep folder; `optuna.load_study` can read its `study.db`.
        trials: results of the jobs, in order. With one seed per configuration, item n is the result
            of trial n.
        best: the best finished run by the objective; None if no run finished.
        value: value of the objective for `best`, or the mean over seeds if the best configuration
            has several seeds; None if no run finished.
        left: with several seeds per configuration, the first seed's result for each configuration
            that could be the best.
    """

    folder: Path
    trials: list[JobResult]
    best: JobResult | None
    value: float | None
    left: list[JobResult] = field(default_factory=list)


def train_search(planned: PlannedSearch, command: str, launching: Launching) -> None:
    """Run a search until a budget is spent.

    With `sweep.dry_run=true`, only print the plan. Errors in the search or the store are raised
    before training starts. `RunsFailed` is raised at the end.

    Args:
        command: the command to record.
        launching: object that provides the launcher for the jobs.

    Raises:
        ConfigError: the search cannot be run.
        StoreError: the store cannot be used.
        RunsFailed: at least one run did not finish.
    """
    if planned.config.sweep.dry_run:
        print(*plan_lines(planned), sep="\n")
        return
    launching.check(planned.corners, planned.config)
    swept = [flag.name for flag in planned.flags]
    code = codes(*(job.config for job in planned.corners))
    request = SweepRequest(
        command=command, overrides=planned.overrides, swept=swept, search=planned.plan, code=code
    )
    databases: list[StudyDatabase] = []

    def open_jobs() -> list[Job]:
        databases.append(
            open_database(planned.sweep.path, planned.study_name, planned.objective.directions)
        )
        return known_jobs(planned, databases[0].trials)

    with sweep_session(
        planned.sweep, open_jobs, planned.config, request, follow=launching.follow
    ) as session:
        launcher, environment = launching.launcher(session)
        with contextlib.closing(databases[0]) as database:
            SearchRun(planned, session, database).run(launcher, environment)


def known_jobs(planned: PlannedSearch, trials: Sequence[FrozenTrial]) -> list[Job]:
    """Return the jobs of all trials in the study.

    A missing job for a trial's first seed is recreated. A missing job for a later seed is recreated
    only when the search needs it.
    """
    try:
        kept = planned.sweep.jobs() if planned.sweep.kept_plan() is not None else []
    except DamagedError as e:
        warn_once(e)
        kept = []
    jobs = []
    firsts: set[int] = set()
    for job in kept:
        number = job.trial_number
        if planned.seed_number(job):
            known = number in firsts
        else:
            known = (
                number < len(trials)
                and number not in firsts
                and job.run == trials[number].user_attrs.get(RUN)
            )
            firsts |= {number} if known else set()
        if known:
            jobs.append(replace(job, trial=number))
    for trial in trials:
        if trial.number not in firsts:
            job = planned.job(trial)
            jobs.append(
                replace(job, trial=trial.number, epochs_before=int(trial.user_attrs.get(HAD, 0)))
            )
    return [replace(job, number=number) for number, job in enumerate(jobs)]


def search_here(overrides: Sequence[str], follow: Follow) -> tuple[PlannedSearch, SearchResult]:
    """Start or resume a search in processes on this machine, in the same folder as
    `hydra/sweeper=search`.

    Errors are raised before training starts.

    Args:
        overrides: overrides as on the command line, such as `optimizer.lr=interval(0.01,1)` and
            `n_trials=20`. With `sweep.dry_run=true`, the plan is printed and nothing is trained.
        follow: see `Launching`.

    Returns:
        The plan and the result. The best configuration is not confirmed yet.

    Raises:
        ConfigError: the search is invalid.
        DataError: the data cannot be used.
        StoreError: the store cannot be used.
    """
    with composing():
        planned = plan_search(
            OverridesParser.create().parse_overrides(allow_new_keys(list(overrides))), composed
        )
        with contextlib.suppress(RunsFailed):  # the result shows which runs failed
            train_search(planned, command_line(), Launching(follow=follow))
    plan = None if planned.config.sweep.dry_run else planned.sweep.kept_plan()
    found = plan.search if plan is not None else None
    if plan is None or found is None:
        return planned, SearchResult(planned.sweep.path, [], None, None)
    results = job_results(planned.sweep, planned.sweep.jobs(), plan.started_ms)
    runs = {result.job.run: result for result in reversed(results)}
    left = [runs[run] for run in found.left or [] if run in runs]
    return planned, SearchResult(
        folder=planned.sweep.path,
        trials=results,
        best=best_result(found, results),
        value=found.best_value,
        left=left,
    )
