"""Compares configurations over several datasets, by their ranks on each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

from lenet_exp.comparison.compare import Comparison, name_of
from lenet_exp.comparison.group import ABSENT, Group
from lenet_exp.comparison.statistics.leader_tests import MOST_GROUPS
from lenet_exp.comparison.statistics.multiplicity import (
    LEVEL,
    Bools,
    Floats,
    holm_levels,
    step_down,
)
from lenet_exp.comparison.statistics.pairs import AccuracyTable, compare_all_pairs

LEAST_DATASETS = 5  # minimum number of datasets for a test of the ranks
TIE = 1e-9  # tolerance for equal mean ranks
DRAWS, MOST_NUMBERS = 100_000, 4_000_000  # maximum numbers of permutations and of their ranks


@dataclass(frozen=True, kw_only=True)
class RankTest:
    """A test of the mean ranks, with datasets as independent observations (Demsar 2006, Statistical
    comparisons of classifiers over multiple data sets, section 3.2.2).

    Attributes:
        p: p-value of Friedman's test or, for two configurations, of the exact sign test.
        critical: largest difference between two mean ranks that is not significant at the 5% level,
            if all pairs are compared (Nemenyi 1963).
    """

    p: float
    critical: float


@dataclass(frozen=True, kw_only=True)
class AcrossDatasets:
    """The configurations that have results on all datasets, best mean rank first.

    Attributes:
        datasets: names of the datasets.
        names: names of the configurations.
        groups: the configurations as they were trained on each dataset, with shape (datasets,
            configurations).
        ranks: mean ranks; the best configuration on every dataset has the mean rank 1. Equal means
            share their ranks. On each dataset, configurations with diverged runs rank last.
        beaten: indices of the configurations over which the first one is significantly better on
            each dataset. The p-value of a pair is the largest of the datasets' p-values (an
            intersection-union test: Berger 1982, Multiparameter hypothesis testing and acceptance
            sampling), corrected for all pairs by Holm's method.
        left_out: number of configurations without results on some dataset.
        rank_test: Friedman's test; None if there are too few datasets.
    """

    datasets: list[str]
    names: list[str]
    groups: list[list[Group]]
    ranks: list[float]
    beaten: list[int]
    left_out: int
    rank_test: RankTest | None


def across_datasets(comparisons: Sequence[Comparison]) -> AcrossDatasets | None:
    """Compare the configurations of a grid over its datasets.

    Return None if there is only one dataset, or if fewer than two configurations have results on
    all datasets.
    """
    if len(comparisons) < 2 or any(c.has_trials for c in comparisons):
        return None
    flags = list(dict.fromkeys(flag for c in comparisons for flag in c.flags))
    by_key = [{tuple(g.value(flag) for flag in flags): g for g in c.groups} for c in comparisons]
    keys = [key for key in by_key[0] if all(key in its and its[key].with_result for its in by_key)]
    if len(keys) < 2:
        return None
    groups = [[its[key] for key in keys] for its in by_key]
    ranks = ranks_of(groups)
    order = np.argsort(ranks.mean(axis=0), kind="stable")
    ordered = [[its[i] for i in order] for its in groups]
    return AcrossDatasets(
        datasets=[c.dataset for c in comparisons],
        names=[name_of(flags, keys[i]) or ABSENT for i in order],
        groups=ordered,
        ranks=ranks.mean(axis=0)[order].tolist(),
        beaten=[int(i) + 1 for i in np.flatnonzero(_beaten(ordered))]
        if len(keys) <= MOST_GROUPS
        else [],
        left_out=len(set().union(*by_key)) - len(keys),
        rank_test=rank_test(ranks) if len(comparisons) >= LEAST_DATASETS else None,
    )


def ranks_of(groups: Sequence[Sequence[Group]]) -> Floats:
    """Return the ranks of configurations on each dataset, with shape (datasets, configurations);
    see `AcrossDatasets.ranks`."""
    from scipy.stats import rankdata

    means = np.array(
        [[g.metric.sign * g.mean if g.stable else -np.inf for g in its] for its in groups]
    )
    return np.asarray(rankdata(-means, axis=1), dtype=np.float64)


def _beaten(groups: Sequence[Sequence[Group]]) -> Bools:
    """Return which of the other configurations are significantly worse than the first one on each
    dataset.
    """
    found = [
        compare_all_pairs(AccuracyTable.of([{} if g.diverged else g.scores for g in its]))
        for its in groups
    ]
    better = better_on_each(
        np.array([its.p for its in found]), np.array([its.points for its in found])
    )
    return better[: len(groups[0]) - 1]


def better_on_each(p: Floats, points: Floats) -> Bools:
    """Return in which pairs the first configuration is significantly better on each dataset; see
    `AcrossDatasets`.

    Args:
        p, points: p-values and differences of all pairs on each dataset, with shape (datasets, ...,
            pairs).
    """
    with np.errstate(invalid="ignore"):
        agree = (points > 0).all(axis=0) | (points < 0).all(axis=0)
        largest = np.where(agree, p.max(axis=0), np.nan)
        better = (points > 0).all(axis=0)
    differs = step_down(largest, holm_levels(largest.shape[-1]))
    return np.asarray(differs & better)


def rank_test(ranks: Floats) -> RankTest:
    """Test whether all configurations are equally good, so that each order of a dataset's ranks is
    equally likely.

    With few datasets, the usual distributions are inaccurate. Random permutations of the ranks
    replace them.

    Args:
        ranks: ranks with shape (datasets, configurations).
    """
    n, k = ranks.shape
    if k == 2:
        better = np.sign(ranks[:, 1] - ranks[:, 0])
        untied = int(abs(better).sum())
        most = (untied + int(abs(better.sum()))) // 2
        p = min(1.0, 2 * sum(comb(untied, wins) for wins in range(most, untied + 1)) / 2**untied)
        return RankTest(p=p, critical=0.0 if p <= LEVEL else 1.0)
    draws = max(1000, min(DRAWS, MOST_NUMBERS // ranks.size))
    orders = np.random.default_rng(0).permuted(np.broadcast_to(ranks, (draws, n, k)), axis=-1)
    means, spread = orders.mean(axis=1), float(ranks.mean(axis=0).var())
    p = (1 + int((means.var(axis=-1) >= spread - TIE).sum())) / (1 + draws)
    critical = np.quantile(np.ptp(means, axis=-1), 1 - LEVEL, method="higher")
    return RankTest(p=p, critical=float(critical) + TIE)
