"""Measure the error rates of verdicts on simulated sweeps with known true means.

In a sweep, k configurations have n seeds each. The columns of the table are percentages:

  false      sweeps in which the leader is reported to be ahead of a configuration that is at least as good
  hold       sweeps in which all printed intervals contain the true differences
  best kept  sweeps in which no configuration with the best true mean is excluded
  power      truly worse configurations that a truly best leader is reported to be ahead of
  wins       sweeps in which the leader is correctly reported to be ahead of all others

For comparison, the table also shows Holm's method for the k-1 comparisons with the leader, as if the leader had been
selected in advance. The goals with normal noise are false <= 5.5% and hold >= 94.5%.

    python -m benchmarks.verdicts                       # 10,000 sweeps per scenario
    python -m benchmarks.verdicts --quick               # 1,000 sweeps, without scenarios with 200 configurations
    python -m benchmarks.verdicts --output FILE         # write the tables to a Markdown file
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import cache
from math import comb
from pathlib import Path

import numpy as np

from benchmarks.measure import positive
from benchmarks.simulated import Counts, Judged, Scenario, equal, judge, run, simulated
from benchmarks.studies import DATASETS, EQUIVALENCE, INTERACTIONS, dataset_rows, equivalence_rows, interaction_rows
from lenet_exp.comparison.multiplicity import LEVEL, Bools, holm_levels, shaffer_levels, step_down
from lenet_exp.comparison.statistics import significant_pairs
from lenet_exp.machine import cpu_model

INTRO = """# Error rates of verdicts

See how often verdicts are wrong in simulated sweeps whose true means are known. The functions of lenet_exp judge each
sweep. `python -m benchmarks.verdicts --output FILE` writes this page.

A sweep has k configurations with n seeds each. The configurations have the same seeds unless stated otherwise. The
results are percentages. Differences are in seed-to-seed standard deviations.

- **false**: sweeps in which the leader is declared better than a configuration that is at least as good. Goal with
  normal noise: at most 5.5
- **hold**: sweeps in which all printed intervals contain the true differences. Goal: at least 94.5
- **best kept**: sweeps in which no configuration with the best true mean is excluded
- **power**: truly worse configurations that a truly best leader is declared better than
- **wins**: sweeps in which the leader is declared better than all other configurations
- **Holm k-1**: the same results for Holm's method with the k - 1 comparisons with the leader, as if the leader had been
  chosen in advance

Rows such as "two best" and "nearly best" test a step-down method if only some of the means are equal. In rows with
"one collapses", one configuration ends at chance level in one of ten runs and is better in the other runs. No test of a
few runs can detect such a configuration before its first collapse. In contrast, diverged runs are visible, and their
configurations rank last.

