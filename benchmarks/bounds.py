"""Measure how often the bound of a sweep with a fixed number of seeds is wrong, in simulated sweeps
with known true means.

The bound says how much better than the leader the best configuration can be. It is wrong if the
truly best configuration is better by more. At most 5.5% of sweeps may be wrong, except in rows in
which runs collapse. A row above that is repeated with ten times as many sweeps on other random
numbers, which count instead.

    python -m benchmarks.bounds                          # 5,000 sweeps per scenario
    python -m benchmarks.bounds --sweeps 1000 --output FILE
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import positive
from benchmarks.within import (
    MEAN,
    MOST_WRONG,
    UNIT,
    Floats,
    Scenario,
    at_ceiling,
    collapsing,
    heavy_tailed,
    in_blocks,
    normal,
)
from lenet_exp.comparison.statistics.leader_tests import pair_tests
from lenet_exp.comparison.statistics.pairs import AccuracyTable
from lenet_exp.machine import cpu_count, cpu_model

NUMBERS_OF_SEEDS = (2, 3, 5, 10)
GAPS = (0.1, 1.0, 3.0)  # how far below the best one the others are, in standard deviations
REPEATED = 10  # times as many sweeps in a repetition

INTRO = """# How much better another configuration could be

See how often the first line of a verdict is wrong, for sweeps with a fixed number of seeds: "The best of the 18 is this
one, or is at most 0.5 points better". It is wrong if the truly best configuration is better than the leader by more. The
functions of lenet_exp judge simulated sweeps, whose true means are known. `python -m benchmarks.bounds --output FILE`
writes this page.

A sweep has k configurations. Numbers are in standard deviations over seeds, and the noise is normal unless a row says
something else. Configurations that the verdict calls unstable do not count, because the line does not speak of them.

- **wrong**: percentage of sweeps in which the bound is wrong, with 2, 3, 5, and 10 seeds. Goal: at most 5.5
- **bound**: median of the bounds, with 2, 3, 5, and 10 seeds; 0 if the leader is the best one

