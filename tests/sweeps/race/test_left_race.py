"""Configurations that leave a race because a run diverges or cannot be trained."""

from __future__ import annotations

from pathlib import Path

from lenet_exp.comparison.race import CandidateState
from tests.sweeps.race.race_results import BARE, BASIC, last_sweep, race_of
from tests.tools.commands import MINE, lenet_train, succeeded


def test_diverged_configuration_leaves_the_race_and_is_named(ready):
    done = lenet_train(
        "-m", *BARE, "optimizer.lr=0.02,0.01,1e6", "seed=0", "sweep.within=3", BASIC, outputs=ready
    )
    assert done.returncode == 1
    race = race_of(ready)
    states = [candidate.state for candidate in race.candidates.values()]
    assert states.count(CandidateState.diverged) == 1
    assert race.configurations == 3
    diverged = [run for run in trained_or_diverged(ready) if run[0] == 1e6]
    assert diverged == [(1e6, 0), (1e6, 1), (1e6, 2)]
    assert "diverged on 3 of 3 seeds" in done.stdout


def trained_or_diverged(outputs: Path) -> list[tuple[float, int]]:
    jobs = last_sweep(outputs).jobs()
    return [(job.config.optimizer["lr"], job.config.seed) for job in jobs]


def test_untrainable_configuration_leaves_the_race_undecided(ready):
    activations = "activation=selu,tanh,raises"  # `raises` stops in the middle of the second epoch
    grid = ("-m", f"--config-dir={MINE}", *BARE, activations, "seed=range(3)", "sweep.within=90")
    done = lenet_train(*grid, BASIC, outputs=ready)

    assert done.returncode == 1
    race = race_of(ready)
    (undecided,) = race.in_state(CandidateState.undecided)
    assert undecided.group.flags["activation"] == "raises"
    assert race.configurations == 3
    assert race.leader is not None
    assert race.is_over

    # The layer counts its batches anew, so a repeated command trains its runs.
    succeeded(lenet_train(*grid, BASIC, outputs=ready))
    assert not race_of(ready).in_state(CandidateState.undecided)
    jobs = last_sweep(ready).jobs()
    assert len(jobs) == 9
    assert all(job.folder.checked_result() for job in jobs)
