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
    pairs = values.items() if isinstance(values, dict) else enumerate(values)
    return {(seed, 0): value for seed, value in pairs}


def best_first(groups):
    return sorted(groups, key=lambda g: -np.mean(list(g.values())))


@pytest.mark.parametrize("against", [against_chosen, against_fixed])
def test_common_seeds_are_paired(against):
    a, b = (
        by_seed({0: 0.91, 1: 0.95, 2: 0.93, 7: 0.5}),
        by_seed({0: 0.90, 1: 0.938, 2: 0.919, 9: 0.99}),
    )
    (difference,) = against(a, [b])
    by_hand = stats.ttest_rel([0.91, 0.95, 0.93], [0.90, 0.938, 0.919])
    assert (difference.test, difference.n) == ("paired", 3)
    assert difference.points == pytest.approx(0.011)
    assert difference.p == pytest.approx(by_hand.pvalue)
    interval = by_hand.confidence_interval(0.95)
    assert (difference.low, difference.high) == pytest.approx((interval.low, interval.high))


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
    assert (difference.test, difference.differs) == ("none", False)
    assert math.isnan(difference.p)


NOISE = [0.004, -0.003, 0.002, -0.004, 0.003, -0.002]


def behind(points: float):
    return by_seed([0.95 - points + n for n in NOISE])


def test_fixed_leader_is_tested_with_holms_method():
    differences = against_fixed(
        by_seed([0.95] * 6), [behind(gap) for gap in (0.0045, 0.009, 0.0001, 0.0044)]
    )
    p = [d.p for d in differences]
    assert sorted(range(4), key=lambda i: p[i]) == [1, 0, 3, 2]
    assert differences[1].p <= LEVEL / 4
    # 0.0045 would be significant alone, but not as the second of four
    assert LEVEL / 3 < p[0] < LEVEL
    assert [d.differs for d in differences] == [False, True, False, False]


def test_chosen_leader_of_three_groups_is_corrected_for_all_pairs():
    differences = against_chosen(by_seed([0.95] * 6), [behind(0.0045), behind(0.0001)])
    half = stats.t.isf(LEVEL / 3 / 2, 5) * np.std(NOISE, ddof=1) / math.sqrt(6)
    assert (differences[0].low, differences[0].high) == pytest.approx(
        (differences[0].points - half, differences[0].points + half)
    )
    assert LEVEL / 3 < differences[0].p < LEVEL
    assert not differences[0].differs
    assert not differences[0].excluded
    assert math.isnan(differences[0].typical)


def steady(mean: float, spread: float, seed: int, n: int = 3):
    return by_seed(mean + spread * np.random.default_rng(seed).normal(size=n))


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
    assert judgment.pairs.p == pytest.approx(
        [0.623965, 0.000238431, 0.245317, 4.51408e-06], rel=1e-5
    )
    assert judgment.differs.tolist() == [False, True, False, True]


def test_three_seeds_separate_configurations_that_are_clearly_worse():
    groups = [steady(0.98 - gap, 0.002, n) for n, gap in enumerate(np.linspace(0, 0.03, 10))]
    leader, *others = best_first(groups)
    differences = against_chosen(leader, others, 10_000)
    assert sum(d.excluded for d in differences) >= 5
    assert all(d.excluded for d in differences if d.differs)
    alone = compare_all_pairs(AccuracyTable.of([leader, *others])).p
    assert sum(alone[:9] <= LEVEL / 45) < sum(d.differs for d in differences)


@pytest.mark.parametrize(("k", "n"), [(6, 3), (18, 3), (6, 10)])
def test_best_of_equal_configurations_is_rarely_excluded(k, n):
    values = np.random.default_rng(7).standard_normal((2000, k, n))
    order = np.argsort(-values.mean(axis=-1), axis=-1)
    values = np.take_along_axis(values, order[..., None], axis=1)
    judgment = pair_tests(AccuracyTable(values, np.arange(n), np.zeros(n, dtype=np.int64)))
    excluded = np.concatenate([np.zeros((2000, 1), dtype=bool), judgment.excluded], axis=1)
    # the first configuration stands for the truly best one
    assert excluded[order == 0].mean() <= 0.055


def test_unstable_group_is_marked_and_not_excluded():
    groups = [steady(0.98 - 0.0001 * n, 0.002, n, 5) for n in range(8)]
    leader, *others = best_first([*groups, by_seed([0.97, 0.2, 0.1, 0.9, 0.95])])
    differences = against_chosen(leader, others, 10_000)
    assert [d.unstable for d in differences] == [*[False] * 7, True]
    assert not differences[-1].excluded
    assert differences[0].typical == pytest.approx(0.002, rel=0.6)


