"""Intervals, tests and corrections agree with scipy, with published values, and with their
guarantees.
"""

from __future__ import annotations

import itertools
import math
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.simulated import Scenario
from lenet_exp.comparison.statistics.differences import against_chosen, against_fixed
from lenet_exp.comparison.statistics.leader_tests import pair_tests
from lenet_exp.comparison.statistics.multiplicity import (
    LEVEL,
    holm_levels,
    shaffer_levels,
    step_down,
)
from lenet_exp.comparison.statistics.outliers import far_below
from lenet_exp.comparison.statistics.pairs import (
    AccuracyTable,
    compare_all_pairs,
    compare_first_with_others,
    group_means,
)
from lenet_exp.comparison.statistics.power import Power, detectable, shrunk

ACCURACY = st.floats(0.1, 1.0).map(lambda x: round(x, 4))
SEEDED = st.dictionaries(st.tuples(st.integers(0, 7), st.just(0)), ACCURACY, min_size=1, max_size=6)


def by_seed(values):
    """Return accuracies by seed and split, from a dictionary by seed or for seeds from 0."""
    accuracies = values if isinstance(values, dict) else dict(enumerate(values))
    return {(seed, 0): accuracy for seed, accuracy in accuracies.items()}


def best_first(groups):
    return sorted(groups, key=lambda group: -np.mean(list(group.values())))


@pytest.mark.parametrize("against", [against_chosen, against_fixed])
def test_common_seeds_are_paired(against):
    a = by_seed({0: 0.91, 1: 0.95, 2: 0.93, 7: 0.5})
    b = by_seed({0: 0.90, 1: 0.938, 2: 0.919, 9: 0.99})

    (difference,) = against(a, [b])

    by_hand = stats.ttest_rel([0.91, 0.95, 0.93], [0.90, 0.938, 0.919])
    interval = by_hand.confidence_interval(0.95)
    assert difference.test == "paired"
    assert difference.n == 3
    assert difference.points == pytest.approx(0.011)
    assert difference.p == pytest.approx(by_hand.pvalue)
    assert difference.low == pytest.approx(interval.low)
    assert difference.high == pytest.approx(interval.high)


@pytest.mark.parametrize("against", [against_chosen, against_fixed])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ({0: 0.9}, {0: 0.8}),  # one seed each
        ({0: 0.9, 1: 0.92}, {5: 0.8}),  # one seed in the second group
        (
            {0: 0.9, 1: 0.8, 2: 0.7},
            {0: 0.8, 1: 0.7, 2: 0.6},
        ),  # equal differences, except for rounding
        ({0: 0.9, 1: 0.9}, {0: 0.9, 1: 0.9}),
    ],
)
def test_results_without_variation_are_not_tested(against, a, b):
    (difference,) = against(by_seed(a), [by_seed(b)])
    assert difference.test == "none"
    assert not difference.differs
    assert math.isnan(difference.p)


NOISE = [0.004, -0.003, 0.002, -0.004, 0.003, -0.002]


def behind(points: float):
    """Return the accuracies of a group whose mean is this much below 0.95."""
    return by_seed([0.95 - points + noise for noise in NOISE])


def test_fixed_leader_is_tested_with_holms_method():
    leader = by_seed([0.95] * 6)
    others = [behind(points) for points in (0.0045, 0.009, 0.0001, 0.0044)]

    differences = against_fixed(leader, others)

    p = [difference.p for difference in differences]
    assert np.argsort(p).tolist() == [1, 0, 3, 2]
    assert p[1] <= LEVEL / 4
    # 0.0045 would be significant alone, but not as the second of four
    assert LEVEL / 3 < p[0] < LEVEL
    assert [difference.differs for difference in differences] == [False, True, False, False]


def test_chosen_leader_of_three_groups_is_corrected_for_all_pairs():
    difference, _ = against_chosen(by_seed([0.95] * 6), [behind(0.0045), behind(0.0001)])

    error = np.std(NOISE, ddof=1) / math.sqrt(6)
    half_width = stats.t.isf(LEVEL / 3 / 2, 5) * error
    assert difference.low == pytest.approx(difference.points - half_width)
    assert difference.high == pytest.approx(difference.points + half_width)
    assert LEVEL / 3 < difference.p < LEVEL
    assert not difference.differs
    assert not difference.excluded
    assert math.isnan(difference.typical)


