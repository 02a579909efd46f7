"""Small searches for tests, and functions that read their results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna

from lenet_exp.folders.job import Job
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


def trials_of(outputs: Path) -> list[Any]:
    """Return everything that must not depend on interruptions: values, states, curves, costs and
    weights.
    """
    sweep, found = only_sweep(outputs), []
    jobs, firsts = sweep.jobs(), dict[int, Job]()
    for job in jobs:
        assert job.trial is not None
        firsts.setdefault(job.trial, job)
    assert [job.number for job in jobs] == list(range(len(jobs)))
    trials = study_of(outputs).trials
    assert sorted(firsts) == [trial.number for trial in trials]
    for trial in trials:
        job = firsts[trial.number]
        record = job.folder.record()
        digest = record.weights_digest if record is not None else None
        attributes = {k: v for k, v in trial.user_attrs.items() if k != "drawn"}
        found.append(
            [
                trial.number,
                trial.params,
                trial.state.name,
                trial.values,
                trial.intermediate_values,
                attributes,
            ]
        )
        found[-1] += [
            job.number,
            job.run,
            job.swept,
            digest,
            None if record is None else record.outcome,
        ]
        later = [j for j in jobs if j.trial == trial.number and j is not job]
        found[-1] += [
            [j.number, j.config.seed, j.run, j.folder.checked_result() is not None] for j in later
        ]
    return found
