"""Upper bounds of how much better than the leader each group could be, and the looks of a race."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lenet_exp.comparison.statistics.bounds import upper_bounds
from lenet_exp.comparison.statistics.leader_tests import pair_tests
from lenet_exp.comparison.statistics.looks import RaceTable, look_level, look_sizes, race
from lenet_exp.comparison.statistics.pairs import AccuracyTable

NEVER = 1e-12  # a level at which no leader wins


def table(values):
    array = np.array(values, dtype=float)
    seeds = np.arange(array.shape[1])
    return AccuracyTable(array, seeds, np.zeros_like(seeds))


def finished(values):
    array = np.array(values, dtype=float)
    return RaceTable(array, np.zeros(array.shape, dtype=bool))


def noisy(rng, means, sd, seeds=50):
    noise = rng.normal(scale=sd, size=(len(means), seeds))
    return np.array(means)[:, None] + noise


def test_looks_grow_by_a_third():
    assert look_sizes(3, 50) == [3, 4, 5, 7, 9, 12, 16, 21, 28, 37, 49, 50]
    assert look_sizes(5, 5) == [5]


def test_each_look_uses_a_fraction_of_the_level():
    assert look_level(2) == pytest.approx(0.05 * 0.15)
    assert look_level(3) == pytest.approx(0.05 * 0.25 / 2)
    assert look_level(18) == pytest.approx(0.05 * 0.3 / 17)


def test_bound_of_two_groups_is_that_of_a_paired_t_test():
    leader = np.array([0.990, 0.992, 0.994])
    other = np.array([0.989, 0.990, 0.991])
    (bound,) = upper_bounds(table([leader, other]), 10_000, level=0.05, win_level=NEVER)

    interval = stats.ttest_rel(other, leader, alternative="less").confidence_interval(0.95)
    assert bound == pytest.approx(interval.high)
    assert bound == pytest.approx(-0.0003, abs=5e-5)


def test_bounds_of_four_groups_use_moderated_variances():
    values = table(noisy(np.random.default_rng(0), [0.99, 0.98, 0.97, 0.96], 0.003, seeds=4))
    bounds = upper_bounds(values, 1000, level=0.01, win_level=NEVER)

    pairs = pair_tests(values, 1000).pairs
    quantile = stats.t.ppf(1 - 0.01, pairs.df)
    np.testing.assert_allclose(bounds, -pairs.points + quantile * pairs.error)


def test_leader_that_beats_each_other_group_is_the_best():
    leader, *others = noisy(np.random.default_rng(1), [0.99, 0.97, 0.97, 0.97], 0.004, seeds=6)
    values = table([leader, *others])
    p = [stats.ttest_rel(leader, other, alternative="greater").pvalue for other in others]
    level = 1e-7

    bounds_with_win = upper_bounds(values, level=level, win_level=max(p))
    bounds_without_win = upper_bounds(values, level=level, win_level=max(p) / 2)

    assert (bounds_with_win <= 0).all()
    assert (bounds_without_win > 0).any()


def test_equal_differences_are_as_uncertain_as_the_rounding_to_images():
    values = table([[0.99, 0.99, 0.99], [0.99, 0.99, 0.99]])

    (bound,) = upper_bounds(values, 100, level=0.05, win_level=NEVER)
    variance = 100**-2 / 6  # of the difference between two numbers rounded to 1/100
    assert bound == pytest.approx(stats.t.ppf(0.95, 2) * np.sqrt(variance / 3))

    (bound_without_images,) = upper_bounds(values, None, level=0.05, win_level=NEVER)
    assert bound_without_images == np.inf


@settings(max_examples=15)
@given(st.integers(0, 1000), st.integers(2, 8), st.sampled_from([0.001, 0.003, 0.01]))
def test_race_depends_only_on_the_runs_that_it_asks_for(seed, k, within):
    rng = np.random.default_rng(seed)
    values = noisy(rng, 0.95 - rng.uniform(0, 0.02, k), rng.uniform(0.001, 0.01))
    sizes = look_sizes(3, values.shape[1])
    complete = race(finished(values), within, sizes, 1000)

    trained = np.full(values.shape, np.nan)  # one requested run at a time, in random order
    while True:
        standing = race(finished(trained), within, sizes, 1000)
        missing = standing.requested & np.isnan(trained)
        if not missing.any():
            break
        row, column = rng.permutation(np.argwhere(missing))[0]
        trained[row, column] = values[row, column]

    assert standing.is_over
    np.testing.assert_array_equal(standing.requested, complete.requested)
    assert standing.last.leader == complete.last.leader
    assert standing.last.bound == complete.last.bound


def test_race_ends_once_no_other_can_be_better_by_more():
    values = noisy(np.random.default_rng(2), [0.99, 0.985, 0.98, 0.9], 0.003)

    standing = race(finished(values), 0.004, look_sizes(3, 50), 1000)

    assert standing.is_over
    assert standing.last.leader == 0
    assert standing.last.bound <= 0.004
    assert all(look.bound > 0.004 for look in standing.looks[:-1])
    assert standing.requested[3].sum() == 3  # it was out after the first look


def test_race_that_uses_all_seeds_keeps_the_bound_of_its_last_look():
    values = noisy(np.random.default_rng(3), [0.95, 0.95], 0.02)
    standing = race(finished(values), 1e-6, look_sizes(3, 12), 1000)
    assert standing.is_over
    assert standing.last.seeds == 12
    assert standing.last.bound > 1e-6


def test_configuration_with_a_failed_run_leaves_the_race_but_counts():
    values = noisy(np.random.default_rng(4), [0.99, 0.98, 0.98], 0.003)
    with_failure = finished(values)
    with_failure.values[0, 1] = np.nan
    with_failure.failed[0, 1] = True

    standing = race(with_failure, 0.01, look_sizes(3, 50), 1000)

    assert standing.last.out.tolist() == [True, False, False]
    assert standing.last.leader in (1, 2)
    assert standing.requested[0].sum() == 3

    # The error rate covers three configurations, which makes the bound of the other two larger.
    of_two = race(finished(values[1:, :3]), 0.01, [3], 1000)
    assert standing.looks[0].bound > of_two.last.bound


def test_others_catch_up_if_all_that_race_have_failed():
    values = noisy(np.random.default_rng(5), [0.99, 0.989, 0.9, 0.9], 0.004)
    results = finished(values)
    results.values[:2, 3:] = np.nan
    results.failed[:2, 3:] = True

    standing = race(results, 0.001, look_sizes(3, 50), 1000)

    first, second = standing.looks[:2]
    assert first.leader in (0, 1)
    assert second.seeds == 4
    assert second.out.tolist() == [True, True, False, False]
    assert second.leader in (2, 3)


def test_race_without_a_configuration_left_is_over_without_a_look():
    failed = RaceTable(np.full((2, 5), np.nan), np.ones((2, 5), dtype=bool))
    standing = race(failed, 0.01, look_sizes(3, 5))
    assert standing.is_over
    assert standing.last is None
