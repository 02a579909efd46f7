"""Races that are repeated, killed, or continued, and confirmations of them."""

from __future__ import annotations

import signal
import time
from functools import partial
from pathlib import Path
from random import Random

import pytest

from tests.sweeps.race.race_results import (
    BARE,
    BASIC,
    GRID,
    TWO,
    WITHIN,
    last_sweep,
    race_of,
    trained,
)
from tests.tools.commands import Done, end, lenet_train, refused, start, succeeded
from tests.tools.until import until


@pytest.mark.parametrize("flags", [(), (WITHIN,)], ids=["without", "with"])
def test_repeated_command_trains_nothing_and_reports_the_same(raced, copy, flags):
    runs = trained(copy)
    again = succeeded(lenet_train(*GRID, *flags, BASIC, outputs=copy))
    assert trained(copy) == runs
    assert "0 trained" in again.stdout
    assert verdict_line(again) == verdict_line(raced[1])


def verdict_line(done: Done) -> str:
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("Use ")]
    return line


def test_fixed_sweep_continued_by_the_flag_ends_with_the_same_runs(raced, ready):
    succeeded(lenet_train(*GRID, BASIC, outputs=ready))
    sweep = last_sweep(ready).id
    succeeded(lenet_train("-m", BASIC, f"sweep.resume={sweep}", WITHIN, outputs=ready))
    assert trained(ready) == trained(raced[0])
    assert last_sweep(ready).started().race.after_verdict


def test_existing_runs_are_used_and_change_nothing(raced, ready):
    more = [flag for flag in GRID if not flag.startswith(("seed=", "optimizer.lr="))]
    succeeded(lenet_train(*more, "optimizer.lr=0.03", "seed=range(5)", BASIC, outputs=ready))
    done = succeeded(lenet_train(*GRID, WITHIN, BASIC, outputs=ready))
    assert trained(ready) == trained(raced[0])
    assert " reused" in done.stdout


def has_started(outputs: Path, process) -> bool:
    """Return whether a sweep has a folder, or its process has ended."""
    return any(outputs.glob("sweeps/*/sweep.json")) or process.poll() is not None


def kill_race(outputs: Path, workers: int, seconds: float) -> None:
    """Start the race, and kill it some time after its sweep folder exists."""
    process = start(*GRID, WITHIN, f"sweep.workers={workers}", outputs=outputs)
    until(partial(has_started, outputs, process))
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    end(process)


@pytest.mark.slow(seconds=60)
def test_killed_race_ends_with_the_same_runs(raced, ready):
    for number in range(6):
        kill_race(ready, workers=2, seconds=0.4 + 0.5 * number)

    succeeded(end(start(*GRID, WITHIN, "sweep.workers=2", outputs=ready)))
    assert trained(ready) == trained(raced[0])


@pytest.mark.by_hand
@pytest.mark.parametrize("workers", [1, 2])
def test_race_killed_20_times_ends_with_the_same_runs(workers, raced, ready):
    random = Random(workers)
    for _ in range(20):
        kill_race(ready, workers, seconds=random.uniform(0.1, 2.5))

    succeeded(end(start(*GRID, WITHIN, f"sweep.workers={workers}", outputs=ready)))
    assert trained(ready) == trained(raced[0])


def test_smaller_difference_adds_seeds_and_a_limit_ends_it(copy):
    before = trained(copy)
    sweep = last_sweep(copy).id
    resume = ("-m", BASIC, f"sweep.resume={sweep}")
    seeds = race_of(copy).seeds
    limit = f"sweep.most_seeds={seeds + 2}"
    done = succeeded(lenet_train(*resume, "sweep.within=0.01", limit, outputs=copy))
    after = trained(copy)
    assert set(before) < set(after)
    assert max(seed for _, seed in after) == seeds + 1
    race = race_of(copy)
    assert race.is_over
    assert not race.decided
    assert f"sweep.most_seeds={2 * (seeds + 2)}" in done.stdout  # the next step
    assert race.design.replaced_within == 0.03
    assert "this verdict replaces the one for 3 points" in done.stdout


def test_limit_in_seconds_keeps_the_last_complete_look(copy):
    sweep = last_sweep(copy).id
    before = trained(copy)
    flags = ("-m", BASIC, f"sweep.resume={sweep}", "sweep.within=0.001")
    succeeded(lenet_train(*flags, "max_seconds=0.001", outputs=copy))
    assert trained(copy) == before
    plan = last_sweep(copy).started().race
    assert plan.ended_by == "max_seconds=0.001"
    assert race_of(copy).seeds >= 3

    more = f"sweep.most_seeds={race_of(copy).seeds + 3}"
    succeeded(lenet_train(*flags, "max_seconds=1000", more, outputs=copy))
    assert len(trained(copy)) > len(before)


def test_added_seeds_skip_those_of_a_confirmation(ready):
    grid = ("-m", *BARE, TWO, "dataset.train_size=96", BASIC)
    first_seeds = (997, 998, 999)
    succeeded(lenet_train(*grid, f"seed={','.join(map(str, first_seeds))}", outputs=ready))
    sweep = last_sweep(ready)
    confirms = (f"sweep.confirms={sweep.id}", "sweep.points=50")
    succeeded(lenet_train(*grid, "seed=1000,1002", *confirms, outputs=ready))

    resume = ("-m", BASIC, f"sweep.resume={sweep.id}", "sweep.within=0.001", "sweep.most_seeds=6")
    succeeded(lenet_train(*resume, outputs=ready))
    seeds = [seed for seed, _ in sweep.started().race.replicates]
    assert seeds == [*first_seeds, 1001, 1003, 1004]


def test_confirmation_cannot_add_seeds(ready):
    grid = ("-m", *BARE, TWO, "dataset.train_size=96", BASIC)
    succeeded(lenet_train(*grid, "seed=0,1", outputs=ready))
    confirms = (f"sweep.confirms={last_sweep(ready).id}", "sweep.points=50")
    succeeded(lenet_train(*grid, "seed=1000,1001", *confirms, outputs=ready))
    confirmation = last_sweep(ready).id
    runs = trained(ready)

    resume = ("-m", BASIC, f"sweep.resume={confirmation}")
    refused(lenet_train(*resume, WITHIN, outputs=ready), WITHIN, program="train")
    assert trained(ready) == runs


def test_confirmation_uses_no_seed_that_the_race_can_add(ready, main):
    grid = ("-m", *BARE, TWO, "dataset.train_size=96", BASIC)
    seeds = "seed=996,997,998"
    succeeded(lenet_train(*grid, seeds, "sweep.within=90", outputs=ready))
    plan = main("confirm=90", program="compare", status=0).stdout
    assert "seed=range(2000," in plan
