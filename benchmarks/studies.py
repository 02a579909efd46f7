"""Simulate the tests of interactions, values, and several datasets, for
`benchmarks/verdicts.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from scipy.stats import f as f_distribution
from scipy.stats import rankdata, studentized_range

from benchmarks.simulated import Scenario, simulated
from lenet_exp.comparison.compare import compare_runs
from lenet_exp.comparison.part import select_part
from lenet_exp.comparison.statistics.multiplicity import LEVEL, Bools, Floats, holm_adjusted
from lenet_exp.comparison.statistics.pairs import compare_all_pairs
from lenet_exp.comparison.studies.contrasts import value_contrasts
from lenet_exp.comparison.studies.datasets import better_on_each, rank_test
from lenet_exp.comparison.studies.full_grid import FullGrid
from lenet_exp.comparison.studies.interactions import InteractionTest, interaction_test
from tests.comparison.made_up import made

INTERACTIONS = """
## Interactions

How often a test of interactions is wrong in full grids with n seeds. An F test with repeated measures over seeds and
Greenhouse and Geisser's correction tests each pair of flags, with Holm's correction for the number of pairs.

- **false**: sweeps in which an interaction is declared although no flags interact. Goal: at most 5.5, or 6 with
  spreads of 1 to 10
- **pooled error**: the same for the F test of a randomized complete block design, which assumes equal spreads
- **hold 0**, **hold**: tests in which the 95% interval of partial omega squared contains the true value, without an
  interaction and with one. Goal: at least 94
- **hold noisy**: the same as "hold", if the combination that causes the interaction is the one with the larger standard
  deviation, and 12 standard deviations of the others better. Goal: at least 94
- **power**: sweeps in which the interaction is found if one combination of values is 6 standard deviations better

"Spreads 1 to 4" means that the standard deviation of one combination is four times as large as that of the others. In
rows with "seed times configuration", each seed also has an effect that differs between configurations.

