"""Restores the jobs from earlier sessions of a search, and finds the trial and seed of each job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from optuna.trial import FrozenTrial

from lenet_exp.errors import DamagedError
from lenet_exp.folders.damage import warn_once
from lenet_exp.folders.job import Job
from lenet_exp.searches.epoch_counts import HAD, RUN
from lenet_exp.searches.plan import PlannedSearch


def known_jobs(planned: PlannedSearch, trials: Sequence[FrozenTrial]) -> list[Job]:
    """Return the jobs of all trials in the study.

    A missing job for a trial's first seed is recreated. A missing job for a later seed is recreated only when the
    search needs it.
    """
    try:
        kept = planned.sweep.jobs() if planned.sweep.kept_plan() is not None else []
    except DamagedError as e:
        warn_once(e)
        kept = []
    found = []
    firsts: set[int] = set()
    for job in kept:
        number = job.trial_number
        if seed_number(planned, job):
            known = number in firsts
        else:
            known = number < len(trials) and number not in firsts and job.run == trials[number].user_attrs.get(RUN)
            firsts |= {number} if known else set()
        if known:
            found.append(replace(job, trial=number))
    for trial in trials:
        if trial.number not in firsts:
            params = trial.params
            made = planned.maker.job(planned.maker.values(lambda flag, p=params: p[flag.name]))  # type: ignore[misc]
            found.append(replace(made, trial=trial.number, epochs_before=int(trial.user_attrs.get(HAD, 0))))
    return [replace(job, number=number) for number, job in enumerate(found)]


def first_jobs(jobs: Sequence[Job]) -> list[int]:
    """Return, for each trial in order, the number of the job with the trial's first seed."""
    found: dict[int, int] = {}
    for job in jobs:
        found.setdefault(job.trial_number, job.number)
    return [found[trial] for trial in sorted(found)]


def seed_number(planned: PlannedSearch, job: Job) -> int:
    """Return the index of a job's seed among the seeds of its configuration; the first seed has index 0."""
    return job.config.seed - planned.config.seed
