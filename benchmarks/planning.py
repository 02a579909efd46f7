"""Measure how often a planned confirmation confirms a true lead.

In each simulated sweep, k configurations have n seeds each. One configuration is truly ahead of all
others, by the difference that `confirm=` specifies. If this configuration leads the sweep,
lenet_exp plans a confirmation. The confirmation is simulated and judged like a real confirmation.
Goal for equal spreads: 80 to 90% of confirmations succeed if the median plan has at least ten
seeds.

The benchmark also measures how often `lenet-compare` warns of an outlier although no run is one.
Goal for equal spreads and normal noise: at most 1% of sweeps. The last table shows the lead that a
sweep with a given number of seeds detects.

    python -m benchmarks.planning --output benchmarks/planning.md
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.random import Generator

from benchmarks.measure import positive
from lenet_exp.comparison.compare import compare_runs
from lenet_exp.comparison.confirmation_plan import plan_confirmation
from lenet_exp.comparison.runs import ComparedRun
from lenet_exp.comparison.statistics.leader_tests import pair_tests
from lenet_exp.comparison.statistics.multiplicity import Floats, holm_levels, step_down
from lenet_exp.comparison.statistics.outliers import far_below
from lenet_exp.comparison.statistics.pairs import AccuracyTable, compare_first_with_others
from lenet_exp.errors import ConfigError
from lenet_exp.machine import cpu_model

INTRO = """# Power of planned confirmations

See how often a planned confirmation confirms a true lead, and how often `lenet-compare` wrongly warns of an outlier.
`python -m benchmarks.planning --output FILE` writes this page.

In each simulated sweep, k configurations have n seeds each. One configuration is truly ahead of all others, by the lead
that is passed to `confirm=`. If this configuration leads the sweep, lenet_exp plans a confirmation, which is simulated
and then judged like a real confirmation. Goal for equal spreads: 80 to 90% of confirmations succeed if the median plan
has at least ten seeds.

The first table shows the number of seeds per plan and the number of simulated sweeps that resulted in a plan. The last
column is the number of sweeps that would need more than 1,000 seeds. Leads are in seed-to-seed standard deviations of
one configuration.

The second table shows the percentage of sweeps in which `lenet-compare` warns of an outlier although no run is one.
Goal for equal spreads and normal noise: at most 1%.