def test_another_group_may_be_best_unless_the_leader_wins():
    """The pairwise tests can be stricter than the comparison with the best."""
    rng = np.random.default_rng(1)
    for _ in range(40):
        groups = best_first([by_seed(0.9 - 0.004 * n + rng.normal(0, 0.002, 3)) for n in range(6)])
        differences = against_chosen(groups[0], groups[1:])
        assert all(d.ahead for d in differences) or not all(d.excluded for d in differences)
        assert all(d.excluded for d in differences if d.ahead)


def test_tests_are_not_moderated_if_most_groups_do_not_vary():
    same = [by_seed([0.9 - n / 100] * 3) for n in range(4)]
    leader, *others = best_first([*same, by_seed([0.8, 0.82, 0.81])])
    differences = against_chosen(leader, others, 250)
    assert [d.test for d in differences] == ["none", "none", "none", "paired"]
    assert all(math.isnan(d.typical) for d in differences)


def test_winner_is_tested_against_each_other_group():
    """One of ten groups is clearly best; a correction for 45 pairs would leave it undecided."""
    rng = np.random.default_rng(0)
    others = [by_seed(0.9 + rng.normal(0, 0.001, 5)) for _ in range(9)]
    leader = by_seed(0.9025 + rng.normal(0, 0.001, 5))
    differences = against_chosen(leader, others)
    assert all(d.ahead and d.excluded for d in differences)
    # An equally good group prevents the win.
    fewer = against_chosen(
        leader, [by_seed([v + 1e-4 for v in reversed(list(leader.values()))]), *others]
    )
    assert not fewer[0].ahead
    assert not fewer[0].excluded


@given(st.lists(SEEDED, min_size=2, max_size=5))
def test_significance_agrees_with_intervals(groups):
    leader, *others = best_first(groups)
    for found in [*against_chosen(leader, others), *against_fixed(leader, others)]:
        if found.test == "none":
            assert not found.differs
        else:
            assert found.low <= found.points <= found.high
            assert found.excluded or not found.ahead
            assert not (found.excluded and found.unstable)
            if not found.differs and len(others) < 3:
                assert found.low <= 0 <= found.high


@given(st.lists(SEEDED, min_size=2, max_size=3))
def test_leader_without_win_differs_only_if_some_pair_differs(groups):
    leader, *others = best_first(groups)
    chosen, p = (
        against_chosen(leader, others),
        compare_all_pairs(AccuracyTable.of([leader, *others])).p,
    )
    if any(d.differs for d in chosen) and not all(d.ahead for d in chosen):
        assert np.nanmin(p) <= LEVEL / len(p)


def test_known_differences_raise_the_power_for_the_leader():
    """Shaffer's step: if two of three groups differ, the third can equal at most one of them."""
    leader, second = by_seed({0: 1.0, 2: 1.0}), by_seed({0: 0.75, 1: 1.0, 3: 1.0})
    third = by_seed({0: 0.25, 1: 0.625, 2: 0.125, 3: 0.5})
    assert [d.differs for d in against_chosen(leader, [second, third])] == [False, True]
    assert [d.differs for d in against_fixed(leader, [second, third])] == [False, False]


@pytest.mark.parametrize("more", [{}, {"missing": 0.25}, {"paired": False}, {"vary": "10^U"}])
def test_array_of_sweeps_is_judged_like_single_sweeps(more):
    """`benchmarks/verdicts.py` judges arrays of sweeps."""
    draws = Scenario("", (2.0, 0.0, 0.0, -1.0, -3.0), 4, **more).draw(25, np.random.default_rng(3))
    for table, _, _ in draws.comparable():
        judgment = pair_tests(table, draws.images)
        for sweep, rows in enumerate(table.values):
            keys = list(zip(table.seeds.tolist(), table.splits.tolist(), strict=True))
            leader, *others = (
                {k: v for k, v in zip(keys, row, strict=True) if not math.isnan(v)} for row in rows
            )
            differences = against_chosen(leader, others, draws.images)
            assert [d.p for d in differences] == pytest.approx(judgment.pairs.p[sweep], nan_ok=True)
            assert [d.differs for d in differences] == judgment.differs[sweep].tolist()
            assert [d.excluded for d in differences] == judgment.excluded[sweep].tolist()


PAIRED = st.dictionaries(st.tuples(st.integers(0, 9), st.just(0)), ACCURACY, min_size=2, max_size=8)


