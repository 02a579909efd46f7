"""Tests whether the effect of one flag depends on the value of another flag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations

import numpy as np

from lenet_exp.comparison.effects import changing_together, number
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.statistics.intervals import mean_interval
from lenet_exp.comparison.statistics.multiplicity import LEVEL, holm_adjusted
from lenet_exp.comparison.statistics.pairs import NO_SPREAD, Floats
from lenet_exp.comparison.studies.contrasts import ValueContrast, value_contrasts
from lenet_exp.comparison.studies.full_grid import LEAST_SEEDS, FullGrid, largest_full_grid
from lenet_exp.config.metric import Metric

NOISIER = 2.0  # ratio of variances up to which interacting combinations count as equally noisy
MOST_NONCENTRALITY = 9999  # a larger one means that scipy has reached its limit


@dataclass(frozen=True, kw_only=True)
class InteractionTest:
    """The test of an interaction. Each array has the shape (...), with one value per simulated
    sweep.

    Attributes:
        f: F statistic.
        df, error_df: degrees of freedom of the numerator and the denominator, corrected as
            described in `interaction_test`.
        p: p-value, not corrected for the number of pairs; NaN if seeds show no variation.
        omega_squared: partial omega squared, the interaction's share of its variance and that of
            the seeds; 0 to 1.
        low, high: ends of the 95% confidence interval of the true `omega_squared`.
    """

    f: Floats
    df: Floats
    error_df: Floats
    p: Floats
    omega_squared: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """The part of an interaction in which the effect of the second flag differs most.

    Attributes:
        better, worse: two values of the second flag.
        most, least: two values of the first flag.
        with_most, with_least: mean accuracy with `better` minus mean accuracy with `worse`, as a
            fraction, at the two values of the first flag. `with_most` is positive and the larger of
            the two in absolute value.
    """

    better: str
    worse: str
    most: str
    least: str
    with_most: float
    with_least: float


@dataclass(frozen=True, kw_only=True)
class Interaction:
    """The interaction between two flags.

    Attributes:
        first, second: names of the flags. If only one of them has numbers as values, it is the
            second.
        levels: values of the first flag, and values of the second flag.
        means: mean accuracy (a fraction) for each value of the first flag and each value of the
            second flag, over seeds and all values of the other flags.
        intervals: 95% confidence intervals of the means over seeds.
        test: result of the test.
        p: p-value, corrected for the number of pairs by Holm's method.
        pairs: number of pairs.
    """

    first: str
    second: str
    levels: tuple[tuple[str, ...], tuple[str, ...]]
    means: tuple[tuple[float, ...], ...]
    intervals: tuple[tuple[tuple[float, float], ...], ...]
    test: InteractionTest
    p: float
    pairs: int = 1
    metric: Metric = field(default_factory=Metric)

    @property
    def significant(self) -> bool:
        """Whether the interaction is significant at 5%, corrected for the number of pairs."""
        return self.p <= LEVEL

    @property
    def swapped(self) -> Interaction:
        """A copy in which the two flags have changed places."""
        return replace(
            self,
            first=self.second,
            second=self.first,
            levels=self.levels[::-1],
            means=tuple(zip(*self.means, strict=True)),
            intervals=tuple(zip(*self.intervals, strict=True)),
        )

    @property
    def contrast(self) -> Contrast:
        """The two values of each flag between which the effect of the second flag differs most."""
        means = self.metric.sign * np.array(self.means)  # shape (first flag, second flag)
        # How much better each value of the second flag is than each other one, with shape (first
        # flag, better value, worse value).
        effects = means[:, :, None] - means[:, None, :]
        differences = np.ptp(effects, axis=0)
        better, worse = np.unravel_index(np.argmax(differences), differences.shape)
        effect = effects[:, better, worse]  # at each value of the first flag
        most = int(effect.argmax())
        least = int(effect.argmin())

        # If the negative effect is the larger one, the two values change places, so that it becomes
        # positive.
        if abs(effect[least]) > effect[most]:
            better, worse = worse, better
            most, least = least, most
            effect = -effect
        return Contrast(
            better=self.levels[1][better],
            worse=self.levels[1][worse],
            most=self.levels[0][most],
            least=self.levels[0][least],
            with_most=float(effect[most]),
            with_least=float(effect[least]),
        )


@dataclass(frozen=True, kw_only=True)
class Interactions:
    """The interactions between all pairs of flags.

    Attributes:
        pairs: the tested pairs, smallest p-value first; empty if there is no test.
        left_out: values and seeds that were left out to obtain a full grid, such as
            `optimizer.lr=1`.
        lost: number of finished runs that were left out.
        no_test: reason why there is no test; None if there is one.
        contrasts: differences between the values of each flag, averaged over the other flags.
    """

    pairs: list[Interaction]
    left_out: tuple[str, ...] = ()
    lost: int = 0
    no_test: str | None = None
    contrasts: list[ValueContrast] = field(default_factory=list)


def interactions(groups: Sequence[Group], flags: Sequence[str]) -> Interactions | None:
    """Test the interaction of each pair of flags in the largest full part of a grid.

    Returns:
        The interactions; None if there are fewer than two flags, or fewer than three seeds per
        group.
    """
    most_seeds = max((group.n for group in groups), default=0)
    if len(changing_together(groups, flags)) < 2 or most_seeds < LEAST_SEEDS:
        return None
    if _share_splits(groups):
        return Interactions(pairs=[], no_test="runs with the same split_seed are not independent")
    grid = largest_full_grid(groups, flags)
    if grid is None:
        return Interactions(pairs=[], no_test="no two flags form a full grid of finished runs")

    metric = groups[0].metric
    tested = []
    for one, other in combinations(range(len(grid.flags)), 2):
        interaction = _test_pair(grid, one, other, metric=metric)
        if interaction is not None:
            tested.append(interaction)

    p_of_pairs = np.array([interaction.p for interaction in tested])
    corrected = holm_adjusted(p_of_pairs)
    pairs = [
        replace(interaction, p=float(p), pairs=len(tested))
        for interaction, p in zip(tested, corrected, strict=True)
    ]
    return Interactions(
        pairs=sorted(pairs, key=_uncorrected_p),
        left_out=grid.left_out,
        lost=grid.lost,
        no_test=None if tested else "seeds show no variation",
        contrasts=value_contrasts(grid, metric.sign),
    )


def _share_splits(groups: Sequence[Group]) -> bool:
    """Return whether some but not all replicates share a split. They are then not independent."""
    replicates = {replicate for group in groups for replicate in group.accuracy}
    splits = {split for _, split in replicates}
    return len(splits) not in {1, len(replicates)}


def _uncorrected_p(interaction: Interaction) -> float:
    return float(interaction.test.p)


def interaction_test(table: Floats, runs: int) -> InteractionTest:
    """Test the interaction of two flags with repeated measures over seeds.

    Each seed's interaction is compared with its variation between seeds, so an effect of the seed
    on all configurations cancels out. Spreads and correlations can differ between configurations,
    so the degrees of freedom are reduced (Greenhouse, Geisser 1959, On methods in the analysis of
    profile data). With two values per flag, the test is a paired t test. It assumes that seeds are
    independent and that accuracies are approximately normal.

    The estimate of partial omega squared subtracts the part that chance alone would cause (Hays
    1963, Statistics for psychologists). The ends of its interval are the values for which the
    observed F is at the 97.5th and at the 2.5th percentile of the noncentral F distribution
    (Steiger 2004, Beyond the F test; Smithson 2003, Confidence intervals). If the combinations that
    interact are noisier than the others, which that distribution ignores, both ends move away from
    the estimate; simulations (`benchmarks/verdicts.py`) confirm the coverage.

    Args:
        table: accuracies, with shape (..., values of the first flag, values of the second flag,
            seeds).
        runs: total number of runs, which exceeds the size of the table if it averages over other
            flags.
    """
    # This import takes 0.2 s and is needed only with repeated seeds.
    from scipy.special import fdtrc

    a, b, n = table.shape[-3:]
    interaction_df = (a - 1) * (b - 1)

    # The interaction of each seed: what remains if the means of rows and columns are subtracted.
    # The values of both flags are joined to cells, with shape (..., cells, seeds).
    effects = table - table.mean(-3, keepdims=True)
    effects = effects - effects.mean(-2, keepdims=True)
    effects = effects.reshape(*table.shape[:-3], a * b, n)
    mean = effects.mean(-1)  # shape (..., cells)
    deviations = effects - mean[..., None]
    sum_of_squares = (mean**2).sum(-1)

    # This matrix of seeds has the same trace and norm as the covariance of the cells.
    products = deviations.swapaxes(-1, -2) @ deviations / (n - 1)
    error = np.trace(products, axis1=-2, axis2=-1)
    error = np.where(error > NO_SPREAD**2, error, np.nan)
    f = n * sum_of_squares / error
    df = np.clip(error**2 / (products**2).sum((-2, -1)), 1, interaction_df)
    error_df = df * (n - 1)

    # The variance between seeds along the interaction itself, compared with its mean over all
    # directions, tells whether the combinations that interact are noisier.
    projections = (deviations * mean[..., None]).sum(-2)  # shape (..., seeds)
    along = (projections**2).sum(-1) / (n - 1) / np.maximum(sum_of_squares, NO_SPREAD**2)
    widening = np.sqrt(np.maximum(along * interaction_df / error / NOISIER, 1.0))

    estimate = np.maximum(interaction_df * (f - 1), 0.0)  # of the noncentrality
    limits = _OmegaLimits(
        f=f,
        df=df,
        error_df=error_df,
        interaction_df=interaction_df,
        estimate=estimate,
        widening=widening,
        runs=runs,
    )
    return InteractionTest(
        f=f,
        df=df,
        error_df=error_df,
        p=fdtrc(df, error_df, f),
        omega_squared=estimate / (estimate + runs),
        low=limits.low,
        high=limits.high,
    )


@dataclass(frozen=True, kw_only=True)
class _OmegaLimits:
    """The ends of the confidence interval of partial omega squared; see `interaction_test`. Each
    array has the shape (...).

    Attributes:
        f, df, error_df: F statistic and its corrected degrees of freedom.
        interaction_df: degrees of freedom of the interaction, not corrected.
        estimate: estimate of the noncentrality, which is omega squared times `runs` divided by one
            minus omega squared.
        widening: factor by which both ends move away from the estimate, at least 1.
        runs: total number of runs.
    """

    f: Floats
    df: Floats
    error_df: Floats
    interaction_df: int
    estimate: Floats
    widening: Floats
    runs: int

    @property
    def low(self) -> Floats:
        """The lower ends."""
        return self._omega_squared(self._noncentrality(0.975))

    @property
    def high(self) -> Floats:
        """The upper ends; 1 where the noncentrality is too large for scipy."""
        noncentrality = self._noncentrality(0.025)
        is_too_large = noncentrality * self.df / self.interaction_df > MOST_NONCENTRALITY
        return np.where(is_too_large, 1.0, self._omega_squared(noncentrality))

    def _noncentrality(self, percentile: float) -> Floats:
        """Return the noncentrality with which the observed F is at a percentile, for uncorrected
        degrees of freedom; 0 if F is below the percentile even without an interaction.
        """
        from scipy.special import fdtr, ncfdtrinc

        has_solution = fdtr(self.df, self.error_df, self.f) > percentile
        f = np.where(has_solution, self.f, 1.0)
        corrected = ncfdtrinc(self.df, self.error_df, percentile, f)
        return np.where(has_solution, corrected * self.interaction_df / self.df, 0.0)

    def _omega_squared(self, noncentrality: Floats) -> Floats:
        """Return partial omega squared, moved away from the estimate by `widening`."""
        widened = self.estimate + self.widening * (noncentrality - self.estimate)
        limited = np.maximum(widened, 0.0)
        return np.asarray(limited / (limited + self.runs))


def _test_pair(grid: FullGrid, one: int, other: int, metric: Metric) -> Interaction | None:
    """Test a pair of flags, averaged over all other flags; None if seeds show no variation.

    The p-value is not yet corrected.
    """
    first, second = sorted((one, other), key=partial(_order_of_flag, grid))
    table = np.moveaxis(grid.values, (first, second), (0, 1))
    table = table.reshape(*table.shape[:2], -1, table.shape[-1]).mean(axis=2)
    test = interaction_test(table, grid.values.size)
    if np.isnan(test.p):
        return None

    intervals = []
    for row in table:
        intervals.append(tuple(_interval_over_seeds(cell, metric) for cell in row))
    return Interaction(
        first=grid.flags[first],
        second=grid.flags[second],
        levels=(grid.levels[first], grid.levels[second]),
        means=tuple(map(tuple, table.mean(axis=-1).tolist())),
        intervals=tuple(intervals),
        test=test,
        p=float(test.p),
        metric=metric,
    )


def _order_of_flag(grid: FullGrid, axis: int) -> tuple[bool, int]:
    """Return a sort key for the two flags of an interaction: words before numbers, then the flag
    with fewer values.
    """
    levels = grid.levels[axis]
    is_numeric = all(number(value) is not None for value in levels)
    return is_numeric, len(levels)


def _interval_over_seeds(values: Floats, metric: Metric) -> tuple[float, float]:
    """Return the confidence interval of the mean of values, one per seed."""
    value_of_seed = {(seed, 0): float(value) for seed, value in enumerate(values)}
    return mean_interval(value_of_seed, limited=metric.is_accuracy)
