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
DETECTED, KS, NS = 0.8, (2, 3, 4, 6, 10, 18), (2, 3, 5, 10, 20)  # of the third table
UNIT = 0.002  # standard deviation over seeds, as a fraction
AGAIN = 50  # number of simulated confirmations for each plan
MOST_WARNED = 1.0  # maximum percentage of sweeps with a warning
# Limits for the percentage of confirmed leads, including the error of the simulation, and the
# minimum median number of planned seeds for which they apply.
LEAST, MOST, FROM = 79.0, 91.0, 10


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
    plans = [
        Scenario(k, n, lead) for k in (2, 4, 10) for n in (3, 5, 10) for lead in (0.5, 1.0, 2.0)
    ]
    return plans + [
        Scenario(k, n, lead, tuple(np.geomspace(1, 3, k)))
        for k in (2, 4, 10)
        for n in (5, 10)
        for lead in (1.0, 2.0)
    ]


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
        table = values(means, spreads, (), scenario.n, rng)
        runs = [
            run(c, seed, float(table[c, seed]))
            for c in range(scenario.k)
            for seed in range(scenario.n)
        ]
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
        fresh = values([means[c] for c in chosen], spreads[chosen], (AGAIN,), planned.seeds, rng)
        columns = np.arange(planned.seeds)
        pairs = compare_first_with_others(AccuracyTable(fresh, columns, np.zeros_like(columns)))
        ahead = step_down(pairs.p, holm_levels(len(chosen) - 1)) & (pairs.points > 0)
        counts.seeds.append(planned.seeds)
        counts.confirmed.append(float(ahead.all(axis=-1).mean()))
    return counts


def run(configuration: int, seed: int, accuracy: float) -> ComparedRun:
    """Create a finished run of a configuration with a seed and an accuracy."""
    flags = {"dataset": "mnist", "activation": str(configuration)}
    return ComparedRun(
        f"{configuration} {seed}", flags, seed, "finished", accuracy, 1, 1.0, list, lambda: accuracy
    )


def warned(k: int, n: int, spreads: Floats, sweeps: int, rng: Generator) -> float:
    """Simulate sweeps with normal noise, and return the percentage in which a run is reported as an
    outlier.
    """
    means = [0.0] * k
    return 100 * float(
        np.mean([bool(far_below(list(values(means, spreads, (), n, rng)))) for _ in range(sweeps)])
    )


def detected_lead(k: int, n: int, sweeps: int, rng: Generator) -> float:
    """Return the lead, in standard deviations over seeds, that excludes 80% of the other
    configurations as the best.
    """
    drawn = values([0.0] * k, np.ones(k), (sweeps,), n, rng)
    low, high = 0.0, 64.0
    while high - low > 0.05:
        lead = (low + high) / 2
        table = drawn.copy()
        table[:, 0] += UNIT * lead
        order = np.argsort(-table.mean(axis=-1), axis=-1, kind="stable")
        ordered = np.take_along_axis(table, order[..., None], axis=1)
        excluded = pair_tests(
            AccuracyTable(ordered, np.arange(n), np.zeros(n, dtype=np.int64))
        ).excluded
        share = (excluded & (order[:, 1:] != 0)).sum() / (sweeps * (k - 1))
        low, high = (low, lead) if share >= DETECTED else (lead, high)
    return high


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
    begin, missed = time.process_time(), []
    lines = [
        INTRO,
        "| truth | k | n | lead | seeds: median (middle 80%) | confirmed, % | sweeps | above 1,000 |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for number, scenario in enumerate(scenarios()):
        counts = simulate(
            scenario, arguments.sweeps, np.random.default_rng([arguments.seed, number])
        )
        low, middle, high = np.quantile(counts.seeds, (0.1, 0.5, 0.9)).round().astype(int)
        confirmed = 100 * float(np.mean(counts.confirmed))
        lines.append(
            f"| {scenario.name} | {scenario.k} | {scenario.n} | {scenario.lead:g} | {middle} ({low} to {high}) | "
            f"{confirmed:.1f} | {len(counts.seeds)} | {counts.too_many} |"
        )
        print(lines[-1], flush=True)
        if not scenario.spreads and middle >= FROM and not LEAST <= confirmed <= MOST:
            missed.append(
                f"{scenario.name}, k={scenario.k}, n={scenario.n}, {scenario.lead:g}: {confirmed:.1f}"
            )
    lines.append(
        "\n| k | n | warned, equal spreads, % | spreads 1 to 10, % |\n| --- | --- | --- | --- |"
    )
    for k, n in ((1, 3), (1, 5), (2, 3), (2, 5), (4, 3), (4, 5), (10, 3), (10, 10), (50, 3)):
        rng = np.random.default_rng([arguments.seed, k, n])
        equal, unequal = (
            warned(k, n, spreads, 5 * arguments.sweeps, rng)
            for spreads in (np.ones(k), np.geomspace(1, 10, k))
        )
        lines.append(f"| {k} | {n} | {equal:.2f} | {unequal:.2f} |")
        print(lines[-1], flush=True)
        if equal > MOST_WARNED:
            missed.append(f"outliers, k={k}, n={n}: {equal:.2f}")
    lines.append(f"\n| k | {' | '.join(f'{n} seeds' for n in NS)} |\n|{' ---: |' * (len(NS) + 1)}")
    for k in KS:
        rng = np.random.default_rng([arguments.seed, k])
        lines.append(
            f"| {k} | {' | '.join(f'{detected_lead(k, n, arguments.sweeps, rng):.1f}' for n in NS)} |"
        )
        print(lines[-1], flush=True)
    seconds = time.process_time() - begin
    lines.append(
        f"\n{arguments.sweeps:,} sweeps per row of the first table and cell of the third, "
        f"{5 * arguments.sweeps:,} per row of the second; "
        f"{seconds:.0f} s of one core ({cpu_model()})."
    )
    print(lines[-1])
    if arguments.output is not None:
        arguments.output.write_text("\n".join(lines) + "\n")
    if missed:
        sys.exit(f"goal missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
