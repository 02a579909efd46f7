"""Small searches for tests, and functions that read their results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from lenet_exp.folders.job import Job
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from tests.tools.commands import SMALL

QUICK = (
    *SMALL,
    "dataset.train_size=96",
    "tracking.plots=false",
    "tracking.models=none",
    "num_threads=1",
)
LINE = ("-m", "hydra/sweeper=search", *QUICK, "num_epoch=4")
SPACE = (
    "optimizer.lr=tag(log,interval(3e-3,0.3))",
    "optimizer=sgd,adam",
    "optimizer.momentum=interval(0,0.9)",
    "regularization.dropout_rate=range(0,0.5,0.1)",
    "activation=relu,selu",
)


def only_sweep(outputs: Path) -> SweepFolder:
    """Return the only sweep of an outputs folder."""
    (sweep,) = all_sweeps(outputs)
    return sweep


def study_of(outputs: Path) -> optuna.Study:
    """Return the study as a user would load it."""
    path = only_sweep(outputs).path / "study.db"
    (name,) = optuna.get_all_study_names(f"sqlite:///{path}")
    return optuna.load_study(study_name=name, storage=f"sqlite:///{path}")


@dataclass(frozen=True)
class LaterSeed:
    """A run that repeats a trial with another seed."""

    job: int
    seed: int
    run: str
    has_result: bool


@dataclass(frozen=True)
class TrialResults:
    """Everything about a trial that must not depend on interruptions.

    Attributes:
        curve: the values that the trial reported, by epoch.
        attributes: what the search stored with the trial.
        job: the number of the job of its first run.
        digest: of the weights of its first run; None if that run has no record.
    """

    number: int
    params: dict[str, Any]
    state: str
    values: list[float] | None
    curve: dict[int, float]
    attributes: dict[str, Any]
    job: int
    run: str
    swept: dict[str, str]
    digest: str | None
    outcome: Outcome | None
    later_seeds: list[LaterSeed]


def trials_of(outputs: Path) -> list[TrialResults]:
    """Return the results of each trial of the only search of an outputs folder."""
    jobs = only_sweep(outputs).jobs()
    assert [job.number for job in jobs] == list(range(len(jobs)))
    jobs_by_trial: dict[int, list[Job]] = {}
    for job in jobs:
        assert job.trial is not None
        jobs_by_trial.setdefault(job.trial, []).append(job)
    trials = study_of(outputs).trials
    assert sorted(jobs_by_trial) == [trial.number for trial in trials]
    return [_results_of(trial, jobs_by_trial[trial.number]) for trial in trials]


def _results_of(trial: optuna.trial.FrozenTrial, jobs: list[Job]) -> TrialResults:
    first = jobs[0]
    record = first.folder.record()
    digest = None
    outcome = None
    if record is not None:
        digest = record.weights_digest
        outcome = record.outcome
    later_seeds = []
    for job in jobs[1:]:
        has_result = job.folder.checked_result() is not None
        later_seeds.append(LaterSeed(job.number, job.config.seed, job.run, has_result))

    attributes = dict(trial.user_attrs)
    attributes.pop("drawn", None)
    return TrialResults(
        number=trial.number,
        params=trial.params,
        state=trial.state.name,
        values=trial.values,
        curve=trial.intermediate_values,
        attributes=attributes,
        job=first.number,
        run=first.run,
        swept=first.swept,
        digest=digest,
        outcome=outcome,
        later_seeds=later_seeds,
    )
