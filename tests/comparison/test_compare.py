"""A made-up set of runs with known truth: groups, order, columns, and the words."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lenet_exp.comparison.compare import Comparison, compare_runs
from lenet_exp.comparison.runs import ComparedRun, split_seed_off
from lenet_exp.comparison.words import against_leader, next_step, verdict
from tests.comparison.made_up import made, many

SELU = [0.9101, 0.9126, 0.9093, 0.9119]
TANH = [0.9098, 0.9131, 0.9085, 0.9120]  # as good as selu
RELU = {0: 0.9060, 1: 0.9081, 2: 0.9050, 3: 0.9079}  # worse
ELU = {0: 0.9010, 7: 0.9003, 8: 0.9016}  # worse; one seed in common with selu


@pytest.fixture
def runs() -> list[ComparedRun]:
    """Two groups that can't be told apart, two that are worse, one with failures, one that always diverged."""
    return [
        *many(RELU, activation="relu"),
        *many(TANH, activation="tanh"),
        *many(SELU, activation="selu"),
        *many(ELU, activation="elu"),
        made(0, 0.9005, activation="rrelu"),
        made(1, 0.45, "diverged", activation="rrelu"),
        made(2, None, "failed", activation="rrelu"),
        made(0, 0.2, "diverged", activation="prelu"),
        made(1, None, "not started", activation="prelu"),
    ]


@pytest.fixture
def comparison(runs: list[ComparedRun]) -> Comparison:
    (found,) = compare_runs(runs)
    return found


def test_groups_are_configurations_without_their_seed_the_best_first(comparison):
    assert [g.flags["activation"] for g in comparison.groups] == ["selu", "tanh", "relu", "elu", "rrelu", "prelu"]
    assert [g.n for g in comparison.groups] == [4, 4, 4, 3, 1, 0]
    assert comparison.flags == ["activation"]
    assert comparison.num_runs == 20


def test_a_groups_numbers_are_of_its_finished_runs(comparison):
    selu, rrelu, prelu = comparison.groups[0], comparison.groups[4], comparison.groups[5]
    assert selu.mean == pytest.approx(0.910975)
    assert selu.sd == pytest.approx(np.std(SELU, ddof=1))
    assert selu.interval == pytest.approx(stats.t.interval(0.95, 3, np.mean(SELU), np.std(SELU, ddof=1) / 2))
    assert (rrelu.mean, rrelu.best_epoch, rrelu.seconds_to_best) == (0.9005, 3, 1.5)
    assert math.isnan(rrelu.sd)
    assert rrelu.outcomes == {"finished": 1, "diverged": 1, "failed": 1}
    assert math.isnan(prelu.mean)
    assert prelu.outcomes == {"diverged": 1, "not started": 1}


def test_an_interval_stays_within_what_an_accuracy_can_be():
    (found,) = compare_runs(many([0.999, 0.95]))
    assert found.groups[0].interval[1] == 1.0


def test_the_leader_is_held_against_each_other_group(comparison):
    tests = [(lead.test, lead.n) for lead in comparison.leads]
    assert tests == [("paired", 4), ("paired", 4), ("welch", 3), ("none", 1)]
    assert [lead.differs for lead in comparison.leads] == [False, True, True, False]
    assert comparison.lead(0) is None
    assert comparison.lead(5) is None  # nothing to hold it against
    paired = stats.ttest_rel(SELU, list(RELU.values()))
    assert comparison.leads[1].p == pytest.approx(paired.pvalue)
    unpaired = stats.ttest_ind(SELU, list(ELU.values()), equal_var=False)
    assert comparison.leads[2].p == pytest.approx(unpaired.pvalue)


def test_it_is_said_in_words(comparison):
    tanh, relu, _, rrelu = map(against_leader, comparison.leads)
    interval = stats.ttest_rel(SELU, list(RELU.values())).confidence_interval(1 - 0.05 / 3)  # the smallest p of three
    low, high = f"{interval.low * 100:.2f}", f"{interval.high * 100:.2f}"
    assert relu == f"ahead by 0.42 points ({low} to {high})"
    assert tanh.startswith("can't be told apart with n=4; about ")
    assert tanh.endswith(" seeds would do")
    assert rrelu == "1.05 points more; one seed says nothing about luck"
    assert verdict(comparison) == (
        "selu is first with 91.10 % ± 0.15 (n=4), ahead of 2 of 4 others; it can't be told apart from tanh, rrelu."
    )
    assert next_step(comparison).startswith("about ")


def test_a_clear_winner_is_called_one():
    (found,) = compare_runs(
        [*many(SELU, activation="selu"), *many(RELU, activation="relu"), *many(ELU, activation="elu")]
    )
    assert verdict(found) == "selu wins: 91.10 % ± 0.15 (n=4), ahead of all 2 others."
    assert next_step(found) is None
    (found,) = compare_runs([*many(SELU, activation="selu"), *many(RELU, activation="relu")])
    assert verdict(found).endswith("ahead of the other.")


