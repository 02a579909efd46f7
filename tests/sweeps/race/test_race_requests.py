"""Races that are refused, and estimates of their cost."""

from __future__ import annotations

import re

import pytest

from tests.sweeps.race.race_results import BARE, BASIC, GRID, TWO, WITHIN, last_sweep, trained
from tests.tools.commands import lenet_train, succeeded


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ((WITHIN, TWO, "seed=0,1", "sweep.zip=[seed,activation]"), WITHIN),
        ((WITHIN, TWO, "seed=0,1", "split_seed=0,1"), "sweep.zip=[seed,split_seed]"),
        ((WITHIN, "activation=relu", "seed=0,1"), TWO),
        ((WITHIN, TWO, "sweep.most_seeds=2"), "sweep.most_seeds=2"),
        ((WITHIN, TWO, "seed=range(5)", "sweep.most_seeds=4"), "sweep.most_seeds=4"),
        (("sweep.within=0", TWO), "sweep.within=0"),
        ((TWO, "sweep.most_seeds=9"), "sweep.within"),
        ((TWO, "max_seconds=9"), "sweep.within"),
    ],
)
def test_impossible_race_is_refused_before_it_starts(outputs, flags, named):
    done = lenet_train("-m", *BARE, *flags, BASIC, outputs=outputs)
    assert done.returncode == 2
    assert named in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not outputs.exists()


def test_search_refuses_the_flag(outputs):
    search = ("hydra/sweeper=search", "n_trials=2", TWO)
    done = lenet_train("-m", *BARE, *search, WITHIN, outputs=outputs)
    assert done.returncode == 2
    assert WITHIN in done.stderr


def test_single_run_refuses_the_flag(outputs):
    done = lenet_train(*BARE, WITHIN, outputs=outputs)
    assert done.returncode == 2
    assert "-m" in done.stderr


def added_runs(stdout: str) -> str:
    """Return the words of an estimate about the runs that `sweep.within` adds."""
    (line,) = [line.strip() for line in stdout.splitlines() if line.strip().startswith(WITHIN)]
    return line


def test_estimate_of_a_new_race_is_the_range_of_added_runs(outputs):
    limit = ("sweep.most_seeds=20", "sweep.dry_run=true")
    done = succeeded(lenet_train(*GRID, WITHIN, *limit, BASIC, outputs=outputs))
    assert "adds 0 to 68 runs" in added_runs(done.stdout)  # 4 configurations, 3 of 20 seeds listed
    assert not outputs.exists()


def test_estimate_with_few_listed_seeds_includes_the_first_look(outputs):
    grid = ("-m", *BARE, TWO, WITHIN, "sweep.most_seeds=10", "sweep.dry_run=true")
    done = succeeded(lenet_train(*grid, BASIC, outputs=outputs))
    assert "adds 4 to 18 runs" in added_runs(done.stdout)


def test_estimate_of_a_trained_sweep_is_simulated(ready):
    succeeded(lenet_train(*GRID, BASIC, outputs=ready))
    before = trained(ready)
    resume = ("-m", BASIC, f"sweep.resume={last_sweep(ready).id}", "sweep.dry_run=true")
    done = succeeded(lenet_train(*resume, WITHIN, outputs=ready))
    about = added_runs(done.stdout).split("adds about ")[1].split()
    assert int(about[0]) > 0
    assert trained(ready) == before

    done = succeeded(lenet_train(*resume, "sweep.within=90", outputs=ready))
    assert "sweep.within=90 adds no runs" in done.stdout


def test_estimate_of_a_sweep_with_one_seed_is_the_range(ready):
    succeeded(lenet_train("-m", *BARE, TWO, BASIC, outputs=ready))
    resume = ("-m", BASIC, f"sweep.resume={last_sweep(ready).id}", "sweep.dry_run=true")
    done = succeeded(lenet_train(*resume, WITHIN, "sweep.most_seeds=10", outputs=ready))
    assert "adds 4 to 18 runs" in added_runs(done.stdout)


def test_each_look_that_adds_seeds_says_how_many_runs_are_left(ready):
    done = succeeded(lenet_train(*GRID, BASIC, WITHIN, outputs=ready))

    looks = [line for line in done.stderr.splitlines() if re.match(r"digits, \d+ seeds: ", line)]
    *unfinished, last = looks
    assert unfinished
    for line in unfinished:
        assert re.search(r"; about [1-9][\d,]* more runs?, [1-9]\d* s$", line)
    assert "more run" not in last