The third table is for the first sweep: the lead at which 80% of the other configurations can no longer be the best, if
one configuration is ahead of all others by this lead and all spreads are equal. A seed's effect that all configurations
share is not part of the standard deviation.
"""
# of the second table: numbers of configurations and seeds
OUTLIER_SIZES = ((1, 3), (1, 5), (2, 3), (2, 5), (4, 3), (4, 5), (10, 3), (10, 10), (50, 3))
# of the third table: share of excluded configurations, and numbers of configurations and of seeds
DETECTED = 0.8
KS = (2, 3, 4, 6, 10, 18)
NS = (2, 3, 5, 10, 20)
UNIT = 0.002  # standard deviation over seeds, as a fraction
AGAIN = 50  # number of simulated confirmations for each plan
MOST_WARNED = 1.0  # maximum percentage of sweeps with a warning
# Limits for the percentage of confirmed leads, including the error of the simulation, and the
# minimum median number of planned seeds for which they apply.
LEAST = 79.0
MOST = 91.0
FROM = 10


@dataclass(frozen=True)
class Scenario:
    """A type of simulated sweep.

    Attributes:
        k: number of configurations.
        n: number of seeds per configuration.
        lead: true lead of the best configuration, in standard deviations over seeds. It is also the
            difference that `confirm=` specifies.
        spreads: standard deviations of the configurations over seeds, starting with the best
            configuration; by default, all are 1.
    """

    k: int
    n: int
    lead: float
    spreads: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """The name of the scenario."""
        return "spreads 1 to 3" if self.spreads else "equal spreads"


def scenarios() -> list[Scenario]:
    """Return all scenarios."""
    equal = [
        Scenario(k, n, lead) for k, n, lead in product((2, 4, 10), (3, 5, 10), (0.5, 1.0, 2.0))
    ]
    unequal = []
    for k, n, lead in product((2, 4, 10), (5, 10), (1.0, 2.0)):
        unequal.append(Scenario(k, n, lead, spreads=tuple(np.geomspace(1, 3, k))))
    return equal + unequal


def values(
    means: Sequence[float], spreads: Floats, shape: tuple[int, ...], n: int, rng: Generator
) -> Floats:
    """Draw accuracies (*shape, configurations, n). Each seed has an effect that all configurations
    share.
    """
    common = rng.normal(size=(*shape, 1, n))
    own = rng.normal(size=(*shape, len(means), n)) * spreads[:, None]
    return 0.9 + UNIT * (np.array(means)[:, None] + common + own)


@dataclass
class Counts:
    """Results for the simulated sweeps in which a truly best configuration is the leader.

    Attributes:
        seeds: number of seeds in each planned confirmation.
        confirmed: fraction of simulated confirmations that succeed, for each planned confirmation.
        too_many: number of sweeps whose confirmation would need too many seeds.
    """

    seeds: list[int]
    confirmed: list[float]
    too_many: int = 0


def simulate(scenario: Scenario, sweeps: int, rng: Generator) -> Counts:
    """Simulate sweeps of a scenario and return their results."""
    spreads = np.array(scenario.spreads or (1.0,) * scenario.k)
    means = [scenario.lead] + [0.0] * (scenario.k - 1)
    counts = Counts([], [])
    for _ in range(sweeps):
        table = values(means, spreads, (), scenario.n, rng=rng)
        runs = []
        for configuration, seed in np.ndindex(table.shape):
            runs.append(run(configuration, seed, float(table[configuration, seed])))
        (comparison,) = compare_runs(runs)
        leader = comparison.leader
        if leader is None or leader.flags["activation"] != "0":
            continue

        try:
            planned = plan_confirmation(comparison, scenario.lead * UNIT)
        except ConfigError:
            counts.too_many += 1
            continue
        chosen = [int(group.flags["activation"]) for group in planned.groups]
        means_of_chosen = [means[configuration] for configuration in chosen]
        fresh = values(means_of_chosen, spreads[chosen], (AGAIN,), planned.seeds, rng=rng)
        seeds = np.arange(planned.seeds)
        pairs = compare_first_with_others(AccuracyTable(fresh, seeds, np.zeros_like(seeds)))
        is_ahead = step_down(pairs.p, holm_levels(len(chosen) - 1)) & (pairs.points > 0)
        counts.seeds.append(planned.seeds)
        counts.confirmed.append(float(is_ahead.all(axis=-1).mean()))
    return counts


def run(configuration: int, seed: int, accuracy: float) -> ComparedRun:
    """Create a finished run of a configuration with a seed and an accuracy."""
    return ComparedRun(
        id=f"{configuration} {seed}",
        flags={"dataset": "mnist", "activation": str(configuration)},
        seed=seed,
        outcome="finished",
        best=accuracy,
        best_epoch=1,
        seconds_to_best=1.0,
        curve=list,
        last=lambda: accuracy,
    )


def warned(k: int, n: int, spreads: Floats, sweeps: int, rng: Generator) -> float:
    """Simulate sweeps with normal noise, and return the percentage in which a run is reported as an
    outlier.
    """
    means = [0.0] * k
    has_warning = []
    for _ in range(sweeps):
        table = values(means, spreads, (), n, rng=rng)
        has_warning.append(bool(far_below(list(table))))
    return 100 * float(np.mean(has_warning))


def detected_lead(k: int, n: int, sweeps: int, rng: Generator) -> float:
    """Return the lead, in standard deviations over seeds, that excludes 80% of the other
    configurations as the best.
    """
    drawn = values([0.0] * k, np.ones(k), (sweeps,), n, rng=rng)
    low = 0.0
    high = 64.0
    while high - low > 0.05:
        lead = (low + high) / 2
        table = drawn.copy()
        table[:, 0] += UNIT * lead
        order = np.argsort(-table.mean(axis=-1), axis=-1, kind="stable")
        ordered = np.take_along_axis(table, order[..., None], axis=1)
        no_splits = np.zeros(n, dtype=np.int64)
        tests = pair_tests(AccuracyTable(ordered, np.arange(n), no_splits))
        is_other = order[:, 1:] != 0
        share = (tests.excluded & is_other).sum() / (sweeps * (k - 1))
        if share >= DETECTED:
            high = lead
        else:
            low = lead
    return high


class Page:
    """The lines of the page, which are also printed, and the goals that are missed."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.missed: list[str] = []

    def add(self, line: str) -> None:
        """Add a line and print it."""
        self.lines.append(line)
        print(line, flush=True)


