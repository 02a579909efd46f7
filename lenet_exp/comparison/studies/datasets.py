"""Compares configurations over several datasets, by their ranks on each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from lenet_exp.comparison.statistics.pairs import AccuracyTable, Replicate, compare_all_pairs

LEAST_DATASETS = 5  # minimum number of datasets for a test of the ranks
TIE = 1e-9  # tolerance for equal mean ranks
DRAWS = 100_000  # maximum number of permutations
MOST_NUMBERS = 4_000_000  # maximum number of permuted ranks, unless 1000 permutations need more


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
    if len(comparisons) < 2 or any(comparison.has_trials for comparison in comparisons):
        return None

    flags = _all_flags(comparisons)
    groups_by_values = [_groups_by_values(comparison, flags) for comparison in comparisons]
    common = [
        values for values in groups_by_values[0] if _has_results_on_all(values, groups_by_values)
    ]
    if len(common) < 2:
        return None

    ranks = ranks_of(_groups_with(common, groups_by_values))  # shape (datasets, configurations)
    mean_ranks = ranks.mean(axis=0)
    order = np.argsort(mean_ranks, kind="stable")
    best_first = [common[i] for i in order]
    groups = _groups_with(best_first, groups_by_values)

    beaten: list[int] = []
    if len(common) <= MOST_GROUPS:
        beaten = [int(i) + 1 for i in np.flatnonzero(_others_beaten(groups))]
    test = None
    if len(comparisons) >= LEAST_DATASETS:
        test = rank_test(ranks)
    return AcrossDatasets(
        datasets=[comparison.dataset for comparison in comparisons],
        names=[name_of(flags, values) or ABSENT for values in best_first],
        groups=groups,
        ranks=mean_ranks[order].tolist(),
        beaten=beaten,
        left_out=len(set().union(*groups_by_values)) - len(common),
        rank_test=test,
    )


def _all_flags(comparisons: Sequence[Comparison]) -> list[str]:
    """Return the flags that differ between groups on any dataset, in order of appearance."""
    flags: list[str] = []
    for comparison in comparisons:
        flags += comparison.flags
    return list(dict.fromkeys(flags))


def _groups_by_values(comparison: Comparison, flags: Sequence[str]) -> dict[tuple[str, ...], Group]:
    """Return the groups on a dataset, keyed by the values of flags."""
    groups = {}
    for group in comparison.groups:
        values = tuple(group.value(flag) for flag in flags)
        groups[values] = group
    return groups


def _has_results_on_all(
    values: tuple[str, ...], groups_by_values: Sequence[Mapping[tuple[str, ...], Group]]
) -> bool:
    """Return whether a configuration has results on each dataset."""
    for groups_of in groups_by_values:
        group = groups_of.get(values)
        if group is None or not group.with_result:
            return False
    return True


def _groups_with(
    configurations: Sequence[tuple[str, ...]],
    groups_by_values: Sequence[Mapping[tuple[str, ...], Group]],
) -> list[list[Group]]:
    """Return the groups of configurations, given by their values of flags, on each dataset."""
    groups = []
    for groups_of in groups_by_values:
        groups.append([groups_of[values] for values in configurations])
    return groups


def ranks_of(groups: Sequence[Sequence[Group]]) -> Floats:
    """Return the ranks of configurations on each dataset, with shape (datasets, configurations);
    see `AcrossDatasets.ranks`."""
    from scipy.stats import rankdata

    scores = np.array([list(map(_mean_score, of_dataset)) for of_dataset in groups])
    return np.asarray(rankdata(-scores, axis=1), dtype=np.float64)


def _mean_score(group: Group) -> float:
    """Return a group's mean, of which larger values are better; -inf if runs diverged."""
    if not group.stable:
        return -np.inf
    return group.metric.sign * group.mean


def _others_beaten(groups: Sequence[Sequence[Group]]) -> Bools:
    """Return which of the other configurations are significantly worse than the first one on each
    dataset, with shape (configurations - 1,).
    """
    p = []
    points = []
    for of_dataset in groups:
        table = AccuracyTable.of([_scores(group) for group in of_dataset])
        pairs = compare_all_pairs(table)
        p.append(pairs.p)
        points.append(pairs.points)

    # The pairs of the first configuration are the first ones.
    better = better_on_each(np.array(p), np.array(points))
    return better[: len(groups[0]) - 1]


def _scores(group: Group) -> dict[Replicate, float]:
    """Return a group's scores; none if a run diverged, because the others are then a selection."""
    return {} if group.diverged else group.scores


def better_on_each(p: Floats, points: Floats) -> Bools:
    """Return in which pairs the first configuration is significantly better on each dataset; see
    `AcrossDatasets`.

    Args:
        p, points: p-values and differences of all pairs on each dataset, with shape (datasets, ...,
            pairs).
    """
    with np.errstate(invalid="ignore"):
        better = (points > 0).all(axis=0)
        worse = (points < 0).all(axis=0)
        largest_p = np.where(better | worse, p.max(axis=0), np.nan)

    differs = step_down(largest_p, holm_levels(largest_p.shape[-1]))
    return np.asarray(differs & better)


def rank_test(ranks: Floats) -> RankTest:
    """Test whether all configurations are equally good, so that each order of a dataset's ranks is
    equally likely.

    With few datasets, the usual distributions are inaccurate. Random permutations of the ranks
    replace them.

    Args:
        ranks: ranks with shape (datasets, configurations).
    """
    configurations = ranks.shape[1]
    if configurations == 2:
        return _sign_test(ranks)

    # Each draw permutes the ranks of each dataset.
    draws = max(1000, min(DRAWS, MOST_NUMBERS // ranks.size))
    copies = np.broadcast_to(ranks, (draws, *ranks.shape))
    permuted = np.random.default_rng(0).permuted(copies, axis=-1)
    mean_ranks = permuted.mean(axis=1)  # shape (draws, configurations)

    spread = float(ranks.mean(axis=0).var())
    as_large = int((mean_ranks.var(axis=-1) >= spread - TIE).sum())
    p = (1 + as_large) / (1 + draws)

    ranges = np.ptp(mean_ranks, axis=-1)
    critical = np.quantile(ranges, 1 - LEVEL, method="higher")
    return RankTest(p=p, critical=float(critical) + TIE)


def _sign_test(ranks: Floats) -> RankTest:
    """Return the exact sign test of two configurations.

    For example, if one of them is better on 5 of 6 datasets, the p-value is 2 * (6 + 1) / 64.

    Args:
        ranks: ranks with shape (datasets, 2).
    """
    signs = np.sign(ranks[:, 1] - ranks[:, 0])
    untied = int(abs(signs).sum())
    difference_in_wins = int(abs(signs.sum()))
    most_wins = (untied + difference_in_wins) // 2

    as_extreme = sum(comb(untied, wins) for wins in range(most_wins, untied + 1))
    p = min(1.0, 2 * as_extreme / 2**untied)
    # The mean ranks differ by at most 1.
    return RankTest(p=p, critical=0.0 if p <= LEVEL else 1.0)