"""
MOST_FALSE, LEAST_HELD = 5.5, 94.5
SEEDS = {2: (2, 3, 5, 10, 30), 3: (2, 3, 5, 10, 30), 10: (2, 3, 5, 10, 30), 50: (3, 10), 200: (2, 5, 30)}


def scenarios(quick: bool) -> list[Scenario]:
    """Return the simulated scenarios."""
    found = []
    for k, ns in SEEDS.items():
        found += [Scenario("all equal", equal(k), n) for n in ns if k < 200 or not quick]
    for k in (2, 3, 10, 50):
        ten = tuple(np.geomspace(1, 10, k))
        found += [Scenario("all equal, spreads 1 to 10", equal(k), n, ten) for n in (2, 3, 10)]
    for k in (3, 10):
        noisy = (10.0, 10.0, *[1.0] * (k - 2))
        found += [Scenario("all equal, two of them 10 times as noisy", equal(k), n, noisy) for n in (3, 10)]
    for k, ns in {2: (2, 3, 4, 5, 10), 3: (2, 4, 5, 10), 10: (3, 5, 10)}.items():
        ten = tuple(np.geomspace(1, 10, k))
        found += [Scenario("all equal, other seeds each", equal(k), n, paired=False) for n in ns]
        found += [Scenario("all equal, other seeds, spreads 1 to 10", equal(k), n, ten, paired=False) for n in ns]
    for k in (3, 10):
        found += [Scenario("all equal, a fifth missing", equal(k), n, missing=0.2) for n in (5, 10)]
        found += [Scenario("all equal, a fifth missing, other seeds", equal(k), 10, missing=0.2, paired=False)]
    for n in (3, 5, 10):
        found += [
            Scenario("two best, the rest 3 lower", (0.0, 0.0, *[-3.0] * 3), n),
            Scenario("two nearly best, the rest far", (0.0, -1e-6, *[-20.0] * 8), n),
            Scenario("three nearly best, one 2 lower", (0.0, -1e-6, -2e-6, -2.0), n),
            Scenario("one 3 above", (3.0, *[0.0] * 3), n),
            Scenario("one 3 above", (3.0, *[0.0] * 9), n),
            Scenario("each 2 below the one before", tuple(-2.0 * np.arange(10)), n),
            Scenario("three best, seven 3 lower", (*[0.0] * 3, *[-3.0] * 7), n),
            Scenario("one 3 above, other seeds", (3.0, *[0.0] * 3), n, paired=False),
        ]
    found += [Scenario("all equal, correlated", equal(k), n, noise="correlated") for k in (3, 10) for n in (3, 10)]
    found += [Scenario("all equal, seeds x 3 splits", equal(k), n, splits=3) for k in (2, 3, 10) for n in (3, 5)]
    for noise in ("skewed", "collapse", "rounded"):
        found += [Scenario(f"all equal, {noise}", equal(k), n, noise=noise) for k in (2, 10) for n in (3, 10)]
    for noise in ("one skewed", "one collapses"):
        found += [Scenario(f"equal means, {noise}", equal(k), n, noise=noise) for k in (2, 10) for n in (3, 10)]
    return sorted(found, key=lambda s: s.k > 50)  # slowest scenarios last


def shipped(judged: Judged) -> Bools:
    """Return which differences lenet_exp reports as significant."""
    return significant_pairs(judged.found.p, judged.found.points, judged.leader, judged.k)[0]


def holm_leader(judged: Judged) -> Bools:
    """Return which differences are significant according to Holm's method for the k - 1 comparisons with the leader."""
    p = np.where(judged.involved, judged.found.p, np.nan)
    return step_down(p, np.concatenate([holm_levels(judged.k - 1), np.full(comb(judged.k - 1, 2), LEVEL)]))[0]


def bonferroni(judged: Judged) -> Bools:
    """Return which differences are significant according to Bonferroni's method for all pairs."""
    return judged.found.p <= LEVEL / comb(judged.k, 2)


def holm_pairs(judged: Judged) -> Bools:
    """Return which differences are significant according to Holm's method for all pairs."""
    return step_down(judged.found.p, holm_levels(comb(judged.k, 2)))[0]


def shaffer(judged: Judged) -> Bools:
    """Return which differences are significant according to Shaffer's method for all pairs."""
    return step_down(judged.found.p, shaffer_levels(judged.k))[0]


def largest_t(judged: Judged) -> Bools:
    """Return which differences are significant according to the simulated distribution of the leader's largest t.

    The simulation assumes equal spreads (Westfall and Young 1993).
    """
    t = judged.towards / judged.found.error
    return judged.involved & (t > critical_t(judged.k, int(judged.found.n.max())))


@cache
def critical_t(k: int, n: int) -> float:
    """Simulate sweeps with equal means and equal spreads, and return the critical value of the leader's largest t."""
    rng = np.random.default_rng(k * 1000 + n)
    found = []
    for _ in range(20):
        judged = judge(simulated(Scenario("", equal(k), n), 1000, rng))
        t = np.where(judged.involved, judged.towards / judged.found.error, -np.inf)
        found.append(t.max(axis=-1))
    return float(np.quantile(np.concatenate(found), 1 - LEVEL))


CANDIDATES = {
    "Bonferroni, all pairs": bonferroni,
    "Holm, all pairs": holm_pairs,
    "Shaffer S1, all pairs": shaffer,
    "Shaffer S1, and the winner by Gutmann and Maymin (shipped)": shipped,
    "largest t, simulated for equal spreads": largest_t,
    "Holm, k-1": holm_leader,
}


