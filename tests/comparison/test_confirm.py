"""A confirmation of made-up runs: how many seeds it takes, and what it answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lenet_exp.comparison.advice import next_step
from lenet_exp.comparison.compare import Comparison, compare_runs
from lenet_exp.comparison.confirm import answer, confirmation, plan
from lenet_exp.comparison.design import Design, caution, together
from lenet_exp.comparison.runs import ComparedRun
from lenet_exp.comparison.words import verdict
from lenet_exp.errors import ConfigError
from tests.comparison.made_up import made, many

SELU = [0.9101, 0.9126, 0.9093, 0.9119, 0.9110, 0.9107]
TANH = [0.9098, 0.9133, 0.9083, 0.9125, 0.9112, 0.9098]  # as good
RELU = [0.9060, 0.9081, 0.9050, 0.9079, 0.9066, 0.9064]  # worse


def confirming(*groups: list[ComparedRun]) -> Comparison:
    """The comparison of a sweep that confirms the first group."""
    runs = [run for group in groups for run in group]
    (found,) = compare_runs(runs, design=Design(len(runs), 0, 1, "1f3a", 0.002, groups[0][0].id))
    return found


def said(comparison: Comparison) -> tuple[bool | None, str]:
    found = confirmation(comparison)
    assert found is not None
    assert verdict(comparison) == answer(comparison, found)
    return found.confirmed, verdict(comparison)


def test_a_leader_that_is_ahead_of_all_is_confirmed():
    yes, words = said(confirming(many(SELU, activation="selu"), many(RELU, activation="relu")))
    assert yes is True
    assert words.startswith("Confirmed on 6 fresh seeds: selu is ahead of relu by 0.43 points (")


def test_an_answer_says_where_its_seeds_were_added_after_a_look():
    comparison = confirming(many(SELU, activation="selu"), many(RELU, activation="relu"))
    assert comparison.design is not None
    _, words = said(replace(comparison, design=replace(comparison.design, known=8)))
    assert (
        " But 8 of 12 runs had begun before this sweep was first typed: 5 % holds for a design that is fixed" in words
    )


def test_a_leader_that_is_not_ahead_of_one_is_not_confirmed():
    yes, words = said(
        confirming(many(SELU, activation="selu"), many(TANH, activation="tanh"), many(RELU, activation="relu"))
    )
    assert yes is False
    assert words.startswith("Not confirmed on 6 fresh seeds: selu is not told apart from tanh: 0.01 points above it (")
    assert "by less than the 0.2 points that were looked for; ahead of relu by" in words


def test_a_leader_that_is_worse_than_it_seemed_stays_the_one_that_is_confirming():
    comparison = confirming(many(RELU, activation="relu"), many(SELU, activation="selu"))
    yes, words = said(comparison)
    assert yes is False
    assert words.startswith("Not confirmed on 6 fresh seeds: relu is behind selu by 0.43 points (")
    assert comparison.leader is not None
    assert comparison.name(comparison.leader) == "relu"


def test_a_leader_that_diverged_is_not_confirmed():
    yes, words = said(confirming([*many(SELU, activation="selu"), made(9, 0.5, "diverged", activation="selu")],
                             many(RELU, activation="relu")))  # fmt: skip
    assert (yes, words) == (False, "Not confirmed: selu diverged on 1 of 7 fresh seeds.")


def test_another_that_diverged_is_named_and_does_not_stand_in_the_way():
    yes, words = said(confirming(many(SELU, activation="selu"), [*many(RELU, activation="relu"),
                             made(9, 0.99, "diverged", activation="relu")]))  # fmt: skip
    assert yes is True
    assert words == "Confirmed on 6 fresh seeds: relu diverged on 1 of them."


@pytest.mark.parametrize("outcome", ["failed", "killed", "running", "not started"])
def test_as_long_as_a_run_is_missing_it_is_open(outcome):
    comparison = confirming(many(SELU, activation="selu"), [*many(RELU[:5], activation="relu"),
                        made(5, None, outcome, activation="relu")])  # fmt: skip
    assert said(comparison) == (None, "Whether selu is confirmed is open: 1 of 12 runs have not come to a result.")
    assert next_step(comparison) == "the same line again trains what is missing"


def test_it_is_planned_over_the_leader_and_those_that_may_be_as_good():
    (found,) = compare_runs(
        [*many(RELU, activation="relu"), *many(TANH, activation="tanh"), *many(SELU, activation="selu")]
    )
    wanted = plan(found, 0.002)
    assert [found.name(g) for g in wanted.groups] == ["selu", "tanh"]
    assert wanted.seeds < plan(found, 0.0005).seeds
    with pytest.raises(ConfigError, match="more than 1,000 seeds; allowed is a larger difference"):
        plan(found, 1e-6)


def test_a_leader_that_is_ahead_of_all_is_held_against_the_next():
    (found,) = compare_runs([*many(RELU, activation="relu"), *many(SELU, activation="selu")])
    assert [found.name(g) for g in plan(found, 0.002).groups] == ["selu", "relu"]


def test_single_seeds_tell_no_spread():
    (found,) = compare_runs([made(0, 0.91, activation="selu"), made(0, 0.9, activation="relu")])
    with pytest.raises(ConfigError, match="one seed each tells no spread"):
        plan(found, 0.002)
    (one,) = compare_runs(many(SELU))
    with pytest.raises(ConfigError, match="no two configurations"):
        plan(one, 0.002)


def test_a_spread_is_taken_from_other_groups_where_the_candidates_share_no_seed():
    by_seed = dict(enumerate(TANH, start=20))
    (found,) = compare_runs([*many(by_seed, activation="tanh"), *many(SELU, activation="selu")])
    assert plan(found, 0.002).seeds > 3


def test_what_was_there_before_is_said():
    fixed = Design(6, 0)
    assert caution(None) is None
    assert caution(fixed) is None
    assert "2 of 6 runs had begun before this sweep was first typed" in str(caution(replace(fixed, known=2)))
    assert "runs of 2 sweeps" in str(caution(together([fixed, fixed])))
    assert together([fixed]) == fixed
    assert together([]) is None