def steady(mean: float, spread: float, seed: int, n: int = 3):
    noise = np.random.default_rng(seed).normal(size=n)
    return by_seed(mean + spread * noise)


def test_moderated_p_values_match_published_formulas():
    """An independent program computed the values for five configurations with three seeds."""
    values = [
        [0.95, 0.952, 0.951],
        [0.949, 0.953, 0.95],
        [0.93, 0.936, 0.931],
        [0.94, 0.92, 0.95],
        [0.9, 0.904, 0.901],
    ]
    table = AccuracyTable.of([by_seed(row) for row in values])

    judgment = pair_tests(table, 10_000)

    p_of_program = [0.623965, 0.000238431, 0.245317, 4.51408e-06]
    assert judgment.pairs.p == pytest.approx(p_of_program, rel=1e-5)
    assert judgment.differs.tolist() == [False, True, False, True]


def test_three_seeds_separate_configurations_that_are_clearly_worse():
    gaps = np.linspace(0, 0.03, 10)
    groups = [steady(0.98 - gap, 0.002, seed) for seed, gap in enumerate(gaps)]
    leader, *others = best_first(groups)

    differences = against_chosen(leader, others, 10_000)

    num_excluded = sum(difference.excluded for difference in differences)
    num_differing = sum(difference.differs for difference in differences)
    assert num_excluded >= 5
    assert all(difference.excluded for difference in differences if difference.differs)
    unmoderated = compare_all_pairs(AccuracyTable.of([leader, *others]))
    p_of_leader = unmoderated.p[:9]
    assert sum(p_of_leader <= LEVEL / 45) < num_differing


@pytest.mark.parametrize(("k", "n"), [(6, 3), (18, 3), (6, 10)])
def test_best_of_equal_configurations_is_rarely_excluded(k, n):
    values = np.random.default_rng(7).standard_normal((2000, k, n))  # sweeps, configurations, seeds
    order = np.argsort(-values.mean(axis=-1), axis=-1)
    values = np.take_along_axis(values, order[..., None], axis=1)

    judgment = pair_tests(AccuracyTable(values, np.arange(n), np.zeros(n, dtype=np.int64)))

    leader_excluded = np.zeros((2000, 1), dtype=bool)
    excluded = np.concatenate([leader_excluded, judgment.excluded], axis=1)
    # the first configuration stands for the truly best one
    assert excluded[order == 0].mean() <= 0.055


def test_unstable_group_is_marked_and_not_excluded():
    unstable = by_seed([0.97, 0.2, 0.1, 0.9, 0.95])
    groups = [steady(0.98 - 0.0001 * n, 0.002, n, 5) for n in range(8)]
    leader, *others = best_first([*groups, unstable])

    differences = against_chosen(leader, others, 10_000)

    assert [difference.unstable for difference in differences] == [*[False] * 7, True]
    assert not differences[-1].excluded
    assert differences[0].typical == pytest.approx(0.002, rel=0.6)


def test_another_group_may_be_best_unless_the_leader_wins():
    """The pairwise tests can be stricter than the comparison with the best."""
    rng = np.random.default_rng(1)
    for _ in range(40):
        groups = [by_seed(0.9 - 0.004 * n + rng.normal(0, 0.002, 3)) for n in range(6)]
        leader, *others = best_first(groups)

        differences = against_chosen(leader, others)

        leader_wins = all(difference.ahead for difference in differences)
        all_excluded = all(difference.excluded for difference in differences)
        assert leader_wins or not all_excluded
        assert all(difference.excluded for difference in differences if difference.ahead)


def test_tests_are_not_moderated_if_most_groups_do_not_vary():
    constant = [by_seed([0.9 - n / 100] * 3) for n in range(4)]
    leader, *others = best_first([*constant, by_seed([0.8, 0.82, 0.81])])

    differences = against_chosen(leader, others, 250)

    tests = [difference.test for difference in differences]
    assert tests == ["none", "none", "none", "paired"]
    assert all(math.isnan(difference.typical) for difference in differences)


def test_winner_is_tested_against_each_other_group():
    """One of ten groups is clearly best; a correction for 45 pairs would leave it undecided."""
    rng = np.random.default_rng(0)
    others = [by_seed(0.9 + rng.normal(0, 0.001, 5)) for _ in range(9)]
    leader = by_seed(0.9025 + rng.normal(0, 0.001, 5))

    for difference in against_chosen(leader, others):
        assert difference.ahead
        assert difference.excluded

    # An equally good group prevents the win.
    reversed_leader = list(leader.values())[::-1]
    equal = by_seed([accuracy + 1e-4 for accuracy in reversed_leader])
    difference, *_ = against_chosen(leader, [equal, *others])
    assert not difference.ahead
    assert not difference.excluded


