"""Measure how often a search with `seeds=` drops the truly best configuration, and how many seeds
it uses.

The searches are simulated with known true means. `searches.seed_race.SeedRace` selects the
configuration that gets the next seed, as in a search with `n_trials`. All runs that are trained in
parallel take the same time.

The table shows the percentage of searches that drop the truly best configuration and the percentage
of all seeds that are used. It also shows how far the true mean of the selected configuration is
below the best mean, in standard deviations over seeds, both for this method and if each
configuration gets all seeds.

    python -m benchmarks.racing                # about five minutes on one core
    python -m benchmarks.racing --workers 1    # takes eight times as long
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from benchmarks.measure import parser, positive
from lenet_exp.searches.racing import DROP_LEVEL, Floats
from lenet_exp.searches.seed_race import SeedRace


@dataclass(frozen=True)
class Scenario:
    """A type of simulated search.

    Attributes:
        name: name of the scenario.
        configurations: number of configurations.
        seeds: number of seeds per configuration.
        means: function that draws the true means, in standard deviations over seeds.
        spreads: function that draws the standard deviations over seeds.
        noise: function that draws numbers with mean 0 and variance 1.
    """

    name: str
    configurations: int
    seeds: int
    means: Callable[[Generator, int], Floats]
    spreads: Callable[[Generator, int], Floats] = lambda dice, k: np.ones(k)
    noise: Callable[[Generator, tuple[int, int]], Floats] = lambda dice, shape: (
        dice.standard_normal(shape)
    )


def equal(dice: Generator, k: int) -> Floats:
    """Return equal means."""
    return np.zeros(k)


def close(dice: Generator, k: int) -> Floats:
    """Draw means like those near a good optimum: the best tenth is close together, and the rest is
    far below.
    """
    return -np.sort(dice.exponential(3.0, k))


def wide(dice: Generator, k: int) -> Floats:
    """Draw means like those in most searches over a wide space: only one in twenty is close to the
    best mean.
    """
    return -np.sort(dice.exponential(20.0, k))


def flat(dice: Generator, k: int) -> Floats:
    """Draw nearly equal means, whose standard deviation is half of that over seeds."""
    return dice.standard_normal(k) * 0.5


def twofold(dice: Generator, k: int) -> Floats:
    """Draw standard deviations of which nine in ten are within a factor of two of the median."""
    return np.exp(dice.standard_normal(k) * 0.4)


def tenfold(dice: Generator, k: int) -> Floats:
    """Draw standard deviations of which nine in ten are between a third and three times the
    median.
    """
    return np.exp(dice.standard_normal(k) * 0.7)


def skewed(dice: Generator, shape: tuple[int, int]) -> Floats:
    """Draw noise with an exponential tail toward lower values."""
    return 1.0 - dice.exponential(1.0, shape)


SCENARIOS = (
    Scenario("equal, 5 x 5", 5, 5, equal),
    Scenario("equal, 10 x 3", 10, 3, equal),
    Scenario("equal, 60 x 3", 60, 3, equal),
    Scenario("equal, 60 x 5", 60, 5, equal),
    Scenario("equal, 60 x 10", 60, 10, equal),
    Scenario("equal, 200 x 5", 200, 5, equal),
    Scenario("close, 60 x 3", 60, 3, close),
    Scenario("close, 60 x 5", 60, 5, close),
    Scenario("close, 200 x 5", 200, 5, close),
    Scenario("wide, 15 x 5", 15, 5, wide),
    Scenario("wide, 60 x 5", 60, 5, wide),
    Scenario("flat, 60 x 5", 60, 5, flat),
    Scenario("equal, spreads differ twofold, 60 x 5", 60, 5, equal, spreads=twofold),
    Scenario("close, spreads differ twofold, 60 x 5", 60, 5, close, spreads=twofold),
    Scenario("equal, spreads differ tenfold, 60 x 5", 60, 5, equal, spreads=tenfold),
    Scenario("close, spreads differ tenfold, 60 x 5", 60, 5, close, spreads=tenfold),
    Scenario("equal, skewed, 60 x 5", 60, 5, equal, noise=skewed),
    Scenario("close, skewed, 60 x 5", 60, 5, close, noise=skewed),
)


@dataclass(frozen=True)
class Raced:
    """The result of one simulated search.

    Attributes:
        best_dropped: whether the search dropped the truly best configuration.
        spent: fraction of all seeds that the search used.
        below: how far the true mean of the selected configuration is below the best mean, in
            standard deviations.
        below_with_all: the same distance if each configuration gets all seeds.
    """

    best_dropped: bool
    spent: float
    below: float
    below_with_all: float


def race(scenario: Scenario, dice: Generator, workers: int) -> Raced:
    """Simulate one search with a number of parallel workers."""
    k = scenario.configurations
    n = scenario.seeds
    truth = dice.permutation(scenario.means(dice, k))
    spread = scenario.spreads(dice, k)
    common = dice.standard_normal(n)  # effects that configurations share
    accuracies = truth[:, None] + common + spread[:, None] * scenario.noise(dice, (k, n))

    seeds = SeedRace(n, 1)
    trials = 0
    spent = 0
    while True:
        runs: list[tuple[int, int]] = []
        while len(runs) < workers:
            run = seeds.next_seed(can_create_trial=trials < k)
            if run is None:
                if trials == k:
                    break
                run = (trials, 0)
                trials += 1
            seeds.request(*run)
            runs.append(run)
        if not runs:
            break
        for trial, seed in runs:
            seeds.record(trial, seed, float(accuracies[trial, seed]))
        spent += len(runs)

    could_be_best = seeds.could_be_best()
    best = int(truth.argmax())
    best_with_all = int(accuracies.mean(axis=1).argmax())
    return Raced(
        best_dropped=best not in could_be_best,
        spent=spent / (k * n),
        below=float(truth[best] - truth[could_be_best[0]]),
        below_with_all=float(truth[best] - truth[best_with_all]),
    )


def main() -> None:
    """Run the simulations and print the table."""
    options = parser(__doc__, repeats=1)
    options.add_argument(
        "--searches", type=positive, default=200, help="of each scenario (default 200)"
    )
    options.add_argument(
        "--workers", type=positive, default=8, help="runs side by side (default 8)"
    )
    arguments = options.parse_args()
    print(f"{'scenario':<38} best dropped   seeds spent   below the best: raced, all seeds")
    for scenario in SCENARIOS:
        dice = np.random.default_rng(0)
        races = [race(scenario, dice, arguments.workers) for _ in range(arguments.searches)]
        dropped = np.mean([raced.best_dropped for raced in races])
        spent = np.mean([raced.spent for raced in races])
        below = np.mean([raced.below for raced in races])
        below_with_all = np.mean([raced.below_with_all for raced in races])
        numbers = f"{dropped:11.1%} {spent:13.1%} {below:16.2f} {below_with_all:10.2f}"
        print(f"{scenario.name:<38} {numbers}", flush=True)
    print(
        f"{arguments.searches} searches each; must be at most {DROP_LEVEL:.0%} of best ones dropped"
    )


if __name__ == "__main__":
    main()