`*` marks a row that was above 5.5 and was repeated with ten times as many sweeps on other random numbers. The table shows
only the repetition.
"""


@dataclass(frozen=True)
class Result:
    """The bounds of simulated sweeps.

    Attributes:
        wrong: percentage of sweeps in which the best configuration is better than the bound says.
        bound: median of the bounds, in the unit of the scenario's means.
        repeated: whether the sweeps are a repetition.
    """

    wrong: float
    bound: float
    repeated: bool = False


def scenarios() -> list[Scenario]:
    """Return all scenarios."""
    rows = []
    for k in (2, 3, 4, 6, 10, 18, 50):
        for gap in GAPS:
            rows += _noises(k, gap)
    for k in (2, 4, 10):
        rows += _hard(k)
    return rows


def _noises(k: int, gap: float) -> list[Scenario]:
    """Return scenarios with different standard deviations, in which all but one configuration are
    equally good.
    """
    means = (0.0, *[-gap] * (k - 1))
    noises = {
        "equal noise": [1.0] * k,
        "the best 3 times as noisy": [3.0, *[1.0] * (k - 1)],
        "the best 10 times as noisy": [10.0, *[1.0] * (k - 1)],
        "half 5 times as noisy": [5.0 if i % 2 else 1.0 for i in range(k)],
    }
    rows = []
    for name, sds in noises.items():
        draw = partial(normal, means=means, sds=sds)
        rows.append(Scenario(f"k = {k}, others {gap:g} below, {name}", means, draw))
    draw = partial(normal, means=means, sds=[1.0] * k, correlation=0.6)
    rows.append(Scenario(f"k = {k}, others {gap:g} below, correlation 0.6", means, draw))
    return rows


def _hard(k: int) -> list[Scenario]:
    """Return scenarios without normal noise."""
    others = (0.0, *[-0.5] * (k - 1))
    last_best = (*[-0.5] * (k - 1), 0.0)
    last_worse = (*[0.0] * (k - 1), -0.5)
    at_99 = (0.995, *[0.98] * (k - 1))
    return [
        Scenario(
            f"k = {k}, others 0.5 below, heavy tails (t with 3 df)",
            others,
            partial(heavy_tailed, means=others),
        ),
        Scenario(
            f"k = {k}, others 0.5 below, two blocks, correlation 0.9",
            last_best,
            partial(in_blocks, means=last_best),
        ),
        Scenario(
            f"k = {k}, 100 images, the best 99.5%, others 98% (bound as a fraction)",
            at_99,
            partial(at_ceiling, means=at_99, images=100),
            images=100,
        ),
        Scenario(
            f"k = {k}, others 0.5 below, 5% of the best one's runs collapse by 20",
            last_best,
            partial(collapsing, means=last_best, depth=20.0),
            holds=False,
        ),
        Scenario(
            f"k = {k}, one 0.5 below, 5% of its runs collapse by 20",
            last_worse,
            partial(collapsing, means=last_worse, depth=20.0),
            holds=False,
        ),
    ]


def simulate(scenario: Scenario, seeds: int, sweeps: int, start: int = 0) -> Result:
    """Simulate sweeps with a fixed number of seeds.

    Args:
        seeds: number of seeds of each configuration.
        sweeps: number of sweeps.
        start: first seed of the random numbers.
    """
    is_accuracy = scenario.images is not None
    scale = 1.0 if is_accuracy else UNIT
    values = np.stack(
        [
            scenario.draw(np.random.default_rng(number))[:, :seeds]
            for number in range(start, start + sweeps)
        ]
    )
    if not is_accuracy:
        values = MEAN + values * scale
    truth = np.array(scenario.means) * scale

    # The leader comes first.
    order = np.argsort(-values.mean(axis=2), axis=1, kind="stable")
    ranked = np.take_along_axis(values, order[:, :, None], axis=1)
    bounds, is_claimed = _claims(ranked, scenario.images)

    true_means = truth[order]
    true_means[:, 1:][~is_claimed] = -np.inf
    loss = true_means.max(axis=1) - true_means[:, 0]
    wrong = 100 * float(np.mean(loss > bounds + 1e-12))
    return Result(wrong, bound=float(np.median(bounds)) / scale)


def _claims(ranked: Floats, images: int | None) -> tuple[Floats, NDArray[np.bool_]]:
    """Judge sweeps.

    Args:
        ranked: accuracies with shape (sweeps, configurations, seeds), leaders first.
        images: number of images from which an accuracy is computed; None if unlimited.

    Returns:
        The bound of each sweep, with shape (sweeps,), and whether the verdict speaks of each
        configuration except the leader, with shape (sweeps, configurations - 1).
    """
    seeds = np.arange(ranked.shape[2])
    tests = pair_tests(AccuracyTable(ranked, seeds, np.zeros_like(seeds)), images)
    is_tested = ~np.isnan(tests.pairs.p)
    bounds = np.where(is_tested, tests.bounds, np.inf)
    is_rival = ~tests.behind & ~tests.excluded & ~tests.unstable
    largest = np.where(is_rival, bounds, 0.0).max(axis=1)
    return np.maximum(largest, 0.0), ~tests.unstable


def result_of(scenario: Scenario, seeds: int, sweeps: int) -> Result:
    """Simulate a scenario, and repeat it with more sweeps if it is above the goal."""
    result = simulate(scenario, seeds, sweeps)
    if not scenario.holds or result.wrong <= MOST_WRONG:
        return result
    parts = [simulate(scenario, seeds, sweeps, sweeps * part) for part in range(1, REPEATED + 1)]
    return Result(
        wrong=float(np.mean([part.wrong for part in parts])),
        bound=float(np.median([part.bound for part in parts])),
        repeated=True,
    )


def table_row(scenario: Scenario, results: Sequence[Result]) -> str:
    """Return a row of the table."""
    wrong = []
    bounds = []
    for result in results:
        mark = "*" if result.repeated else ""
        wrong.append(f"{result.wrong:.1f}{mark}")
        bounds.append(f"{result.bound:.2g}")
    return f"| {scenario.name} | {', '.join(wrong)} | {', '.join(bounds)} |"


def main() -> None:
    """Print the table, and exit with status 1 if the error rate of a scenario is too high."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--sweeps", type=positive, default=5000, help="sweeps per scenario")
    options.add_argument("--output", type=Path, help="Markdown file for the table")
    arguments = options.parse_args()

    lines = ["| scenario | wrong, % | bound |", "| --- | --- | --- |"]
    print(*lines, sep="\n")
    failures = []
    start = time.perf_counter()
    with ProcessPoolExecutor(cpu_count()) as pool:
        for scenario in scenarios():
            judge = partial(result_of, scenario, sweeps=arguments.sweeps)
            results = list(pool.map(judge, NUMBERS_OF_SEEDS))
            row = table_row(scenario, results)
            print(row, flush=True)
            lines.append(row)
            if scenario.holds and max(result.wrong for result in results) > MOST_WRONG:
                failures.append(row)

    if arguments.output:
        seconds = time.perf_counter() - start
        about = f"{arguments.sweeps:,} sweeps per scenario; {seconds:.0f} s on {cpu_model()}."
        arguments.output.write_text("\n".join([INTRO, *lines, "", about, ""]))
    if failures:
        sys.exit("\n".join(failures))


if __name__ == "__main__":
    main()