@given(st.lists(SEEDED, min_size=2, max_size=5))
def test_significance_agrees_with_intervals(groups):
    leader, *others = best_first(groups)
    for difference in [*against_chosen(leader, others), *against_fixed(leader, others)]:
        if difference.test == "none":
            assert not difference.differs
            continue
        assert difference.low <= difference.points <= difference.high
        assert difference.excluded or not difference.ahead
        assert not (difference.excluded and difference.unstable)
        if not difference.differs and len(others) < 3:
            assert difference.low <= 0 <= difference.high


@given(st.lists(SEEDED, min_size=2, max_size=3))
def test_leader_without_win_differs_only_if_some_pair_differs(groups):
    leader, *others = best_first(groups)

    differences = against_chosen(leader, others)

    p = compare_all_pairs(AccuracyTable.of([leader, *others])).p
    some_differ = any(difference.differs for difference in differences)
    leader_wins = all(difference.ahead for difference in differences)
    if some_differ and not leader_wins:
        assert np.nanmin(p) <= LEVEL / len(p)


def test_known_differences_raise_the_power_for_the_leader():
    """Shaffer's step: if two of three groups differ, the third can equal at most one of them."""
    leader = by_seed({0: 1.0, 2: 1.0})
    second = by_seed({0: 0.75, 1: 1.0, 3: 1.0})
    third = by_seed({0: 0.25, 1: 0.625, 2: 0.125, 3: 0.5})

    against_second, against_third = against_chosen(leader, [second, third])
    assert not against_second.differs
    assert against_third.differs

    for difference in against_fixed(leader, [second, third]):
        assert not difference.differs


@pytest.mark.parametrize("more", [{}, {"missing": 0.25}, {"paired": False}, {"vary": "10^U"}])
def test_array_of_sweeps_is_judged_like_single_sweeps(more):
    """`benchmarks/verdicts.py` judges arrays of sweeps."""
    scenario = Scenario("", (2.0, 0.0, 0.0, -1.0, -3.0), 4, **more)
    draws = scenario.draw(25, np.random.default_rng(3))
    for table, _, _ in draws.comparable():
        judgment = pair_tests(table, draws.images)

        for sweep, rows in enumerate(table.values):
            leader, *others = (as_group(row, table) for row in rows)
            differences = against_chosen(leader, others, draws.images)

            p = judgment.pairs.p[sweep]
            differs = judgment.differs[sweep]
            excluded = judgment.excluded[sweep]
            assert [difference.p for difference in differences] == pytest.approx(p, nan_ok=True)
            assert [difference.differs for difference in differences] == differs.tolist()
            assert [difference.excluded for difference in differences] == excluded.tolist()


def as_group(row: np.ndarray, table: AccuracyTable) -> dict[tuple[int, int], float]:
    """Return the accuracies in a row of a table by seed and split."""
    replicates = zip(table.seeds.tolist(), table.splits.tolist(), strict=True)
    accuracies = dict(zip(replicates, row, strict=True))
    return {key: accuracy for key, accuracy in accuracies.items() if not math.isnan(accuracy)}


PAIRED = st.dictionaries(st.tuples(st.integers(0, 9), st.just(0)), ACCURACY, min_size=2, max_size=8)


@pytest.mark.filterwarnings("ignore:Precision loss")  # scipy warns about nearly equal values
@given(st.lists(PAIRED, min_size=2, max_size=4))
def test_each_pair_agrees_with_scipy(groups):
    pairs = compare_all_pairs(AccuracyTable.of(groups))
    for i, (a, b) in enumerate(itertools.combinations(groups, 2)):
        common = sorted(a.keys() & b.keys())
        smaller = min(len(a), len(b))
        is_paired = len(common) >= 2 and 2 * len(common) >= smaller
        assert pairs.paired[i] == is_paired

        if is_paired:
            x = [a[replicate] for replicate in common]
            y = [b[replicate] for replicate in common]
            p = p_of_paired(x, y)
            assert pairs.n[i] == len(common)
        else:
            x = list(a.values())
            y = list(b.values())
            p = p_of_unpaired(x, y)

        assert pairs.points[i] == pytest.approx(np.mean(x) - np.mean(y), abs=1e-12)
        if p is None:
            assert np.isnan(pairs.p[i])
        else:
            assert pairs.p[i] == pytest.approx(p, rel=1e-6, abs=1e-12)


