"""Numbers of seeds agree with exact power and simulated tests, and outliers are detected."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lenet_exp.comparison.multiplicity import LEVEL, holm_levels, step_down
from lenet_exp.comparison.outliers import far_below
from lenet_exp.comparison.pairs import AccuracyTable, first_against_others
from lenet_exp.comparison.power import Power, detectable, shrunk
from lenet_exp.comparison.statistics import judged

KNOWN = 1e9  # degrees of freedom of a known standard deviation


def exact_power(n: int, ratio: float, level: float) -> float:
    limit = stats.t.isf(level / 2, n - 1)
    return float(stats.nct.sf(limit, n - 1, ratio * math.sqrt(n)))


@pytest.mark.parametrize(("ratio", "level"), [(0.2, 0.05), (0.5, 0.05 / 45), (2.0, 0.05 / 3)])
def test_seeds_reach_80_percent_power_for_known_variance(ratio, level):
    found = Power([0.001], [KNOWN], [level]).seeds(0.001 * ratio)
    exact = next(n for n in range(2, 2000) if exact_power(n, ratio, level) >= 0.8)
    assert max(exact, 3) <= found <= max(exact + 2, 1.12 * exact)


def test_power_against_several_rivals_matches_simulated_tests():
    rng, n, lead = np.random.default_rng(0), 8, 1.5
    values = rng.normal(size=(20_000, 4, n)) + np.array([lead, 0, 0, 0])[:, None]
    found = first_against_others(AccuracyTable(values, np.arange(n), np.zeros(n, dtype=int)))
    ahead = step_down(found.p, holm_levels(3))[0] & (found.points > 0)
    planned = Power([math.sqrt(2)] * 3, [KNOWN] * 3).of(lead, n)
    assert planned == pytest.approx(ahead.all(axis=1).mean(), abs=0.03)


@pytest.mark.parametrize("df", [2, 18])
def test_seeds_reach_80_percent_power_for_estimated_variance(df):
    ratio, rng = 0.3, np.random.default_rng(0)
    estimates = np.sqrt(rng.chisquare(df, 200) / df)
    reached = [exact_power(Power([sd], [df]).seeds(ratio), ratio, LEVEL) for sd in estimates]
    assert 0.79 <= np.mean(reached) <= 0.87


def test_detectable_difference_requires_given_number_of_seeds():
    found = Power([0.002, 0.003], [6, 6])
    detected = found.detects(20)
    assert found.seeds(detected) <= 20 < found.seeds(detected - 0.0002)


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
    values = rng.normal(size=(400, groups, seeds)) + rng.normal(size=(400, 1, seeds)) - least * worse
    table = AccuracyTable(0.9 + 0.002 * values, np.arange(seeds), np.zeros(seeds, dtype=int))
    assert judged(table).excluded.mean() == pytest.approx(0.8, abs=0.06)


def test_run_far_below_others_of_same_configuration_is_outlier():
    steady, collapsed = [0.981, 0.983, 0.982], [0.985, 0.984, 0.113]
    assert far_below([steady, collapsed]) == [(1, 2)]
    assert far_below([steady, [0.985, 0.984]]) == []
    assert far_below([steady, [0.785, 0.784, 0.786]]) == []  # low, but together
    assert far_below([steady, [0.985, 0.984, 0.998]]) == []  # above
    assert far_below([[0.9, 0.9, 0.9], [0.9, 0.9, 0.9]]) == far_below([[0.9]]) == far_below([]) == []
