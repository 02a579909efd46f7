"""Tests whether the effect of one flag depends on the value of another flag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
        means, intervals = (
            tuple(zip(*self.means, strict=True)),
            tuple(zip(*self.intervals, strict=True)),
        )
        levels = self.levels[::-1]
        return replace(
            self,
            first=self.second,
            second=self.first,
            levels=levels,
            means=means,
            intervals=intervals,
        )

    @property
    def contrast(self) -> Contrast:
        """The two values of each flag between which the effect of the second flag differs most."""
        means = self.metric.sign * np.array(self.means)
        steps = means[:, :, None] - means[:, None, :]
        better, worse = np.unravel_index(np.argmax(np.ptp(steps, axis=0)), steps.shape[1:])
        step = steps[:, better, worse]
        most, least = int(step.argmax()), int(step.argmin())
        if abs(step[least]) > step[most]:
            better, worse, most, least, step = worse, better, least, most, -step
        along = {"better": self.levels[1][better], "worse": self.levels[1][worse]}
        lines = {"most": self.levels[0][most], "least": self.levels[0][least]}
        return Contrast(
            **along, **lines, with_most=float(step[most]), with_least=float(step[least])
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
    if (
        len(changing_together(groups, flags)) < 2
        or max((g.n for g in groups), default=0) < LEAST_SEEDS
    ):
        return None
    replicates = {replicate for g in groups for replicate in g.accuracy}
    if len({split for _, split in replicates}) not in {1, len(replicates)}:
        return Interactions(pairs=[], no_test="runs with the same split_seed are not independent")
    grid = largest_full_grid(groups, flags)
    if grid is None:
        return Interactions(pairs=[], no_test="no two flags form a full grid of finished runs")
    metric, couples = groups[0].metric, combinations(range(len(grid.flags)), 2)
    tested = [
        found for pair in couples if (found := _tested(grid, *pair, metric=metric)) is not None
    ]
    contrasts = value_contrasts(grid, metric.sign)
    reason = None if tested else "seeds show no variation"
    corrected = holm_adjusted(np.array([float(found.test.p) for found in tested]))
    pairs = [
        replace(found, p=float(p), pairs=len(tested))
        for found, p in zip(tested, corrected, strict=True)
    ]
    pairs = sorted(pairs, key=lambda its: float(its.test.p))
    return Interactions(
        pairs=pairs, left_out=grid.left_out, lost=grid.lost, no_test=reason, contrasts=contrasts
    )


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
    from scipy.special import (
        fdtr,
        fdtrc,
        ncfdtrinc,
    )  # this import takes 0.2 s and is needed only with repeated seeds

    a, b, n = table.shape[-3:]
    off = table - table.mean(-3, keepdims=True)
    off = (off - off.mean(-2, keepdims=True)).reshape(*table.shape[:-3], a * b, n)
    mean = off.mean(-1)
    rest = off - mean[..., None]
    products = (
        rest.swapaxes(-1, -2) @ rest / (n - 1)
    )  # has the same trace and norm as the covariance of the cells
    error = np.trace(products, axis1=-2, axis2=-1)
    spread = error > NO_SPREAD**2
    error = np.where(spread, error, np.nan)
    most = (a - 1) * (b - 1)
    df = np.clip(error**2 / (products**2).sum((-2, -1)), 1, most)
    error_df = df * (n - 1)
    f = n * (mean**2).sum(-1) / error
    gain = np.maximum(most * (f - 1), 0.0)
    along = (
        ((rest * mean[..., None]).sum(-2) ** 2).sum(-1)
        / (n - 1)
        / np.maximum((mean**2).sum(-1), NO_SPREAD**2)
    )
    wider = np.sqrt(np.maximum(along * most / error / NOISIER, 1.0))

    def omega(percentile: float) -> Floats:
        inside = fdtr(df, error_df, f) > percentile
        shift = np.where(
            inside, ncfdtrinc(df, error_df, percentile, np.where(inside, f, 1.0)) * most / df, 0.0
        )
        moved = np.maximum(gain + wider * (shift - gain), 0.0)
        share: Floats = moved / (moved + runs)
        return np.where(
            shift * df / most > 9999, share if percentile > 0.5 else 1.0, share
        )  # the limit of scipy

    share, p = gain / (gain + runs), fdtrc(df, error_df, f)
    return InteractionTest(
        f=f, df=df, error_df=error_df, p=p, omega_squared=share, low=omega(0.975), high=omega(0.025)
    )


def _tested(grid: FullGrid, i: int, j: int, metric: Metric) -> Interaction | None:
    """Test a pair of flags, averaged over all other flags; None if seeds show no variation.

    The p-value is not yet corrected.
    """
    numeric = [all(number(value) is not None for value in grid.levels[k]) for k in (i, j)]
    if numeric[0] > numeric[1] or (
        numeric[0] == numeric[1] and len(grid.levels[i]) > len(grid.levels[j])
    ):
        i, j = j, i
    table = np.moveaxis(grid.values, (i, j), (0, 1))
    table = table.reshape(*table.shape[:2], -1, table.shape[-1]).mean(axis=2)
    test = interaction_test(table, grid.values.size)
    if np.isnan(test.p):
        return None
    cells = [
        [{(seed, 0): float(value) for seed, value in enumerate(cell)} for cell in row]
        for row in table
    ]
    return Interaction(
        first=grid.flags[i],
        second=grid.flags[j],
        levels=(grid.levels[i], grid.levels[j]),
        means=tuple(map(tuple, table.mean(axis=-1).tolist())),
        intervals=tuple(
            tuple(mean_interval(cell, limited=metric.is_accuracy) for cell in row) for row in cells
        ),
        test=test,
        p=float(test.p),
        metric=metric,
    )