def p_of_paired(x: list[float], y: list[float]) -> float | None:
    """Return scipy's p-value; None if the differences do not vary."""
    if np.std(np.subtract(x, y)) <= 1e-9:
        return None
    return stats.ttest_rel(x, y).pvalue


def p_of_unpaired(x: list[float], y: list[float]) -> float | None:
    """Return the p-value of Welch's test; None if neither group varies.

    Below five replicates, its degrees of freedom are those of the smaller group.
    """
    if np.std(x) < 1e-9 and np.std(y) < 1e-9:
        return None
    welch = stats.ttest_ind(x, y, equal_var=False)
    smaller = min(len(x), len(y))
    if smaller >= 5:
        return welch.pvalue
    return 2 * stats.t.sf(abs(welch.statistic), smaller - 1)


def test_runs_that_share_a_split_are_not_independent():
    """15 runs of 5 seeds and 3 splits that differ only by split count as three draws; those that
    differ only by seed count as five.
    """
    effects_of_splits = [0.01, -0.004, 0.003]
    effects_of_seeds = [0.01, -0.004, 0.003, 0.02, 0]
    by_split_only = {}
    by_seed_only = {}
    for seed in range(5):
        for split in range(3):
            by_split_only[seed, split] = 0.9 + effects_of_splits[split]
            by_seed_only[seed, split] = 0.9 + effects_of_seeds[seed]

    table = AccuracyTable.of([by_split_only])
    means = group_means(table.values, table)
    assert means.n[0] == 15
    assert means.df[0] == 2
    assert means.variance[0] == pytest.approx(np.var(effects_of_splits, ddof=1) / 3)

    table = AccuracyTable.of([by_seed_only])
    means = group_means(table.values, table)
    assert means.variance[0] == pytest.approx(np.var(effects_of_seeds, ddof=1) / 5)


@pytest.mark.parametrize(
    ("seeds", "splits", "sizes"), [(3, 3, (1.0, 1.0, 1.0)), (10, 3, (0.3, 1.0, 0.0))]
)
def test_crossed_design_keeps_the_error_rate(seeds, splits, sizes):
    """The simulated groups do not differ; the seed, the split, and their combination have
    effects.
    """
    rng = np.random.default_rng(2)
    sweeps = 4000
    size_of_seed, size_of_split, size_of_both = sizes
    of_seed = size_of_seed * rng.normal(size=(sweeps, 1, seeds, 1))
    of_split = size_of_split * rng.normal(size=(sweeps, 1, 1, splits))
    of_both = size_of_both * rng.normal(size=(sweeps, 1, seeds, splits))
    values = (of_seed + of_split + of_both).reshape(sweeps, 1, -1)  # sweeps, groups, runs

    seed, split = np.divmod(np.arange(seeds * splits), splits)
    means = group_means(values, AccuracyTable(values, seed, split))
    p = 2 * stats.t.sf(np.abs(means.mean) / np.sqrt(means.variance), means.df)

    assert np.mean(p <= 0.05) < 0.055
    independent = stats.ttest_1samp(values[:, 0], 0, axis=1).pvalue
    assert np.mean(independent <= 0.05) > 0.15  # the error rate if the runs counted as independent


def partitions(groups: int):
    """Yield the sizes of the classes for each way in which groups can be equal."""
    for sizes in itertools.product(range(groups + 1), repeat=groups):
        is_descending = list(sizes) == sorted(sizes, reverse=True)
        if sum(sizes) == groups and is_descending:
            yield sizes


@pytest.mark.parametrize("groups", [2, 3, 4, 6])
def test_shaffer_levels_follow_from_possible_equalities(groups):
    possible_equal_pairs = set()
    for sizes in partitions(groups):
        possible_equal_pairs.add(sum(comb(size, 2) for size in sizes))

    pairs = comb(groups, 2)
    expected = []
    for rejected in range(pairs):
        remaining = pairs - rejected
        most_equal = max(n for n in possible_equal_pairs if n <= remaining)
        expected.append(LEVEL / max(1, most_equal))

    assert list(shaffer_levels(groups)) == pytest.approx(expected)


KNOWN = 1e9  # degrees of freedom of a known standard deviation


