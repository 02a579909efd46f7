"""Test accuracies in a comparison, each against that of the leader."""

from __future__ import annotations

from dataclasses import replace
from itertools import zip_longest

import pytest
from scipy import stats

from lenet_exp.comparison.advice import NextStep, advice
from lenet_exp.comparison.compare import compare_runs
from lenet_exp.comparison.design import Design, EndedConfirmation
from tests.comparison.made_up import many, scored

SELU = {0: 0.9801, 1: 0.9826, 2: 0.9793, 3: 0.9819}
TANH = {0: 0.9798, 1: 0.9831, 2: 0.9785, 3: 0.9820}
RELU = {0: 0.9760, 1: 0.9781, 2: 0.9750, 3: 0.9779}
SWEEP = Design(12, 0, sweep="1f3a")


def compared(*test_accuracies: dict[int, float], design: Design = SWEEP):
    """Return a comparison that selu wins on validation data, with test accuracies of selu, tanh,
    and relu.
    """
    selu = many([0.95, 0.951, 0.949, 0.95], activation="selu")
    tanh = many([0.94, 0.942, 0.939, 0.94], activation="tanh")
    relu = many([0.93, 0.93, 0.929, 0.931], activation="relu")
    runs = []
    for group, accuracies in zip_longest((selu, tanh, relu), test_accuracies, fillvalue={}):
        runs += scored(group, accuracies)
    if design.confirms:
        design = replace(design, leader=selu[0].id)

    (comparison,) = compare_runs(runs, design=design)

    assert comparison.leader.flags["activation"] == "selu"
    return comparison


@pytest.mark.parametrize(("confirms", "comparisons"), [(None, 3), ("9c07", 2)])
def test_intervals_of_test_leads_are_corrected_for_chosen_leader(confirms, comparisons):
    points = 0.01 if confirms else None
    design = replace(SWEEP, confirms=confirms, points=points)

    comparison = compared(SELU, TANH, RELU, design=design)

    for group, accuracies in zip(comparison.on_test_set, (SELU, TANH, RELU), strict=True):
        assert group.accuracy == {(seed, 0): value for seed, value in accuracies.items()}
    leader, over_tanh, over_relu = comparison.test_leads
    assert leader is None
    assert not over_tanh.differs
    assert over_relu.ahead
    for lead, other in ((over_tanh, TANH), (over_relu, RELU)):
        expected = stats.ttest_rel(list(SELU.values()), list(other.values()))
        interval = expected.confidence_interval(1 - 0.05 / comparisons)
        assert lead.test == "paired"
        assert lead.n == 4
        assert lead.points == pytest.approx(expected.statistic * expected._standard_error)
        assert lead.low == pytest.approx(interval.low)
        assert lead.high == pytest.approx(interval.high)


def test_only_scored_runs_have_test_results():
    comparison = compared()
    assert comparison.on_test_set == []
    assert comparison.test_leads == []

    comparison = compared(SELU)
    assert [group.n for group in comparison.on_test_set] == [4, 0, 0]
    assert comparison.test_leads == [None, None, None]

    comparison = compared(SELU, {}, {1: 0.97})  # too few seeds for a test
    _, over_tanh, over_relu = comparison.test_leads
    assert over_tanh is None
    assert over_relu.points == pytest.approx(sum(SELU.values()) / 4 - 0.97)
    assert over_relu.test == "none"

    assert compared({}, TANH, RELU).test_leads == [None, None, None]


def test_scored_sweep_does_not_suggest_scoring_again():
    assert advice(compared()).step is NextStep.predict
    assert advice(compared({0: 0.98})).step is NextStep.predict  # three runs were not scored
    assert advice(compared(SELU)) is None

    confirmation = replace(SWEEP, confirms="9c07", points=0.001)
    assert advice(compared(design=confirmation)).step is NextStep.predict
    assert advice(compared(SELU, design=confirmation)) is None

    confirmed = replace(SWEEP, confirmations=(ended_confirmation(scored=False),))
    assert advice(compared(design=confirmed)).step is NextStep.confirmed
    assert advice(compared(SELU, design=confirmed)).step is NextStep.scored
    scored_there = replace(SWEEP, confirmations=(ended_confirmation(scored=True),))
    assert advice(compared(design=scored_there)).step is NextStep.scored


def ended_confirmation(*, scored: bool) -> EndedConfirmation:
    return EndedConfirmation(
        sweep="9c07", dataset="mnist", points=0.1, confirmed=True, scored=scored
    )