| grid | n | spreads | false | pooled error | hold 0 | hold | hold noisy | power |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |"""
GRIDS = ((2, 2), (2, 4), (3, 4), (4, 6), (2, 2, 3))
SPREADS = ("equal", "spreads 1 to 4", "spreads 1 to 10", "seed times configuration")
LIFT = 6.0  # accuracy of the better combination, in standard deviations
LEAST_HELD = 94.0


@dataclass(frozen=True)
class Grid:
    """A type of simulated grid: the number of values of each flag, the number of seeds, and an
    entry of SPREADS.
    """

    shape: tuple[int, ...]
    n: int
    spreads: str

    def draw(self, sweeps: int, rng: np.random.Generator) -> Floats:
        """Draw accuracies without effects, with shape (sweeps, *shape, seeds)."""
        values = rng.normal(size=(sweeps, *self.shape, self.n))
        if self.spreads == "seed times configuration":
            seed = rng.normal(size=(sweeps, *[1] * len(self.shape), self.n))
            values += 2 * rng.normal(size=(sweeps, *self.shape, 1)) * seed
        return values * self.sd[..., None]

    @property
    def sd(self) -> Floats:
        """The standard deviation of each combination, without the effects of seeds."""
        deviations = np.ones(self.shape)
        if self.spreads == "spreads 1 to 4":
            deviations.flat[0] = 4.0
        elif self.spreads == "spreads 1 to 10":
            deviations.flat[0] = 10.0
        return deviations

    @property
    def most_false(self) -> float:
        """The goal for the percentage of sweeps in which an interaction is wrongly declared."""
        return 6.0 if self.spreads == "spreads 1 to 10" else 5.5


def by_pair(values: Floats, dims: int, measure: Callable[[Floats], Floats]) -> Floats:
    """Return the measure of each pair of flags, with shape (sweeps, pairs), from accuracies as
    `Grid.draw` returns.
    """
    measures = []
    for first, second in combinations(range(1, dims + 1), 2):
        pair_first = np.moveaxis(values, (first, second), (1, 2))
        sweeps, a, b = pair_first.shape[:3]
        # mean over the values of all other flags
        table = pair_first.reshape(sweeps, a, b, -1, values.shape[-1]).mean(axis=3)
        measures.append(measure(table))
    return np.stack(measures, axis=-1)


def pooled_p(table: Floats, error: Floats, error_df: int, runs: int) -> Floats:
    """Return the p-value of an interaction in a randomized complete block design with equal
    spreads.

    Args:
        table: accuracies of a pair of flags, with shape (sweeps, values, values, seeds).
        error: mean square of the residuals of all runs, with shape (sweeps,).
    """
    mean = table.mean(axis=-1)
    mean_of_first = mean.mean(axis=2, keepdims=True)
    mean_of_second = mean.mean(axis=1, keepdims=True)
    effects = mean - mean_of_second - mean_of_first + mean.mean((1, 2), keepdims=True)
    df = (mean.shape[1] - 1) * (mean.shape[2] - 1)
    square = (effects**2).mean(axis=(1, 2)) * runs / df
    p: Floats = f_distribution.sf(square / error, df, error_df)
    return p


def residuals(values: Floats) -> tuple[Floats, int]:
    """Return the mean square of the residuals of a randomized complete block design, and its
    degrees of freedom.
    """
    cells = values.reshape(len(values), -1, values.shape[-1])
    without_configurations = cells - cells.mean(axis=-1, keepdims=True)
    without_seeds = without_configurations - without_configurations.mean(axis=1, keepdims=True)
    df = (cells.shape[1] - 1) * (cells.shape[2] - 1)
    return (without_seeds**2).sum(axis=(1, 2)) / df, df


def holds(test: InteractionTest, grid: Grid, lift: float) -> float:
    """Return the percentage of intervals of the first pair of flags that contain the true partial
    omega squared.
    """
    a, b = grid.shape[:2]
    others = int(np.prod(grid.shape[2:]))
    variances = grid.sd**2
    # of a single combination's variance or square that belongs to the interaction
    share = (1 - 1 / a) * (1 - 1 / b)
    signal = share * (lift / others) ** 2 / (a * b)
    omega_squared = signal / (signal + variances.mean())
    is_held = (test.low <= omega_squared) & (omega_squared <= test.high)
    return float(100 * is_held.mean())


def interaction_row(grid: Grid, sweeps: int, rng: np.random.Generator) -> tuple[str, bool]:
    """Simulate sweeps; return a row of the table, and whether the goals are reached."""
    values = grid.draw(sweeps, rng)
    dims = len(grid.shape)
    runs = int(np.prod(grid.shape)) * grid.n
    better = values.copy()
    better.reshape(sweeps, -1, grid.n)[:, -1] += LIFT

    p = by_pair(values, dims, lambda table: interaction_test(table, runs).p)
    false = 100 * (holm_adjusted(p) <= LEVEL).any(axis=-1).mean()
    error, error_df = residuals(values)
    p_pooled = by_pair(values, dims, lambda table: pooled_p(table, error, error_df, runs))
    false_pooled = 100 * (holm_adjusted(p_pooled) <= LEVEL).any(axis=-1).mean()
    p_better = by_pair(better, dims, lambda table: interaction_test(table, runs).p)
    power = 100 * (holm_adjusted(p_better)[:, 0] <= LEVEL).mean()

    shape = "x".join(str(number) for number in grid.shape)
    row = f"| {shape} | {grid.n} | {grid.spreads} | {false:.1f} | {false_pooled:.1f} |"
    is_rarely_false = bool(false <= grid.most_false)
    # partial omega squared has no common definition if seeds interact
    if grid.spreads == SPREADS[-1]:
        return f"{row} | | | {power:.1f} |", is_rarely_false

    noisy = values.copy()
    noisy.reshape(sweeps, -1, grid.n)[:, 0] += 2 * LIFT
    held = []
    for accuracies, lift in ((values, 0.0), (better, LIFT), (noisy, 2 * LIFT)):
        table = accuracies.reshape(sweeps, *grid.shape[:2], -1, grid.n).mean(axis=3)
        held.append(holds(interaction_test(table, runs), grid, lift))
    held_cells = " | ".join(f"{percentage:.1f}" for percentage in held)
    return f"{row} {held_cells} | {power:.1f} |", is_rarely_false and min(held) >= LEAST_HELD


def interaction_rows(sweeps: int, seed: int) -> Iterator[tuple[str, bool]]:
    """Yield the rows of the table of interactions, each with whether the goals are reached."""
    for number, (shape, spreads, n) in enumerate(product(GRIDS, SPREADS, (3, 5, 10))):
        rng = np.random.default_rng(seed * 1000 + number)
        yield interaction_row(Grid(shape, n, spreads), sweeps, rng)


VALUES = """
## Values of a flag