@pytest.mark.filterwarnings("ignore:Precision loss")  # scipy warns about nearly equal values
@given(st.lists(PAIRED, min_size=2, max_size=4))
def test_each_pair_agrees_with_scipy(groups):
    pairs = compare_all_pairs(AccuracyTable.of(groups))
    for i, (a, b) in enumerate(itertools.combinations(groups, 2)):
        common = sorted(a.keys() & b.keys())
        paired = len(common) >= 2 and 2 * len(common) >= min(len(a), len(b))
        assert pairs.paired[i] == paired
        if paired:
            off = np.subtract([a[s] for s in common], [b[s] for s in common])
            judged = np.std(off) > 1e-9
            expected = (
                stats.ttest_rel([a[s] for s in common], [b[s] for s in common]) if judged else None
            )
            assert pairs.points[i] == pytest.approx(off.mean(), abs=1e-12)
            assert pairs.n[i] == len(common)
        else:
            x, y = list(a.values()), list(b.values())
            assert pairs.points[i] == pytest.approx(np.mean(x) - np.mean(y), abs=1e-12)
            if np.std(x) < 1e-9 and np.std(y) < 1e-9:
                expected = None
            elif min(len(a), len(b)) >= 5:
                expected = stats.ttest_ind(x, y, equal_var=False)
            else:
                t = stats.ttest_ind(x, y, equal_var=False).statistic
                expected = stats.t.sf(abs(t), min(len(a), len(b)) - 1) * 2
        if expected is None:
            assert np.isnan(pairs.p[i])
        else:
            assert pairs.p[i] == pytest.approx(
                getattr(expected, "pvalue", expected), rel=1e-6, abs=1e-12
            )


def test_runs_that_share_a_split_are_not_independent():
    """15 runs of 5 seeds and 3 splits that differ only by split count as three draws."""
    effect = {0: 0.01, 1: -0.004, 2: 0.003}
    values = {(seed, split): 0.9 + effect[split] for seed in range(5) for split in range(3)}
    draws = AccuracyTable.of([values])
    means = group_means(draws.values, draws)
    assert (means.n[0], means.df[0]) == (15, 2)
    assert means.variance[0] == pytest.approx(np.var(list(effect.values()), ddof=1) / 3)
    by_seed = {
        (seed, split): 0.9 + [0.01, -0.004, 0.003, 0.02, 0][seed]
        for seed in range(5)
        for split in range(3)
    }
    draws = AccuracyTable.of([by_seed])
    means = group_means(draws.values, draws)
    assert means.variance[0] == pytest.approx(np.var([0.01, -0.004, 0.003, 0.02, 0], ddof=1) / 5)


@pytest.mark.parametrize(
    ("seeds", "splits", "sizes"), [(3, 3, (1.0, 1.0, 1.0)), (10, 3, (0.3, 1.0, 0.0))]
)
def test_crossed_design_keeps_the_error_rate(seeds, splits, sizes):
    """The simulated groups do not differ; the seed, the split, and their combination have
    effects.
    """
    rng, sweeps = np.random.default_rng(2), 4000
    shapes = [(sweeps, 1, seeds, 1), (sweeps, 1, 1, splits), (sweeps, 1, seeds, splits)]
    effects = [size * rng.normal(size=shape) for size, shape in zip(sizes, shapes, strict=True)]
    x = np.broadcast_to(sum(effects), shapes[2])
    seed, split = np.divmod(np.arange(seeds * splits), splits)
    means = group_means(x.reshape(sweeps, 1, -1), AccuracyTable(x, seed, split))
    p = 2 * stats.t.sf(np.abs(means.mean) / np.sqrt(means.variance), means.df)
    assert np.mean(p <= 0.05) < 0.055
    independent = stats.ttest_1samp(x.reshape(sweeps, -1), 0, axis=1).pvalue
    assert np.mean(independent <= 0.05) > 0.15  # the error rate if the runs counted as independent


def partitions(groups: int):
    """Yield the sizes of the classes for each way in which groups can be equal."""
    for sizes in itertools.product(range(groups + 1), repeat=groups):
        if sum(sizes) == groups and list(sizes) == sorted(sizes, reverse=True):
            yield sizes


@pytest.mark.parametrize("groups", [2, 3, 4, 6])
def test_shaffer_levels_follow_from_possible_equalities(groups):
    pairs = comb(groups, 2)
    possible = {sum(comb(size, 2) for size in sizes) for sizes in partitions(groups)}
    at_most = [
        max(1, max(n for n in possible if n <= pairs - rejected)) for rejected in range(pairs)
    ]
    assert list(shaffer_levels(groups)) == pytest.approx([LEVEL / n for n in at_most])


