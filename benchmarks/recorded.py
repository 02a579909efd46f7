"""Measure how often verdicts are wrong on real runs: two sweeps with 100 seeds, resampled.

The means of a recorded sweep over its 100 seeds count as the true means. A simulated sweep draws
seeds with replacement, all configurations of a seed together, and the functions of lenet_exp judge
it: with `sweep.within`, and with fixed numbers of seeds. At most 5.5% of sweeps may be wrong.

    python -m benchmarks.recorded                      # resample both sweeps 2,000 times
    python -m benchmarks.recorded --output FILE
    python -m benchmarks.recorded --record NAME        # store the last sweep

These commands train the sweeps, in about 25 minutes on two cores:

    lenet-train -m dataset=fashion_mnist dataset.train_size=2000 num_epoch=5 batch_size=32
        activation=relu,selu,tanh optimizer=sgd,adam optimizer.lr=0.03,0.003 'seed=range(100)'
    lenet-train -m dataset=digits batch_size=32 num_epoch=10 activation=relu,selu,tanh
        optimizer=sgd,adam optimizer.lr=0.1,0.01,0.001 'seed=range(100)'
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.bounds import NUMBERS_OF_SEEDS, simulate
from benchmarks.measure import positive
from benchmarks.within import MOST_WRONG, Floats, Scenario
from lenet_exp.comparison.compare import compare_sweep
from lenet_exp.comparison.statistics.looks import (
    FEWEST_SEEDS,
    MOST_SEEDS,
    Look,
    RaceTable,
    look_sizes,
    race,
)
from lenet_exp.folders.find import find_sweep
from lenet_exp.folders.results import job_results
from lenet_exp.machine import cpu_count, cpu_model

FILE = Path(__file__).with_name("recorded.npz")
NAMES = ("fashion_mnist", "digits")
WITHIN = (2.0, 1.0, 0.5, 0.2)  # percentage points
WORKERS = 16

INTRO = f"""# Verdicts about real runs

See how often verdicts are wrong on real runs, and how many runs `sweep.within` takes. Two sweeps were trained with 100
seeds: 12 configurations on 2,000 images of FashionMNIST, and 17 on scikit-learn's digits. Their means over 100 seeds
count as the true means. Seeds are drawn with replacement, and the functions of lenet_exp judge the drawn sweeps.
`python -m benchmarks.recorded --output FILE` writes this page; the docstring of this module has the commands of the
sweeps.