How often two values of a flag are wrongly declared different on average over six values of another flag, with n seeds.
Paired t tests over seeds compare all pairs of values of a flag, with Shaffer's correction.

- **false**: sweeps in which two values are declared different although all are equally good. Goal: at most 5.5
- **hold**: sweeps in which the intervals of all pairs contain the true difference. Goal: at least 94
- **found**: pairs that are declared different if neighboring values differ by one standard deviation of a run

"Spreads" have the same meaning as for interactions. With "seed times configuration", the standard deviation of a run
is 2.2.

| values | n | spreads | false | hold | found |
| --- | --- | --- | --- | --- | --- |"""


def contrasts_of(values: Floats) -> tuple[Bools, Bools]:
    """Return which pairs of values of the first flag are declared different, and which intervals
    contain 0.

    Both have the shape (sweeps, pairs).

    Args:
        values: accuracies, as `Grid.draw` returns them.
    """
    levels = []
    for number in values.shape[1:-1]:
        levels.append(tuple(str(level) for level in range(number)))
    differs = []
    held = []
    for accuracies in values:
        grid = FullGrid(
            flags=("first", "other"), levels=tuple(levels), values=accuracies, left_out=(), lost=0
        )
        contrasts = value_contrasts(grid, 1)
        differs.append([contrast.differs for contrast in contrasts])
        held.append([contrast.low <= 0 <= contrast.high for contrast in contrasts])
    return np.array(differs), np.array(held)


def value_rows(sweeps: int, seed: int) -> Iterator[tuple[str, bool]]:
    """Yield the rows of the table of values, each with whether the goals are reached."""
    for number, (k, spreads, n) in enumerate(product((2, 3, 5), SPREADS, (3, 5, 10))):
        rng = np.random.default_rng(seed * 1000 + number)
        # only flags with at most five values are compared
        equal = Grid((k, 6), n, spreads).draw(2 * sweeps, rng)
        apart = equal[: sweeps // 10] + np.arange(k)[:, None, None]

        differs, held = contrasts_of(equal)
        differs_if_apart, _ = contrasts_of(apart)
        false = 100 * differs.any(axis=-1).mean()
        hold = 100 * held.all(axis=-1).mean()
        power = 100 * differs_if_apart.mean()
        row = f"| {k} | {n} | {spreads} | {false:.1f} | {hold:.1f} | {power:.0f} |"
        yield row, bool(false <= MOST_FALSE and hold >= LEAST_HELD)


BEST_PER = """
## Values at their own best

How often values of a flag are wrongly compared, each at its own best of several configurations (`best_per=`), with n
seeds per configuration.

- **false**: sweeps in which the leader's value is declared ahead of a value that is equally good. Goal: at most 5.5
- **lost**: sweeps in which a value whose best configuration is the truly best one, by half a standard deviation, is
  excluded. Goal: at most 5.5
- **found**: values that are excluded if each value's best configuration is two standard deviations better than that of
  the next value; empty for "many against one", where most values are far behind
- **as a whole**: the same, if a value is only excluded if none of its configurations could be the best among all

"All equal" means that all configurations are equally good. "Many against one" means that all configurations of the
first value are as good as one of the second value, and all others are far behind. "Ladder" means that the
configurations of each value are one standard deviation apart. With "one 10", one configuration is 10 times as noisy.

