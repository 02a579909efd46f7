"""Intervals, tests and numbers of seeds, held against scipy, against tables, and against what they promise."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lenet_exp.comparison.multiplicity import LEVEL
from lenet_exp.comparison.pairs import AccuracyTable, pairs
from lenet_exp.comparison.statistics import against_chosen, against_fixed, mean_interval

ACCURACY = st.floats(0.1, 1.0).map(lambda x: round(x, 4))
SEEDED = st.dictionaries(st.tuples(st.integers(0, 7), st.just(0)), ACCURACY, min_size=1, max_size=6)


def by_seed(values):
    """Accuracies of seeds from 0, or by seed."""
    return {
        (seed, 0): value for seed, value in (values if isinstance(values, dict) else dict(enumerate(values))).items()
    }


def best_first(groups):
    return sorted(groups, key=lambda g: -np.mean(list(g.values())))


def test_the_interval_of_a_mean_is_students():
    values = [0.901, 0.905, 0.899, 0.908]
    # t(0.975, 3) = 3.1824, from a table
    half = 3.1824 * np.std(values, ddof=1) / 2
    assert mean_interval(by_seed(values)) == pytest.approx((np.mean(values) - half, np.mean(values) + half), abs=1e-6)
    assert all(math.isnan(x) for x in mean_interval(by_seed([0.9])))
    assert mean_interval(by_seed([0.9, 0.9, 0.9])) == pytest.approx((0.9, 0.9))
    assert mean_interval(by_seed([0.1, 0.99, 1.0])) == (0, 1)  # no accuracy is outside this range


@pytest.mark.parametrize("against", [against_chosen, against_fixed])
def test_common_seeds_are_paired(against):
    a, b = by_seed({0: 0.91, 1: 0.95, 2: 0.93, 7: 0.5}), by_seed({0: 0.90, 1: 0.938, 2: 0.919, 9: 0.99})
    (found,) = against(a, [b])
    by_hand = stats.ttest_rel([0.91, 0.95, 0.93], [0.90, 0.938, 0.919])
    assert (found.test, found.n, found.df) == ("paired", 3, 2)
    assert found.points == pytest.approx(0.011)
    assert found.p == pytest.approx(by_hand.pvalue)
    interval = by_hand.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize("against", [against_chosen, against_fixed])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ({0: 0.9}, {0: 0.8}),  # one seed each
        ({0: 0.9, 1: 0.92}, {5: 0.8}),  # one seed there
        ({0: 0.9, 1: 0.8, 2: 0.7}, {0: 0.8, 1: 0.7, 2: 0.6}),  # the same distance each time, but for rounding
        ({0: 0.9, 1: 0.9}, {0: 0.9, 1: 0.9}),
    ],
)
def test_where_there_is_no_spread_there_is_no_test_and_no_claim(against, a, b):
    (found,) = against(by_seed(a), [by_seed(b)])
    assert (found.test, found.differs) == ("none", False)
    assert math.isnan(found.p)


NOISE = [0.004, -0.003, 0.002, -0.004, 0.003, -0.002]


def behind(points: float):
    return by_seed([0.95 - points + n for n in NOISE])


def test_a_named_leader_is_held_against_the_others_by_holm():
    found = against_fixed(by_seed([0.95] * 6), [behind(gap) for gap in (0.0045, 0.009, 0.0001, 0.0044)])
    p = [d.p for d in found]
    assert sorted(range(4), key=lambda i: p[i]) == [1, 0, 3, 2]
    assert found[1].p <= LEVEL / 4
    # 0.0045 alone would do at 5%, but not as the second of four
    assert LEVEL / 3 < p[0] < LEVEL
    assert [d.differs for d in found] == [False, True, False, False]
    assert [found[i].level for i in (0, 3, 2)] == pytest.approx([LEVEL / 3] * 3)


def test_a_leader_that_the_same_runs_chose_is_held_against_all_pairs():
    groups = [by_seed([0.95] * 6), *(behind(gap) for gap in (0.0045, 0.009, 0.0001))]
    found = against_chosen(groups[0], groups[1:])
    half = stats.t.isf(LEVEL / 6 / 2, 5) * found[0].spread / math.sqrt(6)
    assert (found[0].low, found[0].high) == pytest.approx((found[0].points - half, found[0].points + half))
    # Bonferroni's and Holm's first step over three comparisons would let this one pass; of six pairs it does not.
    close = against_chosen(groups[0], [behind(0.0058), behind(0.0001), behind(0.0002)])[0]
    assert LEVEL / 6 < close.p < LEVEL / 3
    assert not close.differs
    assert close.level == pytest.approx(LEVEL / 6)


def test_a_winner_has_to_lead_each_other_by_its_test_alone():
    """Ten groups of which one is clearly best: 45 pairs would leave it undecided."""
    rng = np.random.default_rng(0)
    others = [by_seed(0.9 + rng.normal(0, 0.001, 5)) for _ in range(9)]
    leader = by_seed(0.9025 + rng.normal(0, 0.001, 5))
    found = against_chosen(leader, others)
    assert all(d.ahead for d in found)
    assert max(d.p for d in found) > LEVEL / 45
    assert all(d.low >= 0 for d in found)
    # With one as good beside it, it is ahead of fewer.
    fewer = against_chosen(leader, [by_seed([v + 1e-4 for v in reversed(list(leader.values()))]), *others])
    assert sum(d.ahead for d in fewer) < 9


@given(st.lists(SEEDED, min_size=2, max_size=5))
def test_words_and_numbers_agree(groups):
    leader, *others = best_first(groups)
    for found in [*against_chosen(leader, others), *against_fixed(leader, others)]:
        if found.test == "none":
            assert not found.differs
        else:
            assert found.low <= found.points <= found.high
            if found.ahead:
                assert found.low >= 0
            elif found.differs:
                assert found.high <= 0
            else:
                assert found.low <= 0 <= found.high


@given(st.lists(SEEDED, min_size=2, max_size=5))
def test_a_leader_that_the_same_runs_chose_differs_from_none_unless_it_wins_or_some_pair_of_all_differs(groups):
    leader, *others = best_first(groups)
    chosen, p = against_chosen(leader, others), pairs(AccuracyTable.of([leader, *others])).p
    if any(d.differs for d in chosen) and not all(d.ahead for d in chosen):
        assert np.nanmin(p) <= LEVEL / len(p)


def test_known_differences_raise_the_power_for_the_leader():
    """Shaffer's step: of three groups of which two differ, the third can be equal to one of them at most."""
    leader, second = by_seed({0: 1.0, 2: 1.0}), by_seed({0: 0.75, 1: 1.0, 3: 1.0})
    third = by_seed({0: 0.25, 1: 0.625, 2: 0.125, 3: 0.5})
    assert [d.differs for d in against_chosen(leader, [second, third])] == [False, True]
    assert [d.differs for d in against_fixed(leader, [second, third])] == [False, False]