def candidates() -> list[Scenario]:
    """Return the scenarios in which the methods are compared: three for false claims, and three for missed leads."""
    noisy = (10.0, 10.0, *[1.0] * 8)
    return [
        Scenario("all equal", equal(10), 5),
        Scenario("all equal, two of them 10 times as noisy", equal(10), 5, noisy),
        Scenario("two best, the rest 3 lower", (0.0, 0.0, *[-3.0] * 3), 5),
        Scenario("one 3 above", (3.0, *[0.0] * 9), 5),
        Scenario("three best, seven 3 lower", (*[0.0] * 3, *[-3.0] * 7), 5),
        Scenario("each 2 below the one before", tuple(-2.0 * np.arange(10)), 3),
    ]


def row(scenario: Scenario, ours: Counts, holm: Counts) -> str:
    """Format a row of the table.

    Args:
        ours: counts for the method of lenet_exp.
        holm: counts for Holm's method.
    """
    lesser = ours.lesser > 0
    power = f"{100 * ours.right / ours.lesser:.1f} | {ours.percent(ours.wins):.1f}" if lesser else " | "
    beside = f"{100 * holm.right / holm.lesser:.1f} | {holm.percent(holm.wins):.1f}" if lesser else " | "
    told = [ours.percent(n) for n in (ours.false, ours.held, ours.kept)]
    return (
        f"| {scenario.name} | {scenario.k} | {scenario.n} | {told[0]:.1f} | {told[1]:.1f} | {told[2]:.1f} | {power} | "
        f"{holm.percent(holm.false):.1f} | {beside} |"
    )


HEAD = """| truth | k | n | false | hold | best kept | power | wins | Holm k-1: false | power | wins |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"""


def main() -> None:
    """Run the simulations and print the tables. Exit with status 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=positive, default=None, help="of each scenario (default 10,000)")
    parser.add_argument("--quick", action="store_true", help="1,000 sweeps, without 200 configurations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the tables there, too")
    asked = parser.parse_args()
    sweeps, begin, lines, missed = asked.sweeps or (1000 if asked.quick else 10_000), time.process_time(), [], []

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    say(HEAD)
    for number, scenario in enumerate(scenarios(asked.quick)):
        ours, holm = run(scenario, sweeps, (shipped, holm_leader), asked.seed * 1000 + number)
        say(row(scenario, ours, holm))
        if scenario.noise == "normal" and (
            ours.percent(ours.false) > MOST_FALSE or ours.percent(ours.held) < LEAST_HELD
        ):
            missed.append(f"{scenario.name}, k={scenario.k}, n={scenario.n}")
    say(f"\n| method | {' | '.join(f'{s.name}, k={s.k}, n={s.n}' for s in candidates())} |")
    say("| --- |" + " --- |" * len(candidates()))
    found = [run(s, sweeps, list(CANDIDATES.values()), asked.seed + i) for i, s in enumerate(candidates())]
    for method, name in enumerate(CANDIDATES):
        cells = []
        for counts in (of[method] for of in found):
            lesser = f"; power {100 * counts.right / counts.lesser:.1f}" if counts.lesser else ""
            cells.append(f"false {counts.percent(counts.false):.1f}{lesser}; wins {counts.percent(counts.wins):.1f}")
        say(f"| {name} | {' | '.join(cells)} |")
    say(INTERACTIONS)
    for line, good in interaction_rows(sweeps, asked.seed):
        say(line)
        missed += [] if good else [f"interactions: {line}"]
    say(EQUIVALENCE)
    for line, good in equivalence_rows(sweeps, asked.seed):
        say(line)
        missed += [] if good else [f"equivalence: {line}"]
    say(DATASETS)
    for line, good in dataset_rows(sweeps, asked.seed):
        say(line)
        missed += [] if good else [f"several datasets: {line}"]
    took = f"{sweeps:,} sweeps per scenario, {time.process_time() - begin:.0f} s of one core ({cpu_model()})."
    say(f"\n{took}")
    if asked.output is not None:
        asked.output.write_text(INTRO + "\n".join(lines) + "\n")
    if missed:
        sys.exit(f"goal missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
