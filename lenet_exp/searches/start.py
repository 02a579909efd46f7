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
from lenet_exp.searches.plan import PlannedSearch, plan_lines, plan_search
from lenet_exp.searches.search import SearchRun
from lenet_exp.searches.study import StudyDatabase, open_database
from lenet_exp.searches.trial_attributes import EPOCHS_BEFORE, RUN
from lenet_exp.sweeps.launching import Launching
from lenet_exp.sweeps.session import Follow, sweep_session
from lenet_exp.sweeps.session_start import SweepRequest


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
    request = SweepRequest(
        command=command,
        overrides=planned.overrides,
        swept=[flag.name for flag in planned.flags],
        search=planned.plan,
        code=codes(*(job.config for job in planned.corners)),
    )
    study = _Study(planned)
    with sweep_session(
        planned.sweep, study.open_jobs, planned.config, request, follow=launching.follow
    ) as session:
        launcher, environment = launching.launcher(session)
        assert study.database is not None
        with contextlib.closing(study.database) as database:
            SearchRun(planned, session, database).run(launcher, environment)


class _Study:
    """The study of a search, which is opened once this process owns the sweep folder.

    Attributes:
        database: the open database; None before `open_jobs` was called.
    """

    def __init__(self, planned: PlannedSearch) -> None:
        self._planned = planned
        self.database: StudyDatabase | None = None

    def open_jobs(self) -> list[Job]:
        """Open the database, and return the jobs of its trials."""
        planned = self._planned
        self.database = open_database(
            planned.sweep.path, planned.study_name, planned.objective.directions
        )
        return known_jobs(planned, self.database.trials)


def known_jobs(planned: PlannedSearch, trials: Sequence[FrozenTrial]) -> list[Job]:
    """Return the jobs of all trials in the study.

    A missing job for a trial's first seed is recreated. A missing job for a later seed is recreated
    only when the search needs it.
    """
    jobs: list[Job] = []
    trials_with_job: set[int] = set()
    for job in _stored_jobs(planned):
        number = job.trial_number
        is_first_seed = planned.seed_number(job) == 0
        if not is_first_seed and number in trials_with_job:
            jobs.append(replace(job, trial=number))
        elif is_first_seed and number not in trials_with_job and _is_job_of_trial(job, trials):
            jobs.append(replace(job, trial=number))
            trials_with_job.add(number)

    for trial in trials:
        if trial.number not in trials_with_job:
            epochs_before = int(trial.user_attrs.get(EPOCHS_BEFORE, 0))
            job = planned.job(trial)
            jobs.append(replace(job, trial=trial.number, epochs_before=epochs_before))
    return [replace(job, number=number) for number, job in enumerate(jobs)]


def _stored_jobs(planned: PlannedSearch) -> list[Job]:
    """Return the jobs that earlier sessions stored. Warn if they are corrupt, and return none."""
    try:
        if planned.sweep.kept_plan() is None:
            return []
        return planned.sweep.jobs()
    except DamagedError as e:
        warn_once(e)
        return []


def _is_job_of_trial(job: Job, trials: Sequence[FrozenTrial]) -> bool:
    """Return whether the trial of a job exists and has the same run."""
    if job.trial_number >= len(trials):
        return False
    return job.run == trials[job.trial_number].user_attrs.get(RUN)


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
        parser = OverridesParser.create()
        parsed_overrides = parser.parse_overrides(allow_new_keys(list(overrides)))
        planned = plan_search(parsed_overrides, composed)
        with contextlib.suppress(RunsFailed):  # the result shows which runs failed
            train_search(planned, command_line(), Launching(follow=follow))
    return planned, _result(planned)


def _result(planned: PlannedSearch) -> SearchResult:
    """Return the result of a search; an empty one after a dry run."""
    plan = None
    if not planned.config.sweep.dry_run:
        plan = planned.sweep.kept_plan()
    if plan is None or plan.search is None:
        return SearchResult(planned.sweep.path, [], None, None)

    results = job_results(planned.sweep, planned.sweep.jobs(), plan.started_ms)
    first_results: dict[str, JobResult] = {}  # keyed by run, which several trials can share
    for result in results:
        first_results.setdefault(result.job.run, result)

    return SearchResult(
        folder=planned.sweep.path,
        trials=results,
        best=best_result(plan.search, results),
        value=plan.search.best_value,
        left=[first_results[run] for run in plan.search.left or [] if run in first_results],
    )