def exact_power(n: int, ratio: float, level: float) -> float:
    limit = stats.t.isf(level / 2, n - 1)
    return float(stats.nct.sf(limit, n - 1, ratio * math.sqrt(n)))


@pytest.mark.parametrize("ratio", [0.2, 0.5, 2.0])
def test_seeds_reach_80_percent_power_for_known_variance(ratio):
    seeds = Power([0.001], [KNOWN]).seeds(0.001 * ratio)

    exact = 2
    while exact_power(exact, ratio, LEVEL) < 0.8:
        exact += 1
    assert max(exact, 3) <= seeds <= max(exact + 2, 1.12 * exact)


def test_power_against_several_rivals_matches_simulated_tests():
    rng = np.random.default_rng(0)
    n = 8
    lead = 1.5
    means = np.array([lead, 0, 0, 0])
    values = rng.normal(size=(20_000, 4, n)) + means[:, None]
    table = AccuracyTable(values, np.arange(n), np.zeros(n, dtype=int))

    pairs = compare_first_with_others(table)
    significant = step_down(pairs.p, holm_levels(3))
    ahead = significant & (pairs.points > 0)

    planned = Power([math.sqrt(2)] * 3, [KNOWN] * 3).of(lead, n)
    assert planned == pytest.approx(ahead.all(axis=1).mean(), abs=0.03)


@pytest.mark.parametrize("df", [2, 18])
def test_seeds_reach_80_percent_power_for_estimated_variance(df):
    ratio = 0.3
    rng = np.random.default_rng(0)
    estimates = np.sqrt(rng.chisquare(df, 200) / df)

    powers = []
    for estimate in estimates:
        seeds = Power([estimate], [df]).seeds(ratio)
        powers.append(exact_power(seeds, ratio, LEVEL))
    assert 0.79 <= np.mean(powers) <= 0.87


def test_confirmation_has_at_least_three_seeds():
    assert Power([0.0001], [5]).seeds(0.5) == 3
    assert Power([0.0], [5]).seeds(0.001) == 3
    assert Power([0.01], [5]).seeds(1e-5) > 1000


def test_variances_are_pooled_only_if_similar():
    similar = [(1.0, 9), (1.1, 9), (0.9, 9), (1.0, 9)]
    assert shrunk(similar, in_common=0.25) == [pytest.approx((1.0, 36 / 1.75))] * 5

    different = [(1.0, 9), (1.0, 9), (100.0, 9), (100.0, 9)]
    *variances, (of_new_group, _) = shrunk(different, in_common=0.25)
    assert [variance for variance, _ in variances] == pytest.approx(
        [1.0, 1.0, 100.0, 100.0], rel=0.25
    )
    assert 1 < of_new_group < 100

    with_outlier = [*similar * 3, (1e4, 9)]
    *_, (of_new_group, _) = shrunk(with_outlier, in_common=0.25)
    assert of_new_group == pytest.approx(1.0, rel=0.2)

    variance, _ = shrunk([(0.0, 2), (0.0, 2)], in_common=0.25)[0]
    assert variance == 0.0


@pytest.mark.parametrize(("groups", "seeds"), [(2, 3), (6, 3), (18, 3), (10, 5)])
def test_detectable_differences_are_found_with_a_power_of_80_percent(groups, seeds):
    rng = np.random.default_rng(5)
    least = detectable(groups, seeds)
    is_worse = np.arange(groups)[:, None] > 0  # all but the first
    of_run = rng.normal(size=(400, groups, seeds))
    of_seed = rng.normal(size=(400, 1, seeds))
    values = of_run + of_seed - least * is_worse
    table = AccuracyTable(0.9 + 0.002 * values, np.arange(seeds), np.zeros(seeds, dtype=int))

    assert pair_tests(table).excluded.mean() == pytest.approx(0.8, abs=0.06)


def test_run_far_below_others_of_same_configuration_is_outlier():
    steady = [0.981, 0.983, 0.982]
    assert far_below([steady, [0.985, 0.984, 0.113]]) == [(1, 2)]
    assert far_below([steady, [0.985, 0.984]]) == []
    assert far_below([steady, [0.785, 0.784, 0.786]]) == []  # low, but together
    assert far_below([steady, [0.985, 0.984, 0.998]]) == []  # above
    assert far_below([[0.9, 0.9, 0.9], [0.9, 0.9, 0.9]]) == []
    assert far_below([[0.9]]) == []
    assert far_below([]) == []