def test_single_seeds_say_nothing_about_luck():
    (found,) = compare_runs([made(0, 0.91, activation="selu"), made(0, 0.90, activation="relu")])
    assert verdict(found) == (
        "selu is first with 91.00 % of validation images. Whether that is luck can't be told from one seed each."
    )
    assert "'seed=range(5)'" in next_step(found)


def test_a_difference_beyond_any_number_of_seeds_is_said_so():
    same = {0: 0.9, 1: 0.91, 2: 0.92}
    (found,) = compare_runs([*many(same, activation="selu"), *many({0: 0.91, 1: 0.9, 2: 0.91998}, activation="relu")])
    assert against_leader(found.leads[0]) == "can't be told apart with n=3; not even 1,000 seeds would do"
    assert "too small for 1,000 seeds" in next_step(found)


def test_a_leader_that_is_worse_over_the_common_seeds_is_not_called_ahead():
    # The other is better on both seeds that they share; on others the leader made up for it.
    leader = {0: 0.90, 1: 0.9001, 2: 0.95, 3: 0.95, 4: 0.95}
    (found,) = compare_runs([*many(leader, activation="selu"), *many({0: 0.91, 1: 0.91011}, activation="relu")])
    assert (found.leads[0].differs, found.leads[0].ahead) == (True, False)
    assert against_leader(found.leads[0]).startswith("behind it by 1.00 points (")
    assert "wins" not in verdict(found)


def test_no_finished_run_is_no_leader():
    (found,) = compare_runs([made(0, None, "failed"), made(1, 0.3, "diverged")])
    assert found.leader is None
    assert verdict(found) == "No run finished: 1 diverged, 1 failed."


def test_one_configuration_is_only_described():
    (found,) = compare_runs(many(SELU))
    assert (found.flags, found.leads) == ([], [])
    assert verdict(found) == "mnist: 91.10 % ± 0.15 (n=4)."


def test_data_sets_are_not_compared_with_each_other(runs):
    both = compare_runs([*runs, *many([0.99, 0.98], dataset="digits")])
    assert [(c.dataset, len(c.groups)) for c in both] == [("mnist", 6), ("digits", 1)]


def test_of_several_runs_with_the_same_seed_the_last_counts():
    (found,) = compare_runs([made(0, 0.5), made(0, 0.9), made(1, 0.92)])
    assert found.groups[0].accuracy == {0: 0.9, 1: 0.92}


def test_columns_are_the_flags_that_differ_the_swept_ones_first(runs):
    more = many(SELU, optimizer__lr="0.1", num_epoch="3")
    (found,) = compare_runs([*runs, *more], swept=["optimizer.lr", "activation"])
    assert found.flags == ["optimizer.lr", "activation"]


def test_flags_that_only_come_along_with_another_are_no_columns():
    adam = many(SELU, optimizer="adam", optimizer__betas="[0.9, 0.999]")
    sgd = many(TANH, optimizer="sgd", optimizer__momentum="0.9")
    (found,) = compare_runs([*adam, *sgd])
    assert found.flags == ["optimizer"]
    (found,) = compare_runs([*adam, *sgd, *many(RELU, optimizer="sgd", optimizer__momentum="0")])
    assert found.flags == ["optimizer", "optimizer.momentum"]
    assert [found.values(g) for g in found.groups] == [["adam", "-"], ["sgd", "0.9"], ["sgd", "0"]]


def test_a_flag_is_a_column_where_groups_differ_in_having_it_alone():
    (found,) = compare_runs([*many(SELU), *many(TANH, augmentation__rotate="10.0")])
    assert found.flags == ["augmentation.rotate"]
    assert {found.name(g) for g in found.groups} == {"rotate=10.0", "mnist"}


def test_how_runs_were_executed_makes_configurations_only_where_it_was_swept():
    runs = [*many(SELU, num_threads="1", engine="torch"), *many({7: 0.9}, num_threads="2")]  # engine: an older run
    (found,) = compare_runs(runs)
    assert [group.n for group in found.groups] == [len(SELU) + 1]
    (found,) = compare_runs(runs, swept=["num_threads"])
    assert found.flags == ["num_threads"]
    assert sorted(group.n for group in found.groups) == [1, len(SELU)]


def test_a_flag_that_an_older_release_did_not_know_is_at_its_neutral_value():
    now = {"dataset": "mnist", "regularization.dropout_rate": "0.0", "augmentation.flip": "0.0", "seed": "3"}
    old = {flag: value for flag, value in now.items() if flag != "augmentation.flip"}
    assert split_seed_off(old) == split_seed_off(now)
    assert split_seed_off(now | {"augmentation.flip": "0.5"}) != split_seed_off(old)