KNOWN = 1e9  # degrees of freedom of a known standard deviation


def exact_power(n: int, ratio: float, level: float) -> float:
    limit = stats.t.isf(level / 2, n - 1)
    return float(stats.nct.sf(limit, n - 1, ratio * math.sqrt(n)))


@pytest.mark.parametrize("ratio", [0.2, 0.5, 2.0])
def test_seeds_reach_80_percent_power_for_known_variance(ratio):
    seeds = Power([0.001], [KNOWN]).seeds(0.001 * ratio)
    exact = next(n for n in range(2, 2000) if exact_power(n, ratio, LEVEL) >= 0.8)
    assert max(exact, 3) <= seeds <= max(exact + 2, 1.12 * exact)


def test_power_against_several_rivals_matches_simulated_tests():
    rng, n, lead = np.random.default_rng(0), 8, 1.5
    values = rng.normal(size=(20_000, 4, n)) + np.array([lead, 0, 0, 0])[:, None]
    pairs = compare_first_with_others(AccuracyTable(values, np.arange(n), np.zeros(n, dtype=int)))
    ahead = step_down(pairs.p, holm_levels(3)) & (pairs.points > 0)
    planned = Power([math.sqrt(2)] * 3, [KNOWN] * 3).of(lead, n)
    assert planned == pytest.approx(ahead.all(axis=1).mean(), abs=0.03)


@pytest.mark.parametrize("df", [2, 18])
def test_seeds_reach_80_percent_power_for_estimated_variance(df):
    ratio, rng = 0.3, np.random.default_rng(0)
    estimates = np.sqrt(rng.chisquare(df, 200) / df)
    reached = [exact_power(Power([sd], [df]).seeds(ratio), ratio, LEVEL) for sd in estimates]
    assert 0.79 <= np.mean(reached) <= 0.87


def test_confirmation_has_at_least_three_seeds():
    assert Power([0.0001], [5]).seeds(0.5) == Power([0.0], [5]).seeds(0.001) == 3
    assert Power([0.01], [5]).seeds(1e-5) > 1000


def test_variances_are_pooled_only_if_similar():
    alike = shrunk([(1.0, 9), (1.1, 9), (0.9, 9), (1.0, 9)], in_common=0.25)
    assert alike == [pytest.approx((1.0, 36 / 1.75))] * 5
    apart = shrunk([(1.0, 9), (1.0, 9), (100.0, 9), (100.0, 9)], in_common=0.25)
    assert [v for v, _ in apart[:4]] == pytest.approx([1.0, 1.0, 100.0, 100.0], rel=0.25)
    assert 1 < apart[4][0] < 100
    wild = shrunk([*[(1.0, 9), (1.1, 9), (0.9, 9), (1.0, 9)] * 3, (1e4, 9)], in_common=0.25)
    assert wild[-1][0] == pytest.approx(1.0, rel=0.2)
    assert shrunk([(0.0, 2), (0.0, 2)], in_common=0.25)[0][0] == 0.0


@pytest.mark.parametrize(("groups", "seeds"), [(2, 3), (6, 3), (18, 3), (10, 5)])
def test_detectable_differences_are_found_with_a_power_of_80_percent(groups, seeds):
    rng, least = np.random.default_rng(5), detectable(groups, seeds)
    worse = np.arange(groups)[:, None] > 0
    values = (
        rng.normal(size=(400, groups, seeds)) + rng.normal(size=(400, 1, seeds)) - least * worse
    )
    table = AccuracyTable(0.9 + 0.002 * values, np.arange(seeds), np.zeros(seeds, dtype=int))
    assert pair_tests(table).excluded.mean() == pytest.approx(0.8, abs=0.06)


def test_run_far_below_others_of_same_configuration_is_outlier():
    steady, collapsed = [0.981, 0.983, 0.982], [0.985, 0.984, 0.113]
    assert far_below([steady, collapsed]) == [(1, 2)]
    assert far_below([steady, [0.985, 0.984]]) == []
    assert far_below([steady, [0.785, 0.784, 0.786]]) == []  # low, but together
    assert far_below([steady, [0.985, 0.984, 0.998]]) == []  # above
    assert (
        far_below([[0.9, 0.9, 0.9], [0.9, 0.9, 0.9]]) == far_below([[0.9]]) == far_below([]) == []
    )