| values | configurations each | n | means | spreads | false | lost | found | as a whole |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |"""


def best_per_rates(
    means: Floats, n: int, noisy: float, sweeps: int, rng: np.random.Generator
) -> tuple[float, ...]:
    """Return the percentages of sweeps with a false lead or with an excluded best value, and of
    excluded other values.

    Args:
        means: true means, with shape (values, configurations of each value), in standard
            deviations.
        noisy: standard deviation of the first configuration of the first value; that of all others
            is 1.
    """
    sds = np.ones(means.shape)
    sds[0, 0] = noisy
    counts = np.zeros(4)
    for _ in range(sweeps):
        own = rng.normal(size=(*means.shape, n)) * sds[..., None]
        common = rng.normal(size=n)
        counts += _best_per_counts(means, means[..., None] + own + common)
    return tuple(100 * counts / sweeps)


def _best_per_counts(means: Floats, drawn: Floats) -> list[float]:
    """Judge one sweep, and return whether a lead is false and whether a best value is excluded, as
    0 or 1, and the shares of the other values that are excluded.

    Args:
        drawn: accuracies in standard deviations, with shape (values, configurations of each value,
            seeds).
    """
    runs = []
    for value, configuration, seed in np.ndindex(drawn.shape):
        accuracy = float(0.9 + 0.002 * drawn[value, configuration, seed])
        flags = {"activation": str(value), "batch_size": str(configuration)}
        runs.append(made(seed, accuracy, **flags))
    whole = compare_runs(runs, ["activation", "batch_size"])
    (part,) = select_part(whole, None, "activation")
    not_excluded = {int(group.value("activation")) for group in whole[0].not_excluded}

    best = means.max(axis=1).tolist()
    leads_of_others = {}
    for group, lead in zip(part.groups, part.leads, strict=True):
        value = int(group.value("activation"))
        if lead is None:
            leader = value
        else:
            leads_of_others[value] = lead

    is_false = False
    is_lost = False
    excluded = 0
    for value, lead in leads_of_others.items():
        if lead.ahead and best[value] >= best[leader]:
            is_false = True
        if lead.excluded and best[value] == max(best):
            is_lost = True
        excluded += lead.excluded
    excluded_as_a_whole = leads_of_others.keys() - not_excluded
    others = len(leads_of_others)
    return [is_false, is_lost, excluded / others, len(excluded_as_a_whole) / others]


def _means(shape: tuple[int, int], kind: str) -> Floats:
    """Return true means, with shape (values, configurations of each value)."""
    if kind == "all equal":
        return np.zeros(shape)
    if kind == "ladder":
        return np.tile(-np.arange(shape[1], dtype=float), (shape[0], 1))
    means = np.full(shape, -20.0)  # many against one
    means[0] = 0.0
    means[1, 0] = 0.0
    return means


def best_per_rows(sweeps: int, seed: int) -> Iterator[tuple[str, bool]]:
    """Yield the rows of the table of values at their own best, each with whether the goals are
    reached.
    """
    cases = product(
        ((3, 3), (6, 3), (2, 6)),
        (3, 5),
        ("all equal", "many against one", "ladder"),
        ("equal", "one 10"),
    )
    count = sweeps // 8
    for number, (shape, n, kind, spreads) in enumerate(cases):
        rng = np.random.default_rng(seed * 1000 + number)
        rng_of_power = np.random.default_rng(seed * 1000 + 500 + number)
        noisy = 10.0 if spreads == "one 10" else 1.0
        means = _means(shape, kind)
        apart = means - 2.0 * np.arange(shape[0])[:, None]
        one_best = means.copy()
        one_best[-1, -1] = means.max() + 0.5

        false, *_ = best_per_rates(means, n, noisy, count, rng)
        _, lost, *_ = best_per_rates(one_best, n, noisy, count, rng)
        *_, power, power_as_a_whole = best_per_rates(apart, n, noisy, count // 10, rng_of_power)
        power_cells = f"{power:.0f} | {power_as_a_whole:.0f}"
        if kind == "many against one":
            power_cells = "|"
        row = (
            f"| {shape[0]} | {shape[1]} | {n} | {kind} | {spreads} "
            f"| {false:.1f} | {lost:.1f} | {power_cells} |"
        )
        yield row, bool(max(false, lost) <= MOST_FALSE)


RANKS = """
## Ranks over several datasets

How often the best of equally good configurations is declared to rank significantly better than another one. Two
configurations are compared by the exact sign test, more of them by Friedman's test and a critical difference for all
pairs, both with the distribution of random permutations of the ranks.

- **false**: sets of ranks with such a pair. Goal: at most 5.5
- **asymptotic**: the same for the approximations of Iman and Davenport, and of Nemenyi

