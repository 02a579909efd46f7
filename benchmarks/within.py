"""Measure how often the verdict of a sweep with `sweep.within` is wrong, and how many seeds it takes,
in simulated sweeps with known true means.

The functions of lenet_exp decide which seeds each sweep adds. A verdict is wrong if the leader is
further below the truly best configuration than the verdict says. At most 5.5% of sweeps may be
wrong, except in the rows in which runs collapse, which show where the rate does not hold.

    python -m benchmarks.within                         # 2,000 sweeps per scenario
    python -m benchmarks.within --sweeps 300 --output FILE
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import positive
from lenet_exp.comparison.statistics.leader_tests import pair_tests
from lenet_exp.comparison.statistics.looks import RaceTable, look_sizes, race
from lenet_exp.comparison.statistics.pairs import AccuracyTable
from lenet_exp.machine import cpu_count, cpu_model

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator], Floats]

MOST_WRONG = 5.5  # percent
MOST_SEEDS = 40
UNIT = 1e-3  # a standard deviation over seeds, as a fraction
MEAN = 0.9
JUST_BEYOND = 1.05  # how far below the best one the others are, in standard deviations

INTRO = """# Adding seeds until the best is known

See how often the verdict of a sweep with `sweep.within` is wrong, and how many seeds it takes, in simulated sweeps whose
true means are known. The functions of lenet_exp decide. `python -m benchmarks.within --output FILE` writes this page.

A sweep has k configurations. Numbers are in standard deviations over seeds, and `within` is 1 unless a row says
something else. The first look has 3 seeds, and the last one 40. The noise is normal unless a row says something else.

- **wrong**: percentage of sweeps in which the leader is further below the best than the verdict says. Goal: at most 5.5
- **seeds**: mean number of seeds per configuration
- **fixed**: mean number of seeds at the last look, which all configurations would need with a fixed number of seeds
- **limit**: percentage of sweeps that end with 40 seeds before `within` is reached
"""


@dataclass(frozen=True)
class Scenario:
    """A simulated sweep.

    Attributes:
        name: description of the scenario.
        means: true means of the configurations, in standard deviations.
        draw: function that returns the values, with shape (configurations, seeds), in standard
            deviations.
        within: difference that does not matter.
        first: number of seeds of the first look.
        most: maximum number of seeds.
        images: number of images from which an accuracy is computed; None if unlimited.
        within_before: a larger difference for which the sweep is judged before; None if none.
        after_verdict: whether seeds are added only if a test of all pairs finds no winner.
        failing: probability that a run fails.
        holds: whether the error rate is promised.
    """

    name: str
    means: tuple[float, ...]
    draw: Draw
    within: float = 1.0
    first: int = 3
    most: int = MOST_SEEDS
    images: int | None = None
    within_before: float | None = None
    after_verdict: bool = False
    failing: float = 0.0
    holds: bool = True


@dataclass(frozen=True)
class Sample:
    """The result of one simulated sweep.

    Attributes:
        wrong: whether a verdict is wrong.
        runs: number of runs.
        last_look: number of seeds of the last look.
        at_limit: whether all seeds were used before the difference was reached.
    """

    wrong: bool
    runs: int
    last_look: int
    at_limit: bool


def normal(
    random: np.random.Generator,
    means: Sequence[float],
    sds: Sequence[float],
    correlation: float = 0.0,
    seeds: int = MOST_SEEDS,
) -> Floats:
    """Draw values with normal noise; a fraction of the variance is common to all configurations."""
    k = len(means)
    own = random.standard_normal((k, seeds))
    common = random.standard_normal((1, seeds))
    noise = np.sqrt(1 - correlation) * own + np.sqrt(correlation) * common
    return np.asarray(np.array(means)[:, None] + np.array(sds)[:, None] * noise)


def in_blocks(random: np.random.Generator, means: Sequence[float]) -> Floats:
    """Draw values of two blocks of configurations, within which noise has a correlation of 0.9."""
    half = len(means) // 2
    ones = [1.0] * len(means)
    first = normal(random, means[:half], ones[:half], 0.9)
    second = normal(random, means[half:], ones[half:], 0.9)
    return np.concatenate([first, second])


def heavy_tailed(random: np.random.Generator, means: Sequence[float]) -> Floats:
    """Draw values with noise from Student's t with 3 degrees of freedom and variance 1."""
    noise = random.standard_t(3, (len(means), MOST_SEEDS)) / np.sqrt(3)
    return np.asarray(np.array(means)[:, None] + noise)