- **wrong**: percentage of sweeps in which the leader is further below the best than the verdict says. Goal: at most 5.5
- **loss**: mean difference between the best configuration and the leader, in percentage points
- **runs**: mean number of runs
- **fixed**: mean number of runs if all configurations had the seeds of the last look
- **limit**: percentage of sweeps that end with {MOST_SEEDS} seeds before `within` is reached
- **idle**: percentage of the time of {WORKERS} workers that is idle at the ends of looks, if all runs take equally long
"""


@dataclass(frozen=True)
class Grid:
    """A recorded sweep.

    Attributes:
        name: name of its dataset.
        values: accuracies from 0 to 1, with shape (configurations, seeds).
        images: number of validation images.
    """

    name: str
    values: Floats
    images: int

    @property
    def means(self) -> Floats:
        """The mean of each configuration over all seeds."""
        return np.asarray(self.values.mean(axis=1))


@dataclass(frozen=True)
class RaceResult:
    """The result of a race on drawn seeds.

    Attributes:
        wrong: whether the verdict is wrong.
        loss: how far the leader is below the best configuration, as a fraction.
        runs: number of runs.
        last_look: number of seeds of the last look.
        at_limit: whether all seeds were used before the difference was reached.
        idle: fraction of the workers' time that is idle.
    """

    wrong: bool
    loss: float
    runs: int
    last_look: int
    at_limit: bool
    idle: float


def record(name: str, sweep_id: str) -> None:
    """Store the accuracies of a sweep in the outputs folder, without configurations that have
    diverged runs.
    """
    sweep = find_sweep(sweep_id)
    results = job_results(sweep, sweep.jobs(), since_ms=0)
    (comparison,) = compare_sweep(sweep, results)
    stable = [group for group in comparison.groups if group.stable]
    (images,) = {group.images for group in stable}

    rows = []
    for group in sorted(stable, key=comparison.name):
        rows.append([group.scores[replicate] for replicate in sorted(group.scores)])

    stored = dict(np.load(FILE)) if FILE.exists() else {}
    stored[f"{name}_values"] = np.array(rows)
    stored[f"{name}_images"] = np.array(images)
    np.savez_compressed(FILE, **stored)
    print(f"{name}: {len(rows)} configurations, {len(rows[0])} seeds, {images} images")


def load(name: str) -> Grid:
    """Return a recorded sweep."""
    stored = np.load(FILE)
    return Grid(name, stored[f"{name}_values"], int(stored[f"{name}_images"]))


def resampled(random: np.random.Generator, values: Floats) -> Floats:
    """Draw seeds with replacement, with shape (configurations, most seeds of a race)."""
    return np.asarray(values[:, random.integers(values.shape[1], size=MOST_SEEDS)])


def race_result(seed: int, grid: Grid, points: float) -> RaceResult:
    """Race the configurations of a recorded sweep on drawn seeds.

    Args:
        seed: seed of the draw.
        points: difference that does not matter, in percentage points.
    """
    values = resampled(np.random.default_rng(seed), grid.values)
    table = RaceTable(values, failed=np.zeros(values.shape, dtype=bool))
    within = points / 100
    sizes = look_sizes(FEWEST_SEEDS, MOST_SEEDS)
    standing = race(table, within, sizes, grid.images)

    look = standing.last
    assert look is not None
    is_decided = look.is_decided(within)
    bound = within if is_decided else look.bound
    loss = float(grid.means.max() - grid.means[look.leader])
    return RaceResult(
        wrong=loss > bound + 1e-12,
        loss=loss,
        runs=int(standing.requested.sum()),
        last_look=look.seeds,
        at_limit=not is_decided,
        idle=_idle(standing.looks),
    )


def _idle(looks: Sequence[Look]) -> float:
    """Return the fraction of the workers' time that is idle if all runs take equally long, because
    a look starts when all runs of the one before have ended.
    """
    runs_before = 0
    duration = 0  # in durations of a run
    for look in looks:
        runs = int(look.counts.sum())
        duration += math.ceil((runs - runs_before) / WORKERS)
        runs_before = runs
    return 1 - runs_before / (duration * WORKERS)


def race_row(grid: Grid, points: float, results: Sequence[RaceResult]) -> tuple[str, float]:
    """Return a row of the table of races, and the percentage of wrong sweeps."""
    wrong = 100 * float(np.mean([result.wrong for result in results]))
    loss = 100 * np.mean([result.loss for result in results])
    runs = np.mean([result.runs for result in results])
    fixed = len(grid.values) * np.mean([result.last_look for result in results])
    at_limit = 100 * np.mean([result.at_limit for result in results])
    idle = 100 * np.mean([result.idle for result in results])
    row = (
        f"| {grid.name} | {points:g} | {wrong:.1f} | {loss:.3f} | {runs:.0f} | {fixed:.0f} "
        f"| {at_limit:.0f} | {idle:.0f} |"
    )
    return row, wrong


def fixed_row(grid: Grid, seeds: int, sweeps: int) -> tuple[str, float]:
    """Return a row of the table of sweeps with a fixed number of seeds, and the percentage of wrong
    sweeps.
    """
    scenario = Scenario(
        name=grid.name,
        means=tuple(grid.means),
        draw=partial(resampled, values=grid.values),
        images=grid.images,
    )
    result = simulate(scenario, seeds, sweeps)
    runs = seeds * len(grid.values)
    points = 100 * result.bound
    bound = f"{points:.2f}" if points <= 100 else "above 100"
    row = f"| {grid.name} | {seeds} | {runs} | {result.wrong:.1f} | {bound} |"
    return row, result.wrong


def main() -> None:
    """Print both tables, and exit with status 1 if an error rate is too high."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--sweeps", type=positive, default=2000, help="sweeps per row")
    options.add_argument("--record", choices=NAMES, help="store a sweep under this name")
    options.add_argument("--sweep", default="last", help="ID of the sweep to store")
    options.add_argument("--output", type=Path, help="Markdown file for the tables")
    arguments = options.parse_args()
    if arguments.record:
        record(arguments.record, arguments.sweep)
        return

    start = time.perf_counter()
    races = [
        "## With `sweep.within`",
        "",
        "| sweep | within, points | wrong, % | loss | runs | fixed | limit, % | idle, % |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    fixed = [
        "## With a fixed number of seeds",
        "",
        "The median bound is what the verdict says: how much better than the leader the best can be, in",
        "percentage points. Configurations that the verdict calls unstable do not count.",
        "",
        "| sweep | seeds | runs | wrong, % | median bound |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    failures = []
    with ProcessPoolExecutor(cpu_count()) as pool:
        for grid in map(load, NAMES):
            for points in WITHIN:
                judge = partial(race_result, grid=grid, points=points)
                results = list(pool.map(judge, range(arguments.sweeps), chunksize=50))
                row, wrong = race_row(grid, points, results)
                races.append(row)
                print(row, flush=True)
                if wrong > MOST_WRONG:
                    failures.append(row)
            for seeds in NUMBERS_OF_SEEDS:
                row, wrong = fixed_row(grid, seeds, arguments.sweeps)
                fixed.append(row)
                print(row, flush=True)
                if wrong > MOST_WRONG:
                    failures.append(row)

    if arguments.output:
        seconds = time.perf_counter() - start
        about = f"{arguments.sweeps:,} sweeps per row; {seconds:.0f} s on {cpu_model()}."
        arguments.output.write_text("\n".join([INTRO, *races, "", *fixed, "", about, ""]))
    if failures:
        sys.exit("\n".join(failures))


if __name__ == "__main__":
    main()
