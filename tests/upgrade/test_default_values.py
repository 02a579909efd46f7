"""Sweeps of release 0.3 that relied on default values which have changed since then."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lenet_exp.folders.job import job_to_json
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from tests.tools.commands import SMALL, Done, lenet_train, succeeded
from tests.tools.counts import counts

FORMER = "optimizer.lr=0.01"
QUICK = (
    "-m",
    "hydra/launcher=basic",
    *SMALL,
    "num_epoch=1",
    "tracking.plots=false",
    "tracking.models=none",
)
SEARCH = ("hydra/sweeper=search", "activation=relu,selu", "optimizer=adam")


def as_in_release_0_3(sweep: SweepFolder) -> None:
    """Remove the learning rate from the stored overrides of a sweep, as if it had been the default
    value.
    """
    plan = sweep.started()
    sweep.save(
        overrides=[o for o in plan.overrides if o != FORMER],
        command=plan.command.replace(f" {FORMER}", ""),
    )
    jobs = [
        replace(job, overrides=[o for o in job.overrides if o != FORMER]) for job in sweep.jobs()
    ]
    (sweep.path / "jobs.jsonl").write_text(
        "".join(f"{json.dumps(job_to_json(job))}\n" for job in jobs)
    )


@pytest.fixture
def grid(ready: Path) -> SweepFolder:
    """Return a grid of release 0.3 over two optimizers, in which Adam has its former learning
    rate.
    """
    succeeded(lenet_train(*QUICK, "optimizer=sgd,adam", "seed=0,1", FORMER, outputs=ready))
    (sweep,) = all_sweeps(ready)
    as_in_release_0_3(sweep)
    return sweep


@pytest.mark.slow(seconds=8)
def test_rerun_command_says_which_override_reuses_former_results(grid):
    rerun = succeeded(lenet_train(*QUICK, "optimizer=sgd,adam", "seed=0,1", outputs=grid.outputs))
    assert counts(rerun)[2] == 2  # SGD's runs
    assert f"add {FORMER}\n" in rerun.stderr
    reused = succeeded(
        lenet_train(*QUICK, "optimizer=sgd,adam", "seed=0,1", FORMER, outputs=grid.outputs)
    )
    assert counts(reused)[2] == 4


@pytest.mark.slow(seconds=12)
def test_confirmation_keeps_former_learning_rate(grid, main: Callable[..., Done]):
    done = main(f"sweep={grid.id}", "confirm=50", "seeds=3", "run=true", program="compare")
    assert done.returncode in (0, 1), done.stderr
    (confirmation,) = (sweep for sweep in all_sweeps(grid.outputs) if sweep.id != grid.id)
    jobs = confirmation.jobs()
    assert {job.config.optimizer["name"] for job in jobs} == {"sgd", "adam"}
    assert {job.config.optimizer["lr"] for job in jobs} == {0.01}


@pytest.mark.slow(seconds=15)
def test_resumed_search_keeps_former_learning_rate(ready):
    succeeded(lenet_train("-m", *QUICK[2:], *SEARCH, "n_trials=1", FORMER, outputs=ready))
    (search,) = all_sweeps(ready)
    as_in_release_0_3(search)
    succeeded(lenet_train("-m", f"sweep.resume={search.id}", "n_trials=2", outputs=ready))
    assert [job.config.optimizer["lr"] for job in search.jobs()] == [0.01, 0.01]


def test_single_run_names_its_counterpart_of_release_0_3(ready):
    line = (*QUICK[2:], "optimizer=adam")
    succeeded(lenet_train(*line, FORMER, outputs=ready))
    (former,) = (ready / "runs").iterdir()
    assert f"run {former.name[:8]} " in succeeded(lenet_train(*line, outputs=ready)).stderr
    assert (
        former.name[:8]
        not in succeeded(lenet_train(*line, "activation=relu", outputs=ready)).stderr
    )