def test_benchmarks_judge_with_the_same_rule():
    """`benchmarks/verdicts.py` counts on arrays; one sweep at a time it comes to what is shipped."""
    from benchmarks.simulated import Scenario, judge, simulated
    from benchmarks.verdicts import shipped

    rng = np.random.default_rng(3)
    means = (2.0, 0.0, 0.0, -1.0)
    for scenario in (Scenario("", means, 4), Scenario("", means, 6, missing=0.3), Scenario("", means, 3, paired=False)):
        draws = simulated(scenario, 25, rng)
        judged = judge(draws)
        differs, ahead = shipped(judged), judged.towards > 0
        for sweep, values in enumerate(draws.values):
            keys = list(zip(draws.seeds.tolist(), draws.splits.tolist(), strict=True))
            groups = [{k: v for k, v in zip(keys, row, strict=True) if not math.isnan(v)} for row in values]
            if min(map(len, groups)) < 2:
                continue
            leader = judged.leader[sweep]
            order = [leader, *(i for i in range(4) if i != leader)]
            found = dict(zip(order[1:], against_chosen(groups[leader], [groups[i] for i in order[1:]]), strict=True))
            for pair, (i, j) in enumerate(itertools.combinations(range(4), 2)):
                if leader in (i, j):
                    one = found[j if i == leader else i]
                    assert one.ahead == bool(differs[sweep, pair] and ahead[sweep, pair])


def test_a_thousand_groups_are_compared():
    rng = np.random.default_rng(0)
    others = [by_seed(0.9 + rng.normal(0, 0.001, 5)) for _ in range(1000)]
    assert all(d.ahead for d in against_chosen(by_seed(0.95 + rng.normal(0, 0.001, 5)), others))
    level = LEVEL / math.comb(1001, 2)
    assert {d.level for d in against_chosen(by_seed(0.9 + rng.normal(0, 0.001, 5)), others)} == {level}
