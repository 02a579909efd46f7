"""Test accuracies in a comparison, each against that of the leader."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scipy import stats

from lenet_exp.comparison import design as designs
from lenet_exp.comparison.advice import NextStep, advice
from lenet_exp.comparison.compare import compare_runs
from lenet_exp.comparison.design import Design
from tests.comparison.made_up import many, scored

SELU = {0: 0.9801, 1: 0.9826, 2: 0.9793, 3: 0.9819}
TANH = {0: 0.9798, 1: 0.9831, 2: 0.9785, 3: 0.9820}
RELU = {0: 0.9760, 1: 0.9781, 2: 0.9750, 3: 0.9779}
SWEEP = Design(12, 0, sweep="1f3a")


def compared(*tested: dict[int, float], design: Design = SWEEP):
    """Return a comparison that selu wins on validation data, with test accuracies of selu, tanh,
    and relu.
    """
    all_runs = []
    reached = {"selu": [0.95, 0.951, 0.949, 0.95], "tanh": [0.94, 0.942, 0.939, 0.94]}
    reached |= {"relu": [0.93, 0.93, 0.929, 0.931]}
    for n, (activation, accuracies) in enumerate(reached.items()):
        runs = many(accuracies, activation=activation)
        all_runs += scored(runs, dict(tested[n]) if n < len(tested) else {})
    if design.confirms:
        design = replace(design, leader=all_runs[0].id)
    (comparison,) = compare_runs(all_runs, design=design)
    assert comparison.leader.flags["activation"] == "selu"
    return comparison


@pytest.mark.parametrize(("confirms", "comparisons"), [(None, 3), ("9c07", 2)])
def test_intervals_of_test_leads_are_corrected_for_chosen_leader(confirms, comparisons):
    comparison = compared(
        SELU,
        TANH,
        RELU,
        design=replace(SWEEP, confirms=confirms, points=0.01 if confirms else None),
    )
    assert [dict(g.accuracy) for g in comparison.on_test_set] == [
        {(s, 0): a for s, a in x.items()} for x in (SELU, TANH, RELU)
    ]
    assert comparison.test_leads[0] is None
    for lead, other in zip(comparison.test_leads[1:], (TANH, RELU), strict=True):
        expected = stats.ttest_rel(list(SELU.values()), list(other.values()))
        interval = expected.confidence_interval(1 - 0.05 / comparisons)
        assert (lead.test, lead.n) == ("paired", 4)
        assert lead.points == pytest.approx(expected.statistic * expected._standard_error)
        assert (lead.low, lead.high) == pytest.approx((interval.low, interval.high))
    assert comparison.test_leads[2].ahead
    assert not comparison.test_leads[1].differs


def test_only_scored_runs_have_test_results():
    assert compared().on_test_set == compared().test_leads == []
    comparison = compared(SELU)
    assert [g.n for g in comparison.on_test_set] == [4, 0, 0]
    assert comparison.test_leads == [None, None, None]
    comparison = compared(SELU, {}, {1: 0.97})  # too few seeds for a test
    assert comparison.test_leads[1] is None
    assert comparison.test_leads[2].points == pytest.approx(sum(SELU.values()) / 4 - 0.97)
    assert comparison.test_leads[2].test == "none"
    assert compared({}, TANH, RELU).test_leads == [None, None, None]


def test_scored_sweep_does_not_suggest_scoring_again():
    assert advice(compared()).step is NextStep.predict
    assert advice(compared({0: 0.98})).step is NextStep.predict  # three runs were not scored
    assert advice(compared(SELU)) is None
    confirmation = replace(SWEEP, confirms="9c07", points=0.001)
    assert advice(compared(design=confirmation)).step is NextStep.predict
    assert advice(compared(SELU, design=confirmation)) is None

    def tested(own: dict[int, float], *, confirmation_scored: bool) -> NextStep:
        earlier = designs.EndedConfirmation("9c07", "mnist", 0.1, True, confirmation_scored)
        return advice(compared(own, design=replace(SWEEP, confirmations=(earlier,)))).step

    assert tested({}, confirmation_scored=False) is NextStep.confirmed
    assert (
        tested({}, confirmation_scored=True)
        is tested(SELU, confirmation_scored=False)
        is NextStep.scored
    )