| k | datasets | false | asymptotic |
| --- | --- | --- | --- |"""
MOST_FALSE = 5.5


DATASETS = """
## Several datasets

How often a configuration is wrongly declared better than another on each of several datasets, with n seeds on each.

- **false**: sweeps in which a configuration is declared better on each dataset, although it is not better on the first
  one. On the first dataset, all true means are equal; on the others, they differ by 9 standard deviations or more.
  Goal: at most 5.5
- **power**: pairs that are declared different if the true means differ by 3 standard deviations or more on each dataset

With spreads of "1 to 4", the standard deviation is 1 for the best configuration and 4 for the last one.

| k | datasets | n | spreads | false | power |
| --- | --- | --- | --- | --- | --- |"""


def on_each(
    gaps: Sequence[float], k: int, n: int, spreads: str, sweeps: int, rng: np.random.Generator
) -> Bools:
    """Return which pairs are declared better on each dataset, with shape (sweeps, pairs).

    Args:
        gaps: for each dataset, the difference between the true means of neighboring configurations,
            best first.
    """
    sds = tuple(np.geomspace(1, 4, k)) if spreads == "1 to 4" else ()
    p_values = []
    points = []
    for gap in gaps:
        scenario = Scenario("", means=tuple(-gap * np.arange(k)), n=n, spreads=sds)
        pairs = compare_all_pairs(simulated(scenario, sweeps, rng))
        p_values.append(pairs.p)
        points.append(pairs.points)
    return better_on_each(np.array(p_values), np.array(points))


def dataset_rows(sweeps: int, seed: int) -> Iterator[tuple[str, bool]]:
    """Yield the rows of the table of several datasets, each with whether the goal is reached."""
    cases = product((2, 4, 10), (2, 4), (3, 5, 10), ("equal", "1 to 4"))
    for number, (k, datasets, n, spreads) in enumerate(cases):
        rng = np.random.default_rng(seed * 1000 + number)
        equal_on_first = [0.0, *[9.0] * (datasets - 1)]
        is_better = on_each(equal_on_first, k, n, spreads, sweeps=sweeps, rng=rng)
        false = 100 * is_better.any(axis=-1).mean()
        is_better = on_each([3.0] * datasets, k, n, spreads, sweeps=sweeps, rng=rng)
        power = 100 * is_better.mean()
        row = f"| {k} | {datasets} | {n} | {spreads} | {false:.1f} | {power:.1f} |"
        yield row, bool(false <= MOST_FALSE)


def asymptotic(ranks: Floats) -> bool:
    """Return whether some pair differs by Friedman's test (Iman and Davenport 1980) and Nemenyi's
    difference.
    """
    n, k = ranks.shape
    mean = ranks.mean(axis=0)
    chi2 = 12 * n / (k * (k + 1)) * float(((mean - (k + 1) / 2) ** 2).sum())
    rest = n * (k - 1) - chi2
    p = 0.0
    if rest > 0:
        p = float(f_distribution.sf((n - 1) * chi2 / rest, k - 1, (k - 1) * (n - 1)))
    critical = studentized_range.isf(LEVEL, k, np.inf) / np.sqrt(2) * np.sqrt(k * (k + 1) / (6 * n))
    return bool(p <= LEVEL and np.ptp(mean) > critical)


def rank_rows(sweeps: int, seed: int) -> Iterator[tuple[str, bool]]:
    """Yield the rows of the table of ranks, each with whether the goal is reached."""
    for number, (k, datasets) in enumerate(product((2, 3, 4, 10), (5, 6, 8, 12))):
        rng = np.random.default_rng(seed * 1000 + number)
        count = sweeps // 4
        wrong = 0
        wrong_asymptotic = 0
        for _ in range(count):
            ranks = rankdata(rng.normal(size=(datasets, k)), axis=1)
            test = rank_test(ranks)
            largest_difference = np.ptp(ranks.mean(axis=0))
            wrong += bool(test.p <= LEVEL and largest_difference > test.critical)
            wrong_asymptotic += asymptotic(ranks)

        false = 100 * wrong / count
        false_asymptotic = 100 * wrong_asymptotic / count
        yield f"| {k} | {datasets} | {false:.1f} | {false_asymptotic:.1f} |", false <= MOST_FALSE
