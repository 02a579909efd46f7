"""Restores the jobs from earlier sessions of a search."""

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
        if planned.seed_number(job):
            known = number in firsts
        else:
            known = number < len(trials) and number not in firsts and job.run == trials[number].user_attrs.get(RUN)
            firsts |= {number} if known else set()
        if known:
            found.append(replace(job, trial=number))
    for trial in trials:
        if trial.number not in firsts:
            job = planned.job(trial)
            found.append(replace(job, trial=trial.number, epochs_before=int(trial.user_attrs.get(HAD, 0))))
    return [replace(job, number=number) for number, job in enumerate(found)]
