"""A made-up set of runs with known truth: groups, order, columns, and the words."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lenet_exp.comparison.advice import next_step, not_excluded, notes
from lenet_exp.comparison.compare import Comparison, compare_runs
from lenet_exp.comparison.confirm import plan
from lenet_exp.comparison.design import Design
from lenet_exp.comparison.group import By
from lenet_exp.comparison.runs import ComparedRun, split_seed_off
from lenet_exp.comparison.words import against_leader, verdict
from lenet_exp.errors import ConfigError
from tests.comparison.made_up import made, many

SWEEP = Design(8, 0, sweep="1f3a")
SELU = [0.9101, 0.9126, 0.9093, 0.9119]
TANH = [0.9098, 0.9131, 0.9085, 0.9120]  # as good as selu
RELU = {0: 0.9060, 1: 0.9081, 2: 0.9050, 3: 0.9079}  # worse
ELU = {0: 0.9010, 7: 0.9003, 8: 0.9016}  # worse; one seed in common with selu


@pytest.fixture
def runs() -> list[ComparedRun]:
    """Two groups that can't be told apart, two that are worse, one with one seed, two of which runs diverged."""
    return [
        *many(RELU, activation="relu"),
        *many(TANH, activation="tanh"),
        *many(SELU, activation="selu"),
        *many(ELU, activation="elu"),
        made(0, 0.9005, activation="gelu"),
        made(0, 0.99, activation="rrelu"),
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
    assert [g.flags["activation"] for g in comparison.groups] == [
        *("selu", "tanh", "relu", "elu", "gelu"),
        "rrelu",  # it diverged once
        "prelu",
    ]
    assert [g.n for g in comparison.groups] == [4, 4, 4, 3, 1, 1, 0]
    assert comparison.flags == ["activation"]
    assert comparison.num_runs == 21


def test_a_groups_numbers_are_of_its_finished_runs(comparison):
    selu, rrelu, prelu = comparison.groups[0], comparison.groups[5], comparison.groups[6]
    assert selu.mean == pytest.approx(0.910975)
    assert selu.sd == pytest.approx(np.std(SELU, ddof=1))
    assert selu.interval == pytest.approx(stats.t.interval(0.95, 3, np.mean(SELU), np.std(SELU, ddof=1) / 2))
    assert (rrelu.mean, rrelu.best_epoch, rrelu.seconds_to_best) == (0.99, 2, 1.5)
    assert math.isnan(rrelu.sd)
    assert rrelu.outcomes == {"finished": 1, "diverged": 1, "failed": 1}
    assert math.isnan(prelu.mean)
    assert prelu.outcomes == {"diverged": 1, "not started": 1}


def test_an_interval_stays_within_what_an_accuracy_can_be():
    (found,) = compare_runs(many([0.999, 0.95]))
    assert found.groups[0].interval[1] == 1.0


def test_the_leader_is_held_against_each_other_group(comparison):
    leads = {g.flags["activation"]: lead for g, lead in zip(comparison.groups, comparison.leads, strict=True)}
    tests = {name: (lead.test, lead.n) for name, lead in leads.items() if lead is not None}
    assert tests == {"tanh": ("paired", 4), "relu": ("paired", 4), "elu": ("welch", 3), "gelu": ("none", 1)}
    assert [leads[name].differs for name in ("tanh", "relu", "elu", "gelu")] == [False, True, True, False]
    assert leads["selu"] is leads["rrelu"] is leads["prelu"] is None  # itself; a diverged run; no finished one
    assert leads["relu"].p == pytest.approx(stats.ttest_rel(SELU, list(RELU.values())).pvalue)
    assert [g.flags["activation"] for g in comparison.not_excluded] == ["selu", "tanh", "gelu"]


def test_it_is_said_in_words(comparison):
    tanh, relu, _, gelu = (against_leader(lead) for lead in comparison.leads if lead is not None)
    interval = stats.ttest_rel(SELU, list(RELU.values())).confidence_interval(1 - 0.05 / 6)  # pairs of four groups
    low, high = f"{interval.low * 100:.2f}", f"{interval.high * 100:.2f}"
    assert relu == f"ahead by 0.42 points ({low} to {high})"
    assert tanh.startswith("can't be told apart with n=4; about ")
    assert tanh.endswith(f" seeds would tell the {comparison.leads[1].points * 100:.2f} points seen")
    assert gelu == "the leader is 1.05 points above it; one seed says nothing about luck"
    assert verdict(comparison) == (
        "selu is first so far: 91.10 % ± 0.15 (n=4), ahead of 2 of 4 others (over 3 to 4 seeds); "
        "it can't be told apart from tanh; gelu has one seed. "
        "rrelu diverged on 1 of 3 seeds; the one that finished reaches 99.00 %. "
        "prelu diverged on 1 of 2 seeds; none finished. "
        "1 of 3 seeds of rrelu is missing (1 failed). 1 of 2 seeds of prelu is missing (1 not started)."
    )
    assert next_step(comparison) == "the same line again trains what is missing"
    assert not_excluded(comparison) == "not excluded as best: 3 of 7: selu, tanh, gelu"


def test_a_clear_winner_is_called_one():
    (found,) = compare_runs(
        [*many(SELU, activation="selu"), *many(RELU, activation="relu"), *many(ELU, activation="elu")]
    )
    assert verdict(found) == "selu wins: 91.10 % ± 0.15 (n=4), ahead of all 2 others (over 3 to 4 seeds)."
    assert next_step(found) is not_excluded(found) is None
    (swept,) = compare_runs([run for g in found.groups for run in g.runs], design=SWEEP)
    assert next_step(swept) == "what it gets right of the test images: lenet-predict sweep=1f3a"
    assert found.not_excluded == [found.leader]
    (found,) = compare_runs([*many(SELU, activation="selu"), *many(RELU, activation="relu")])
    assert verdict(found) == "selu wins: 91.10 % ± 0.15 (n=4), ahead of the other."


def test_a_winner_whose_lead_may_be_much_smaller_is_to_be_confirmed():
    reached = [0.91, 0.92, 0.93, 0.94]
    behind = [a - less for a, less in zip(reached, (0.01, 0.016, 0.02, 0.006), strict=True)]
    (found,) = compare_runs([*many(reached, activation="selu"), *many(behind, activation="relu")], design=SWEEP)
    assert verdict(found).startswith("selu wins")
    assert next_step(found).endswith("fresh seeds confirm it: lenet-compare sweep=1f3a confirm=1")


def test_a_configuration_that_diverges_does_not_win_over_its_survivors():
    diverging = [
        *many([0.95, 0.951, 0.952], activation="relu"),
        *(made(s, 0.1, "diverged", activation="relu") for s in (3, 4, 5)),
    ]
    steady = [*many([0.90, 0.901, 0.9, 0.902, 0.901, 0.9], activation="selu")]
    lower = many([0.88, 0.882, 0.88, 0.882, 0.881, 0.881], activation="tanh")
    (found,) = compare_runs([*diverging, *steady, *lower])
    assert [g.flags["activation"] for g in found.groups] == ["selu", "tanh", "relu"]
    assert verdict(found) == (
        "selu wins: 90.07 % ± 0.08 (n=6), ahead of the other one without a diverged run. "
        "relu diverged on 3 of 6 seeds; its other 3 reach 95.10 %."
    )
    assert found.lead(2) is None
    assert [g.flags["activation"] for g in found.not_excluded] == ["selu"]
    (found,) = compare_runs([*diverging, *steady])
    assert verdict(found).startswith("selu is the only one that never diverged: 90.07 % ± 0.08 (n=6). relu diverged on")


def test_where_all_diverge_none_wins():
    (found,) = compare_runs(
        [
            *many([0.95, 0.951], activation="relu"),
            made(2, 0.1, "diverged", activation="relu"),
            made(0, 0.9, activation="selu"),
            *(made(s, 0.1, "diverged", activation="selu") for s in (1, 2)),
        ]
    )
    assert verdict(found) == (
        "Each configuration diverged on some of its seeds, so none wins. "
        "relu diverged on 1 of 3 seeds; its other 2 reach 95.05 %. "
        "selu diverged on 2 of 3 seeds; the one that finished reaches 90.00 %."
    )
    assert found.not_excluded == []
    assert "clip_norm" in next_step(found)


@pytest.mark.parametrize("outcome", ["failed", "killed", "running", "not started"])
def test_while_runs_are_missing_none_wins(outcome):
    lost = [made(seed, None, outcome, activation="relu") for seed in (4, 5)]
    (found,) = compare_runs([*many(SELU, activation="selu"), *many(RELU, activation="relu"), *lost])
    assert verdict(found) == (
        "selu is first so far: 91.10 % ± 0.15 (n=4), ahead of the other. "
        f"2 of 6 seeds of relu are missing (2 {outcome})."
    )
    assert next_step(found) == "the same line again trains what is missing"


def test_a_pruned_run_is_not_missing():
    """A search gave it up for being worse."""
    (found,) = compare_runs([*many(SELU, activation="selu"), *many(RELU, activation="relu"), made(0, 0.5, "pruned")])
    assert found.groups[0].missing == 0
    assert "so far" not in verdict(found)


def test_single_seeds_say_nothing_about_luck():
    (found,) = compare_runs([made(0, 0.91, activation="selu"), made(0, 0.90, activation="relu")])
    assert verdict(found) == (
        "selu is first with 91.00 % of validation images. Whether that is luck can't be told from one seed each."
    )
    assert "'seed=range(1,6)'" in next_step(found)  # not the one that was seen
    assert not_excluded(found) is None


def test_a_leader_with_one_seed_does_not_silence_the_comparison_of_the_others():
    (found,) = compare_runs(
        [made(0, 0.95, activation="elu"), *many(SELU, activation="selu"), *many(RELU, activation="relu")]
    )
    assert verdict(found) == (
        "selu is first of those with several seeds with 91.10 % ± 0.15 (n=4), ahead of 1 of 2 others; "
        "elu with one seed has 95.00 %."
    )
    assert found.leader.flags["activation"] == "selu"
    assert [lead.test if lead else None for lead in found.leads] == ["none", None, "paired"]
    assert [g.flags["activation"] for g in found.not_excluded] == ["elu", "selu"]


def test_equal_results_are_called_equal():
    (found,) = compare_runs([made(0, 0.91, activation="selu"), made(0, 0.91, activation="relu")])
    assert verdict(found) == "selu and relu reached the same: 91.00 % of validation images."
    (found,) = compare_runs([*many([0.91, 0.92], activation="selu"), *many([0.91, 0.92], activation="relu")])
    assert verdict(found) == "selu is first with 91.50 % ± 0.71 (n=2); relu reached exactly the same."
    (found,) = compare_runs([*many([0.91, 0.92], activation="selu"), *many([0.90, 0.91], activation="relu")])
    assert verdict(found).endswith("on relu nothing can be said: there is no spread to judge by.")


def test_two_seeds_of_many_configurations_are_too_few():
    rng = np.random.default_rng(0)
    runs = [run for i in range(10) for run in many(0.9 + rng.normal(0, 0.003, 2), optimizer__lr=str(0.01 * i))]
    (found,) = compare_runs(runs, design=SWEEP)
    assert "2 seeds are too few to tell 10 configurations apart, 7 would show a difference of 3 times" in verdict(found)
    assert next_step(found).startswith("a confirmation with fresh seeds tells, enough of them")


def test_the_next_step_names_the_difference_seen_and_no_seeds_that_were_seen(comparison):
    (found,) = compare_runs([*many(SELU, activation="selu"), *many(TANH, activation="tanh")], design=SWEEP)
    assert next_step(found).endswith("than was seen: lenet-compare sweep=1f3a confirm=0.01")
    (found,) = compare_runs([*many({0: 0.9, 1: 0.952}), *many({0: 0.88, 1: 0.9}, activation="relu")], design=SWEEP)
    assert next_step(found).endswith("confirm=4")


def test_the_next_step_is_one_that_is_not_refused():
    one, other = [0.824, 0.882, 0.928], [0.915, 0.852, 0.865]  # 0.07 points, of a spread of 8
    (found,) = compare_runs([*many(one, activation="tanh"), *many(other, activation="selu")], design=SWEEP)
    with pytest.raises(ConfigError, match="more than 1,000 seeds"):
        plan(found, 0.0007)
    points = float(next_step(found).rpartition("=")[2])
    assert 0.07 < points < 10
    assert plan(found, points / 100).seeds <= 1000


def test_a_difference_beyond_any_number_of_seeds_is_said_so():
    same = {0: 0.9, 1: 0.91, 2: 0.92}
    (found,) = compare_runs([*many(same, activation="selu"), *many({0: 0.91, 1: 0.9, 2: 0.91998}, activation="relu")])
    assert (
        against_leader(found.lead(1))
        == "can't be told apart with n=3; not even 1,000 seeds would tell the 0.00 points seen"
    )


def test_a_leader_that_is_worse_over_the_common_seeds_is_not_called_ahead():
    # The other is better on both seeds that they share; on others the leader made up for it.
    leader = {0: 0.90, 1: 0.9001, 2: 0.95, 3: 0.95, 4: 0.95}
    (found,) = compare_runs([*many(leader, activation="selu"), *many({0: 0.91, 1: 0.91011}, activation="relu")])
    assert (found.lead(1).differs, found.lead(1).ahead) == (True, False)
    assert against_leader(found.lead(1)).startswith("behind it by 1.00 points (")
    assert "wins" not in verdict(found)


def test_the_last_epoch_can_be_compared():
    (found,) = compare_runs([*many(SELU, activation="selu"), *many(RELU, activation="relu")], by=By.last)
    assert found.groups[0].mean == pytest.approx(np.mean(SELU) - 0.01)


def test_different_numbers_of_epochs_are_said_to_favour_the_longer():
    runs = [*many(SELU, num_epoch="10"), *many(TANH, num_epoch="3")]
    assert any("num_epoch" in note and "by=last" in note for note in notes(compare_runs(runs)[0]))
    assert not any("num_epoch" in note for note in notes(compare_runs(runs, by=By.last)[0]))


def test_the_sampling_error_of_the_validation_images_is_told():
    (found,) = compare_runs([*many(SELU, activation="selu"), *many(TANH, activation="tanh")])
    assert notes(found) == [
        "the luck is that of the seeds, on these 10,000 validation images; an accuracy of 91.10 % on so many has a "
        "sampling error of 0.28 points"
    ]


def crossed(values, **flags):
    """Runs by seed and split."""
    return [made(seed, v, split_seed=str(split), **flags) for (seed, split), v in values.items()]


def test_a_swept_split_is_luck_and_makes_no_configurations():
    rng = np.random.default_rng(0)
    of_split = rng.normal(0, 0.01, 3)
    a, b = (
        {(i, j): mean + of_split[j] + rng.normal(0, 0.001) for i in range(5) for j in range(3)} for mean in (0.91, 0.9)
    )
    runs = [*crossed(a, activation="selu"), *crossed(b, activation="relu")]
    (found,) = compare_runs(runs, swept=["activation", "seed", "split_seed"])
    assert found.flags == ["activation"]
    assert [(g.n, g.splits) for g in found.groups] == [(15, 3), (15, 3)]
    assert (found.lead(1).n, found.lead(1).df) == (15, 2)
    assert found.lead(1).points == pytest.approx(np.mean(list(a.values())) - np.mean(list(b.values())))
    assert against_leader(replace(found.lead(1), differs=False, points=0.003)).endswith(
        "seeds and as many splits would tell the 0.30 points seen"
    )
    (note,) = notes(found)
    assert "of the seeds and the splits (15 runs of 5 seeds and 3 splits, which share them)" in note
    (found,) = compare_runs(runs, swept=["activation", "seed"])
    assert found.flags == ["activation", "split_seed"]


def test_splits_of_other_data_files_are_no_luck():
    runs = [
        replace(run, data=f"train={run.flags['split_seed']}")
        for run in crossed({(0, 0): 0.9, (1, 0): 0.91, (0, 1): 0.8, (1, 1): 0.81})
    ]
    (found,) = compare_runs(runs, swept=["split_seed"])
    assert found.flags == ["split_seed"]


def test_no_finished_run_is_no_leader():
    (found,) = compare_runs([made(0, None, "failed"), made(1, 0.3, "diverged")])
    assert found.leader is None
    assert verdict(found) == "No run finished: 1 diverged, 1 failed."


def test_one_configuration_is_only_described():
    (found,) = compare_runs(many(SELU))
    assert (found.flags, found.leads) == ([], [None])
    assert notes(found) == []
    assert verdict(found) == "mnist: 91.10 % ± 0.15 (n=4)."


def test_data_sets_are_not_compared_with_each_other(runs):
    both = compare_runs([*runs, *many([0.99, 0.98], dataset="digits")])
    assert [(c.dataset, len(c.groups)) for c in both] == [("mnist", 7), ("digits", 1)]


def test_of_several_runs_with_the_same_seed_the_last_counts():
    (found,) = compare_runs([made(0, 0.5), made(0, 0.9), made(1, 0.92)])
    assert found.groups[0].accuracy == {(0, 0): 0.9, (1, 0): 0.92}


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
    assert {found.name(g) for g in found.groups} == {"rotate=10", "mnist"}


def test_how_runs_were_executed_makes_configurations_only_where_it_was_swept():
    runs = [*many(SELU, num_threads="1", engine="torch"), *many({7: 0.9}, num_threads="2")]  # engine: an older run
    (found,) = compare_runs([*runs, made(8, None, "not started", num_threads="null")])
    assert [(group.n, group.missing) for group in found.groups] == [(len(SELU) + 1, 1)]
    (found,) = compare_runs(runs, swept=["num_threads"])
    assert found.flags == ["num_threads"]
    assert sorted(group.n for group in found.groups) == [1, len(SELU)]


def test_a_flag_that_an_older_release_did_not_know_is_at_its_neutral_value():
    now = {"dataset": "mnist", "regularization.dropout_rate": "0.0", "augmentation.flip": "0.0", "seed": "3"}
    old = {flag: value for flag, value in now.items() if flag != "augmentation.flip"}
    assert split_seed_off(old) == split_seed_off(now)
    assert split_seed_off(now | {"augmentation.flip": "0.5"}) != split_seed_off(old)


OUTCOMES = ["finished", "finished", "finished", "diverged", "failed", "killed", "running", "not started", "pruned"]
ANY_RUN = st.builds(
    lambda activation, seed, split, outcome, accuracy: made(
        seed,
        accuracy if outcome in {"finished", "diverged", "pruned"} else None,
        outcome,
        activation=activation,
        split_seed=str(split),
    ),
    st.sampled_from(["selu", "relu", "tanh", "elu"]),
    st.integers(0, 4),
    st.sampled_from([0, 0, 0, 1]),
    st.sampled_from(OUTCOMES),
    st.floats(0.1, 1.0).map(lambda x: round(x, 2)),
)


@given(st.lists(ANY_RUN, min_size=1, max_size=24), st.booleans(), st.sampled_from(list(By)))
def test_whatever_runs_came_to_words_are_true_to_the_numbers(runs, pooled, by):
    (found,) = compare_runs(runs, ["activation", "split_seed"] if pooled else ["activation"], by)
    text = verdict(found)
    stable = [g for g in found.groups if g.n and not g.diverged]
    assert found.not_excluded == [g for g in stable if g in found.not_excluded]
    assert (found.leader in found.not_excluded) == bool(stable)
    if "wins" in text.replace("none wins", ""):
        assert not any(g.missing for g in found.groups)
        assert found.not_excluded == [found.leader]
        assert all(lead.ahead for lead in found.leads if lead is not None)
    if any(g.missing for g in found.groups):
        assert next_step(found) == "the same line again trains what is missing"
    for group, lead in zip(found.groups, found.leads, strict=True):
        if lead is not None:
            assert group.n
            assert not group.diverged
            assert against_leader(lead)
        if group.diverged:
            assert lead is None
    assert all(notes(found))
    order = [(g.n == 0, g.diverged > 0) for g in found.groups]
    assert order == sorted(order)


def test_of_so_many_all_right_says_what_that_means():
    (found,) = compare_runs([*many([1.0, 1.0, 1.0]), *many([0.9, 0.91, 0.92], activation="relu")])
    assert "100.00 % of so many means 99.97 % or more of all (95 %)" in notes(found)[0]


def test_configurations_with_long_names_are_called_by_their_place_in_the_table():
    runs = []
    for n, accuracies in enumerate([SELU, TANH, [0.9098, 0.9121, 0.9090, 0.9119]]):
        flags = {"optimizer__lr": f"0.128{n}", "label_smoothing": f"0.0{n}", "weight_decay": f"0.000{n}"}
        runs += many(accuracies, **flags)
    (found,) = compare_runs(runs)
    first = found.name(found.leader)
    assert len(first) > 30
    assert verdict(found).startswith(f"{first} is first with 91.10 % ± 0.15 (n=4); it can't be told apart from #2, #3")
    assert not_excluded(found) == "not excluded as best: 3 of 3: #1, #2, #3"


def test_recipes_are_named_and_stand_for_what_follows_from_them():
    def of(recipe: str, accuracies: list[float], **flags: str) -> list[ComparedRun]:
        return [replace(run, recipe=recipe) for run in many(accuracies, **flags)]

    fast = of("fast", [0.91, 0.92], num_epoch="2", optimizer__lr="0.1")
    best = of("best", [0.95, 0.96], num_epoch="50", optimizer__lr="0.05")
    (found,) = compare_runs([*fast, *best], ["experiment"])
    assert found.flags == ["experiment"]
    assert [found.name(g) for g in found.groups] == ["best", "fast"]
    assert any("they differ in num_epoch" in note for note in notes(found))
    wide = of("best", [0.93, 0.94], num_epoch="50", optimizer__lr="0.1")
    (found,) = compare_runs([*fast, *best, *wide], ["experiment", "optimizer.lr"])  # another flag was swept besides
    assert found.flags == ["experiment", "optimizer.lr"]
    (found,) = compare_runs([*fast, *(replace(run, recipe="") for run in best)])  # with runs of no recipe
    assert found.flags == ["optimizer.lr", "num_epoch"]
