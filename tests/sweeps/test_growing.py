"""A sweep whose jobs are made as it goes: they are kept before they run, counted, and gone on with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lenet_exp.api import compose
from lenet_exp.executors.local_launcher import LocalLauncher
from lenet_exp.folders.job import Job
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.runs.jobs import freeze_jobs
from lenet_exp.sweeps.session import Asked, Session, sweep_session
from tests.commands import SMALL, lenet_train
from tests.stores import client, runs

LINE = (*SMALL, "num_epoch=2", "tracking.plots=false", "tracking.models=none")


def made(seed: int) -> Job:
    overrides = [*LINE, f"seed={seed}"]
    (job,) = freeze_jobs(["seed"], [overrides], [compose(overrides)])
    return job


def growing(outputs: Path, values: list[float], *, leave_after: int = 3) -> None:
    """Three jobs, each made when the one before has ended; the process is interrupted when so many are known."""
    sweep = SweepFolder(outputs / "sweeps" / "of-my-own")
    launcher = LocalLauncher(workers=1, retries=0, time_limit=None, fail_fast=False, max_failures=None)

    def jobs(session: Session) -> Iterator[Job]:
        for seed in range(3):
            job = session.add(made(seed))
            if seed == leave_after:
                raise KeyboardInterrupt
            yield job
            values.append(session.results()[seed].value)

    with sweep_session(sweep, [], compose(list(LINE)), Asked("a search", ["seed=any"], ["seed"])) as session:
        session.train(jobs(session), launcher, {}, like=[made(0)])


def test_jobs_are_made_from_what_came_before_and_the_parent_counts_them(ready, capsys):
    values: list[float] = []
    growing(ready, values)
    assert len(values) == 3
    sweep = SweepFolder(ready / "sweeps" / "of-my-own")
    assert [job.number for job in sweep.jobs()] == [0, 1, 2]
    assert (sweep.started().runs, sweep.started().outcome) == (3, Outcome.finished)
    (parent,) = runs(client(ready), "sweep")
    assert parent.info.run_name == "seed (3 runs)"
    assert {parent.data.metrics[name] for name in ("runs", "runs_finished")} == {3}
    assert {run.data.tags["mlflow.parentRunId"] for run in runs(client(ready))} == {parent.info.run_id}
    assert "3 runs: 3 finished" in capsys.readouterr().out


def test_a_job_that_was_made_and_not_trained_is_trained_when_the_sweep_goes_on(ready):
    with pytest.raises(KeyboardInterrupt):
        growing(ready, [], leave_after=1)
    (parent,) = runs(client(ready), "sweep")
    assert parent.data.tags["outcome"] == "killed"
    done = lenet_train("-m", "sweep.resume=last", "hydra/launcher=basic", outputs=ready)
    assert done.returncode == 0, done.stderr
    assert "2 runs: 2 finished; 1 trained (1 had been trained before)" in done.stdout
    (again,) = runs(client(ready), "sweep")
    assert (again.info.run_id, again.info.status) == (parent.info.run_id, "FINISHED")