def collapsing(random: np.random.Generator, means: Sequence[float], depth: float) -> Floats:
    """Draw values in which 5% of the last configuration's runs collapse by a depth; its other runs
    are better, so that its mean is as stated.
    """
    values = normal(random, means, [1.0] * len(means))
    has_collapsed = random.random(MOST_SEEDS) < 0.05
    values[-1] += 0.05 * depth - depth * has_collapsed
    return values


def at_ceiling(random: np.random.Generator, means: Sequence[float], images: int) -> Floats:
    """Draw accuracies from 0 to 1 of images that are classified independently."""
    return random.binomial(images, np.array(means)[:, None], (len(means), MOST_SEEDS)) / images


def scenarios() -> list[Scenario]:
    """Return all scenarios."""
    rows = []
    for k in (2, 3, 4, 6, 10, 18, 50):
        others = (0.0, *[-JUST_BEYOND] * (k - 1))
        noises = {
            "equal noise": [1.0] * k,
            "the best 3 times as noisy": [3.0, *[1.0] * (k - 1)],
            "the best 10 times as noisy": [10.0, *[1.0] * (k - 1)],
            "half 5 times as noisy": [5.0 if i % 2 else 1.0 for i in range(k)],
        }
        for name, sds in noises.items():
            draw = partial(normal, means=others, sds=sds)
            rows.append(Scenario(f"k = {k}, others 1.05 below, {name}", others, draw))
        draw = partial(normal, means=others, sds=[1.0] * k, correlation=0.6)
        rows.append(Scenario(f"k = {k}, others 1.05 below, correlation 0.6", others, draw))

    for k in (4, 10, 18):
        rows += _shapes(k)
    rows += _hard(10)
    for k in (2, 3, 10):
        rows += _continued(k)
    return rows


def _shapes(k: int) -> list[Scenario]:
    """Return scenarios that show how many seeds a sweep takes."""
    shapes = {
        "all equal": [0.0] * k,
        "others 1.2 below": [0.0, *[-1.2] * (k - 1)],
        "ladder from 0 to 12 below": list(-12 * np.arange(k) / (k - 1)),
        "two best, others 4 below": [0.0, 0.0, *[-4.0] * (k - 2)],
    }
    rows = []
    for name, means in shapes.items():
        draw = partial(normal, means=means, sds=[1.0] * k, correlation=0.3)
        rows.append(Scenario(f"k = {k}, {name}, correlation 0.3", tuple(means), draw))
    return rows


def _hard(k: int) -> list[Scenario]:
    """Return scenarios that could break the error rate."""
    others = (0.0, *[-JUST_BEYOND] * (k - 1))
    last_best = (*[-JUST_BEYOND] * (k - 1), 0.0)
    last_worse = (*[0.0] * (k - 1), -JUST_BEYOND)
    normal_draw = partial(normal, means=others, sds=[1.0] * k)
    at_99 = (0.995, *[0.98] * (k - 1))
    return [
        Scenario("heavy tails (t with 3 df)", others, partial(heavy_tailed, means=others)),
        Scenario("two blocks, correlation 0.9", last_best, partial(in_blocks, means=last_best)),
        Scenario("first look at 5 seeds", others, normal_draw, first=5),
        Scenario("ended after 5 seeds", others, normal_draw, most=5),
        Scenario("ended after 12 seeds, within 0.2", others, normal_draw, within=0.2, most=12),
        Scenario("3% of the runs fail", others, normal_draw, failing=0.03),
        Scenario(
            "100 images, the best 99.5%, others 98%, within 1 point",
            at_99,
            partial(at_ceiling, means=at_99, images=100),
            within=0.01,
            images=100,
        ),
        Scenario(
            "5% of the best one's runs collapse by 20",
            last_best,
            partial(collapsing, means=last_best, depth=20.0),
            holds=False,
        ),
        Scenario(
            "5% of a worse one's runs collapse by 20",
            last_worse,
            partial(collapsing, means=last_worse, depth=20.0),
            holds=False,
        ),
    ]