def add_plans(page: Page, sweeps: int, seed: int) -> None:
    """Add the table of planned confirmations."""
    page.lines += [
        "| truth | k | n | lead | seeds: median (middle 80%) | confirmed, % | sweeps | above 1,000 |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for number, scenario in enumerate(scenarios()):
        counts = simulate(scenario, sweeps, np.random.default_rng([seed, number]))
        low, middle, high = np.quantile(counts.seeds, (0.1, 0.5, 0.9)).round().astype(int)
        confirmed = 100 * float(np.mean(counts.confirmed))
        page.add(
            f"| {scenario.name} | {scenario.k} | {scenario.n} | {scenario.lead:g} "
            f"| {middle} ({low} to {high}) | {confirmed:.1f} "
            f"| {len(counts.seeds)} | {counts.too_many} |"
        )
        has_goal = not scenario.spreads and middle >= FROM
        if has_goal and not LEAST <= confirmed <= MOST:
            page.missed.append(
                f"{scenario.name}, k={scenario.k}, n={scenario.n}, {scenario.lead:g}: "
                f"{confirmed:.1f}"
            )


def add_outliers(page: Page, sweeps: int, seed: int) -> None:
    """Add the table of warnings of outliers."""
    page.lines += [
        "",
        "| k | n | warned, equal spreads, % | spreads 1 to 10, % |",
        "| --- | --- | --- | --- |",
    ]
    for k, n in OUTLIER_SIZES:
        rng = np.random.default_rng([seed, k, n])
        equal = warned(k, n, np.ones(k), sweeps, rng=rng)
        unequal = warned(k, n, np.geomspace(1, 10, k), sweeps, rng=rng)
        page.add(f"| {k} | {n} | {equal:.2f} | {unequal:.2f} |")
        if equal > MOST_WARNED:
            page.missed.append(f"outliers, k={k}, n={n}: {equal:.2f}")


def add_detected_leads(page: Page, sweeps: int, seed: int) -> None:
    """Add the table of leads that a first sweep detects."""
    heads = " | ".join(f"{n} seeds" for n in NS)
    page.lines += ["", f"| k | {heads} |", f"|{' ---: |' * (len(NS) + 1)}"]
    for k in KS:
        rng = np.random.default_rng([seed, k])
        cells = " | ".join(f"{detected_lead(k, n, sweeps, rng):.1f}" for n in NS)
        page.add(f"| {k} | {cells} |")


def main() -> None:
    """Run the simulations and print the tables. Exit with status 1 if a goal is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sweeps", type=positive, default=1000, help="of each scenario (default 1,000)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the table there, too")
    arguments = parser.parse_args()

    begin = time.process_time()
    sweeps = arguments.sweeps
    page = Page()
    page.lines.append(INTRO)
    add_plans(page, sweeps, arguments.seed)
    add_outliers(page, 5 * sweeps, arguments.seed)
    add_detected_leads(page, sweeps, arguments.seed)
    seconds = time.process_time() - begin
    page.add(
        f"\n{sweeps:,} sweeps per row of the first table and cell of the third, "
        f"{5 * sweeps:,} per row of the second; "
        f"{seconds:.0f} s of one core ({cpu_model()})."
    )
    if arguments.output is not None:
        arguments.output.write_text("\n".join(page.lines) + "\n")
    if page.missed:
        sys.exit(f"goal missed: {'; '.join(page.missed)}")


if __name__ == "__main__":
    main()