def _continued(k: int) -> list[Scenario]:
    """Return scenarios in which a sweep is continued after a verdict."""
    others = (0.0, *[-JUST_BEYOND] * (k - 1))
    draw = partial(normal, means=others, sds=[3.0, *[1.0] * (k - 1)])
    return [
        Scenario(f"k = {k}, within 3, then within 1", others, draw, within_before=3.0),
        Scenario(
            f"k = {k}, continued only if no configuration won",
            others,
            draw,
            after_verdict=True,
            holds=k > 2,
        ),
    ]


def simulate(scenario: Scenario, seed: int) -> Sample:
    """Simulate one sweep."""
    random = np.random.default_rng(seed)
    is_accuracy = scenario.images is not None
    scale = 1.0 if is_accuracy else UNIT
    values = scenario.draw(random) * scale
    values += 0.0 if is_accuracy else MEAN
    truth = np.array(scenario.means) * scale
    failed = random.random(values.shape) < scenario.failing
    values[failed] = np.nan
    table = RaceTable(values, failed)
    return _judged(table, truth, scenario, scale)


def _judged(table: RaceTable, truth: Floats, scenario: Scenario, scale: float) -> Sample:
    """Race a sweep, and compare its verdicts with the truth."""
    if scenario.after_verdict and _has_winner(table.values[:, : scenario.first], scenario.images):
        leader = int(table.values[:, : scenario.first].mean(axis=1).argmax())
        wrong = bool(truth.max() > truth[leader])
        return Sample(wrong, table.values.shape[0] * scenario.first, scenario.first, False)

    sizes = look_sizes(scenario.first, scenario.most)
    has_failed_run = table.failed.any(axis=1)
    differences = [scenario.within]
    if scenario.within_before is not None:
        differences.insert(0, scenario.within_before)
    wrong = False
    is_decided = False
    last_look = 0
    for within in differences:
        standing = race(table, within * scale, sizes, scenario.images)
        look = standing.last
        if look is None:
            return Sample(wrong, int(standing.requested.sum()), 0, True)
        best = truth[~look.out].max() if has_failed_run.any() else truth.max()
        is_decided = look.is_decided(within * scale)
        limit = within * scale if is_decided else look.bound
        wrong = wrong or bool(best - truth[look.leader] > limit + 1e-12)
        last_look = look.seeds
    return Sample(wrong, int(standing.requested.sum()), last_look, not is_decided)


def _has_winner(values: Floats, images: int | None) -> bool:
    """Return whether the tests of all pairs find that the leader is better than each other one."""
    order = np.argsort(-values.mean(axis=1))
    seeds = np.arange(values.shape[1])
    tests = pair_tests(AccuracyTable(values[order], seeds, np.zeros_like(seeds)), images)
    return bool(tests.behind.all())


def table_row(scenario: Scenario, samples: Sequence[Sample]) -> tuple[str, float]:
    """Return a row of the table, and the percentage of wrong sweeps."""
    wrong = 100 * float(np.mean([sample.wrong for sample in samples]))
    seeds = np.mean([sample.runs for sample in samples]) / len(scenario.means)
    last_look = np.mean([sample.last_look for sample in samples])
    at_limit = 100 * np.mean([sample.at_limit for sample in samples])
    row = f"| {scenario.name} | {wrong:.1f} | {seeds:.1f} | {last_look:.1f} | {at_limit:.0f} |"
    return row, wrong


def main() -> None:
    """Print the table, and exit with status 1 if a promised error rate does not hold."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--sweeps", type=positive, default=2000, help="sweeps per scenario")
    options.add_argument("--output", type=Path, help="Markdown file for the table")
    arguments = options.parse_args()

    lines = [
        "| scenario | wrong, % | seeds | fixed | limit, % |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    print(*lines, sep="\n")
    failures = []
    start = time.perf_counter()
    with ProcessPoolExecutor(cpu_count()) as pool:
        for scenario in scenarios():
            seeds = range(arguments.sweeps)
            samples = list(pool.map(partial(simulate, scenario), seeds, chunksize=50))
            row, wrong = table_row(scenario, samples)
            print(row, flush=True)
            lines.append(row)
            if scenario.holds and wrong > MOST_WRONG:
                failures.append(f"{scenario.name}: {wrong:.1f}% wrong")

    if arguments.output:
        seconds = time.perf_counter() - start
        about = f"{arguments.sweeps:,} sweeps per scenario; {seconds:.0f} s on {cpu_model()}."
        arguments.output.write_text("\n".join([INTRO, *lines, "", about, ""]))
    if failures:
        sys.exit("\n".join(failures))


if __name__ == "__main__":
    main()
