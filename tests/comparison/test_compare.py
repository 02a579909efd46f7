"""Comparisons of made-up runs with known differences: groups, ranking, columns, and wording."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lenet_exp.comparison.advice import NextStep, advice
from lenet_exp.comparison.compare import Comparison, compare_runs
from lenet_exp.comparison.confirmation_plan import plan_confirmation
from lenet_exp.comparison.design import Design
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.runs import ComparedRun, flags_and_seed
from lenet_exp.comparison.verdict import Relation, relation_of, verdict_of
from lenet_exp.config.schema import EpochChoice
from lenet_exp.errors import ConfigError
from lenet_exp.reports.columns import columns
from lenet_exp.reports.files.comparison_tex import tex
from lenet_exp.reports.run_source import RunSource
from lenet_exp.reports.words.next_steps import next_step, notes
from lenet_exp.reports.words.remarks import against_leader, remark
from lenet_exp.reports.words.verdict import verdict
from tests.comparison.made_up import made, many

SWEEP = Design(8, 0, sweep="1f3a")
IS_BEST = "It is the best of"
SELU = [0.9101, 0.9126, 0.9093, 0.9119]
TANH = [0.9098, 0.9131, 0.9085, 0.9120]  # as good as selu
RELU = {0: 0.9060, 1: 0.9081, 2: 0.9050, 3: 0.9079}  # worse
ELU = {0: 0.9010, 7: 0.9003, 8: 0.9016}  # worse; one seed in common with selu


@pytest.fixture
def runs() -> list[ComparedRun]:
    """Two groups that do not differ, two that are worse, one with a single seed, and two with
    diverged runs.
    """
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
    (comparison,) = compare_runs(runs)
    return comparison


def activations(groups: list[Group]) -> list[str]:
    return [group.flags["activation"] for group in groups]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ({"metric": "mine", "metric.k": "2"}, {"metric": "mine", "metric.k": "3"}, False),
        ({"metric": "mine", "metric.code": "1a"}, {"metric": "mine", "metric.code": "2b"}, False),
        (
            {"metric": "mine", "metric.code": "1a", "model.code": "1a"},
            {"metric": "mine", "metric.code": "2b", "model.code": "2b"},
            True,
        ),
        ({"metric": "loss", "loss": "focal"}, {"metric": "loss", "loss": "cross_entropy"}, False),
        (
            {"metric": "accuracy", "loss": "focal"},
            {"metric": "accuracy", "loss": "cross_entropy"},
            True,
        ),
    ],
)
def test_only_equally_defined_metrics_are_compared(first, second, same):
    runs = [made(0, 0.9, **first), made(0, 0.8, **second)]
    if same:
        assert len(compare_runs(runs)) == 1
    else:
        with pytest.raises(ConfigError):
            compare_runs(runs)


def test_epoch_is_last_if_all_runs_select_it():
    selu = many(SELU, activation="selu", training__select="last")
    relu = many(SELU, activation="relu", training__select="last")
    (of_last_epochs,) = compare_runs([*selu, *relu])
    (mixed,) = compare_runs([*selu, *many(TANH)])
    assert of_last_epochs.epoch == EpochChoice.last
    assert mixed.epoch == EpochChoice.best


def test_runs_are_grouped_by_configuration_and_ranked(comparison):
    # one run of rrelu diverged
    ranking = ["selu", "tanh", "relu", "elu", "gelu", "rrelu", "prelu"]
    assert activations(comparison.groups) == ranking
    assert [group.n for group in comparison.groups] == [4, 4, 4, 3, 1, 1, 0]
    assert comparison.flags == ["activation"]
    assert comparison.num_runs == 21


def test_own_classes_with_same_name_are_different_configurations():
    runs = [
        *many([0.9, 0.91], model="net", model___target_="mineA.Net"),
        *many([0.8, 0.81], model="net", model___target_="mineB.Net"),
    ]
    (comparison,) = compare_runs(runs)
    first, second = comparison.groups
    assert comparison.name(first) == "class=mineA.Net"
    assert comparison.name(second) == "class=mineB.Net"
    assert first.mean == pytest.approx(0.905)
    assert second.mean == pytest.approx(0.805)


@pytest.mark.parametrize("swept", [["model"], []])
def test_class_is_not_shown_if_names_distinguish_networks(swept):
    runs = [
        *many([0.9, 0.91], model="a", model___target_="mine.a"),
        *many([0.9, 0.91], model="b", model___target_="mine.b"),
        *many([0.8, 0.81], model="lenet5"),
    ]
    (comparison,) = compare_runs(runs, swept)
    assert comparison.flags == ["model"]


def test_statistics_of_group_use_only_finished_runs(comparison):
    selu = comparison.groups[0]
    rrelu = comparison.groups[5]
    prelu = comparison.groups[6]

    assert selu.mean == pytest.approx(0.910975)
    sd = np.std(SELU, ddof=1)
    assert selu.sd == pytest.approx(sd)
    error = sd / 2
    assert selu.interval == pytest.approx(stats.t.interval(0.95, 3, np.mean(SELU), error))

    assert rrelu.mean == 0.99
    assert rrelu.best_epoch == 2
    assert rrelu.seconds_to_best == 1.5
    assert math.isnan(rrelu.sd)
    assert rrelu.outcomes == {"finished": 1, "diverged": 1, "failed": 1}

    assert math.isnan(prelu.mean)
    assert prelu.outcomes == {"diverged": 1, "not started": 1}

    (near_100_percent,) = compare_runs(many([0.999, 0.95]))
    assert near_100_percent.groups[0].interval[1] == 1.0


def test_leader_is_compared_with_each_other_group(comparison):
    leads = dict(zip(activations(comparison.groups), comparison.leads, strict=True))
    assert leads["selu"] is None  # the leader
    assert leads["rrelu"] is None  # a diverged run
    assert leads["prelu"] is None  # no finished run

    compared = {name: lead for name, lead in leads.items() if lead is not None}
    assert {name: lead.test for name, lead in compared.items()} == {
        "tanh": "paired",
        "relu": "paired",
        "elu": "welch",
        "gelu": "none",
    }
    assert {name: lead.n for name, lead in compared.items()} == {
        "tanh": 4,
        "relu": 4,
        "elu": 3,
        "gelu": 1,
    }
    assert {name: lead.differs for name, lead in compared.items()} == {
        "tanh": False,
        "relu": True,
        "elu": True,
        "gelu": False,
    }

    p_of_two_groups = stats.ttest_rel(SELU, list(RELU.values())).pvalue
    assert leads["relu"].p < p_of_two_groups  # four groups contribute to the variance
    assert activations(comparison.not_excluded) == ["selu", "tanh", "gelu"]


def test_result_is_described_in_words(comparison):
    """This is the only test of the wording."""
    selu, tanh, relu, elu, gelu, *_ = (remark(comparison, position) for position in range(7))
    assert selu == "leader"
    assert tanh == "0.01 lower, at most 0.09 points better"
    assert relu == "0.42 lower, not the best"
    assert elu.startswith("1.00 lower, not the best")
    assert gelu == "not judged: one seed; 1.05 lower"

    text = verdict(comparison)
    assert text.startswith("selu leads so far: 91.10% (sd 0.15, n = 4). The best of the 4 that are")
    assert "is this one or tanh, which is at most 0.09 points better (error rate 5%)" in text
    assert " is missing (1 failed)" in text
    assert IS_BEST not in text
    assert next_step(comparison) is not None


def test_details_show_the_tests_of_all_pairs(comparison):
    (pairs,) = [column for column in columns(comparison) if column.is_detail]
    low = comparison.leads[2].low * 100
    high = comparison.leads[2].high * 100
    assert pairs.text(comparison, 2) == f"behind by 0.42 points ({low:.2f} to {high:.2f})"
    assert pairs.text(comparison, 1) == "could be the best; 0.01 points lower"
    assert pairs not in columns(comparison, details=False)


def test_significant_difference_hides_interval_with_zero():
    runs = [
        *many([0.91, 0.92, 0.93, 0.94], activation="selu"),
        *many([0.9, 0.904, 0.91, 0.934], activation="relu"),
    ]
    (comparison,) = compare_runs(runs)
    lead = replace(comparison.leads[1], low=-0.001)
    relu = comparison.groups[1]
    assert against_leader(comparison, relu, lead, Relation.behind) == "behind by 1.30 points"


def test_unstable_configuration_is_listed_separately():
    runs = []
    for n in range(6):
        noise = np.random.default_rng(n).normal(size=5)
        runs += many(0.9 + 0.001 * noise, lr=str(n))
    runs += many([0.9, 0.2, 0.8, 0.1, 0.9], lr="9")

    (comparison,) = compare_runs(runs)

    unstable = comparison.groups[6]
    assert "Not judged: lr=9 (unstable: " in verdict(comparison)
    assert remark(comparison, 6).startswith("not judged: unstable (sd 39.62); ")
    assert relation_of(comparison, 0).value == "leader"
    assert relation_of(comparison, 6).value == "unstable"
    assert unstable in comparison.not_excluded
    assert r"58.00 $\pm$ 39.62 (unstable) &" in tex([comparison], RunSource("lenet-train -m"))
    assert unstable not in plan_confirmation(comparison, 0.01).groups


def test_verdict_warns_of_collapsed_run():
    runs = [
        *many([0.981, 0.983, 0.982], activation="selu"),
        *many([0.985, 0.984, 0.113], activation="relu"),
    ]
    (comparison,) = compare_runs(runs)
    assert "seed 2 of relu" in verdict(comparison)
    assert "11.30%" in verdict(comparison)


def test_clear_winner_is_reported():
    two = [*many(SELU, activation="selu"), *many(RELU, activation="relu")]
    three = [*two, *many(ELU, activation="elu")]
    for runs, number in ((two, 2), (three, 3)):
        (comparison,) = compare_runs(runs)
        text = verdict(comparison)
        assert text.startswith("Use selu: ")
        assert f"{IS_BEST} the {number} (error rate 5%)" in text
        assert next_step(comparison) is None
        assert comparison.not_excluded == [comparison.leader]

    (of_sweep,) = compare_runs(three, design=SWEEP)
    assert next_step(of_sweep).endswith("lenet-predict sweep=1f3a")


def test_more_seeds_are_suggested_for_smaller_difference():
    noise = np.random.default_rng(1).normal(0, 0.002, size=(3, 4))
    runs = [
        *many(0.9 + noise[0], activation="selu"),
        *many(0.9 + noise[1], activation="tanh"),
        *many(0.8 + noise[2], activation="relu"),
    ]
    (comparison,) = compare_runs(runs, design=SWEEP)
    _, bound = verdict_of(comparison).rivals[0]

    advised = advice(comparison)

    assert advised.step is NextStep.within
    assert float(advised.points) < 100 * bound
    assert advised.runs > 0
    command = f"lenet-train -m sweep.resume=1f3a sweep.within={advised.points}"
    assert next_step(comparison).endswith(command)


@pytest.mark.parametrize(
    ("design", "seeds"),
    [
        (replace(SWEEP, earlier_runs=2), range(4)),  # the verdict would have a caution
        (replace(SWEEP, sweep="", sweeps=2), range(4)),
        (SWEEP, range(1, 5)),  # a configuration has other seeds
    ],
)
def test_sweep_that_cannot_add_seeds_is_not_continued(design, seeds):
    tanh = dict(zip(seeds, TANH, strict=True))
    runs = [
        *many(SELU, activation="selu"),
        *many(RELU, activation="relu"),
        *many(tanh, activation="tanh"),
    ]
    (comparison,) = compare_runs(runs, design=design)
    assert advice(comparison).step is NextStep.confirm


def test_configuration_with_diverged_runs_does_not_win():
    diverging = many([0.95, 0.951, 0.952], activation="relu")
    diverging += [made(seed, 0.1, "diverged", activation="relu") for seed in (3, 4, 5)]
    steady = many([0.90, 0.901, 0.9, 0.902, 0.901, 0.9], activation="selu")
    lower = many([0.88, 0.882, 0.88, 0.882, 0.881, 0.881], activation="tanh")

    (comparison,) = compare_runs([*diverging, *steady, *lower])

    assert activations(comparison.groups) == ["selu", "tanh", "relu"]
    assert activations(comparison.not_excluded) == ["selu"]
    assert comparison.leads[2] is None
    text = verdict(comparison)
    assert text.startswith("Use selu: ")
    assert f"{IS_BEST} the 2 without a diverged run" in text
    assert "3 of 6" in text
    assert "95.10%" in text

    (with_one_steady,) = compare_runs([*diverging, *steady])
    assert IS_BEST not in verdict(with_one_steady)


def test_no_configuration_wins_if_all_have_diverged_runs():
    runs = [
        made(0, 0.95, activation="relu"),
        made(1, 0.951, activation="relu"),
        made(2, 0.1, "diverged", activation="relu"),
        made(0, 0.9, activation="selu"),
        made(1, 0.1, "diverged", activation="selu"),
        made(2, 0.1, "diverged", activation="selu"),
    ]
    (comparison,) = compare_runs(runs)
    percentages = re.findall(r"[\d.]+%", verdict(comparison))
    assert "95.05%" in percentages
    assert "90.00%" in percentages
    assert comparison.not_excluded == []
    assert "clip_norm" in next_step(comparison)


def test_missing_runs_prevent_a_winner_but_pruned_runs_do_not():
    runs = [*many(SELU, activation="selu"), *many(RELU, activation="relu")]

    killed = [made(seed, None, "killed", activation="relu") for seed in (4, 5)]
    (comparison,) = compare_runs([*runs, *killed])
    assert IS_BEST not in verdict(comparison)
    assert "(2 killed)" in verdict(comparison)
    assert next_step(comparison) is not None

    # a search pruned it because it was worse
    (comparison,) = compare_runs([*runs, made(0, 0.5, "pruned")])
    assert comparison.groups[0].missing == 0
    assert IS_BEST in verdict(comparison)


def test_single_seeds_have_no_winner_and_suggest_more_seeds():
    runs = [made(0, 0.91, activation="selu"), made(0, 0.90, activation="relu")]
    (comparison,) = compare_runs(runs)
    assert IS_BEST not in verdict(comparison)
    assert "91.00%" in verdict(comparison)
    assert "'seed=range(1,6)'" in next_step(comparison)  # seed 0 is already trained


def test_best_configuration_with_single_seed_is_not_the_leader():
    runs = [
        made(0, 0.95, activation="elu"),
        *many(SELU, activation="selu"),
        *many(RELU, activation="relu"),
    ]
    (comparison,) = compare_runs(runs)

    assert "95.00%" in verdict(comparison)
    assert comparison.leader.flags["activation"] == "selu"
    elu, selu, relu = comparison.leads
    assert elu.test == "none"
    assert selu is None
    assert relu.test == "paired"
    assert activations(comparison.not_excluded) == ["elu", "selu"]


def test_equal_results_have_no_winner():
    for selu, relu in (
        ([0.91], [0.91]),
        ([0.91, 0.92], [0.91, 0.92]),
        ([0.91, 0.92], [0.90, 0.91]),
    ):
        runs = [*many(selu, activation="selu"), *many(relu, activation="relu")]
        (comparison,) = compare_runs(runs)
        text = verdict(comparison)
        assert IS_BEST not in text
        assert "selu" in text
        assert "relu" in text
        assert [lead.test for lead in comparison.leads if lead] == ["none"]


def test_tie_suggests_no_confirmation():
    selu = many([0.9, 0.91, 0.92], activation="selu")

    equal = many([0.92, 0.9, 0.91], activation="tanh")
    (tie,) = compare_runs([*selu, *equal], design=SWEEP)
    assert "tied with" in verdict(tie)
    assert next_step(tie).endswith("lenet-predict sweep=1f3a")

    nearly_equal = many([0.919, 0.9, 0.91], activation="tanh")
    (near,) = compare_runs([*selu, *nearly_equal], design=SWEEP)
    assert "tied with" not in verdict(near)
    assert "confirm=" in next_step(near)


def test_unfinished_configurations_rank_last_by_reached_accuracy():
    runs = [
        made(0, 0.54, "pruned", lr="0.54"),
        made(0, 0.92, "pruned", lr="0.92"),
        made(0, 0.7, "pruned", lr="0.7"),
        *many([0.5, 0.51], lr="0.1"),
        made(0, None, "failed", lr="9"),
    ]
    (comparison,) = compare_runs(runs)
    ranking = [group.flags["lr"] for group in comparison.groups]
    assert ranking == ["0.1", "0.92", "0.7", "0.54", "9"]


def test_next_step_plans_for_observed_difference():
    small = [*many(SELU, activation="selu"), *many(TANH, activation="tanh")]
    (comparison,) = compare_runs(small, design=SWEEP)
    points = float(next_step(comparison).rpartition("sweep=1f3a confirm=")[2])
    assert points == 0.1  # 0.01 would require too many seeds
    assert plan_confirmation(comparison, points / 100).seeds <= 100

    large = [*many([0.9, 0.952], activation="selu"), *many([0.88, 0.9], activation="relu")]
    (comparison,) = compare_runs(large, design=SWEEP)
    assert next_step(comparison).endswith("(188 runs): lenet-compare sweep=1f3a confirm=2")


def test_leader_that_is_worse_on_common_seeds_does_not_win():
    # relu is better on both common seeds; selu leads because of its other seeds.
    selu = {0: 0.90, 1: 0.9001, 2: 0.95, 3: 0.95, 4: 0.95}
    relu = {0: 0.91, 1: 0.91011}
    (comparison,) = compare_runs([*many(selu, activation="selu"), *many(relu, activation="relu")])
    assert comparison.leads[1].differs
    assert not comparison.leads[1].ahead
    assert remark(comparison, 1).startswith("1.00 higher over 2 common seeds, at most ")
    assert IS_BEST not in verdict(comparison)


def test_note_warns_if_numbers_of_epochs_differ():
    runs = [*many(SELU, num_epoch="10"), *many(TANH, num_epoch="3")]
    (by_best,) = compare_runs(runs)
    (by_last,) = compare_runs(runs, by=EpochChoice.last)
    assert any("num_epoch" in note and "by=last" in note for note in notes(by_best))
    assert not any("num_epoch" in note for note in notes(by_last))
    assert by_last.groups[0].mean == pytest.approx(np.mean(SELU) - 0.01)


def crossed(accuracies: dict[tuple[int, int], float], **flags: str) -> list[ComparedRun]:
    """Return runs from accuracies by seed and split."""
    runs = []
    for (seed, split), accuracy in accuracies.items():
        runs.append(made(seed, accuracy, split_seed=str(split), **flags))
    return runs


def test_swept_split_seed_adds_replicates_not_configurations():
    rng = np.random.default_rng(0)
    effect_of_split = rng.normal(0, 0.01, 3)

    def accuracies(mean: float) -> dict[tuple[int, int], float]:
        by_replicate = {}
        for seed in range(5):
            for split in range(3):
                noise = rng.normal(0, 0.001)
                by_replicate[seed, split] = mean + effect_of_split[split] + noise
        return by_replicate

    selu = accuracies(0.91)
    relu = accuracies(0.9)
    runs = [*crossed(selu, activation="selu"), *crossed(relu, activation="relu")]

    (comparison,) = compare_runs(runs, swept=["activation", "seed", "split_seed"])
    assert comparison.flags == ["activation"]
    assert [group.n for group in comparison.groups] == [15, 15]
    assert [group.splits for group in comparison.groups] == [3, 3]
    assert comparison.leads[1].n == 15
    difference = np.mean(list(selu.values())) - np.mean(list(relu.values()))
    assert comparison.leads[1].points == pytest.approx(difference)
    (note,) = notes(comparison)
    assert "15 runs" in note

    (not_swept,) = compare_runs(runs, swept=["activation", "seed"])
    assert not_swept.flags == ["activation", "split_seed"]


def test_nothing_is_compared_without_two_finished_configurations():
    (none_finished,) = compare_runs([made(0, None, "failed"), made(1, 0.3, "diverged")])
    assert none_finished.leader is None
    assert "1 diverged" in verdict(none_finished)
    assert "1 failed" in verdict(none_finished)

    (one_configuration,) = compare_runs(many(SELU))
    assert one_configuration.flags == []
    assert one_configuration.leads == [None]
    assert notes(one_configuration) == []
    assert "91.10 ± 0.15% (n = 4)" in verdict(one_configuration)


def test_datasets_are_compared_separately(runs):
    mnist, digits = compare_runs([*runs, *many([0.99, 0.98], dataset="digits")])
    assert mnist.dataset == "mnist"
    assert len(mnist.groups) == 7
    assert digits.dataset == "digits"
    assert len(digits.groups) == 1


def test_last_of_several_runs_with_same_seed_counts():
    (comparison,) = compare_runs([made(0, 0.5), made(0, 0.9), made(1, 0.92)])
    assert comparison.groups[0].accuracy == {(0, 0): 0.9, (1, 0): 0.92}


def test_columns_are_differing_flags_with_swept_flags_first(runs):
    more = many(SELU, optimizer__lr="0.1", num_epoch="3")
    (comparison,) = compare_runs([*runs, *more], swept=["optimizer.lr", "activation"])
    assert comparison.flags == ["optimizer.lr", "activation"]


def test_flags_implied_by_another_flag_are_not_columns():
    adam = many(SELU, optimizer="adam", optimizer__betas="[0.9, 0.999]")
    sgd = many(TANH, optimizer="sgd", optimizer__momentum="0.9")
    (comparison,) = compare_runs([*adam, *sgd])
    assert comparison.flags == ["optimizer"]

    plain_sgd = many(RELU, optimizer="sgd", optimizer__momentum="0")
    (comparison,) = compare_runs([*adam, *sgd, *plain_sgd])
    assert comparison.flags == ["optimizer", "optimizer.momentum"]
    assert [comparison.values(group) for group in comparison.groups] == [
        ["adam", "-"],
        ["sgd", "0.9"],
        ["sgd", "0"],
    ]


def test_environment_separates_configurations_only_if_swept():
    runs = [
        *many(SELU, num_threads="1", engine="torch"),
        *many({7: 0.9}, num_threads="2"),  # an older run, which has no engine
    ]

    not_started = made(8, None, "not started", num_threads="null")
    (comparison,) = compare_runs([*runs, not_started])
    (group,) = comparison.groups
    assert group.n == len(SELU) + 1
    assert group.missing == 1

    (comparison,) = compare_runs(runs, swept=["num_threads"])
    assert comparison.flags == ["num_threads"]
    assert sorted(group.n for group in comparison.groups) == [1, len(SELU)]


def test_flag_missing_in_older_run_has_neutral_value():
    older = {"dataset": "mnist", "regularization.dropout_rate": "0.0", "seed": "3"}
    assert flags_and_seed(older) == flags_and_seed(older | {"augmentation.flip": "0.0"})
    assert flags_and_seed(older) != flags_and_seed(older | {"augmentation.flip": "0.5"})


OUTCOMES = [
    "finished",
    "finished",
    "finished",
    "diverged",
    "failed",
    "killed",
    "running",
    "not started",
    "pruned",
]
ACTIVATIONS = ["selu", "relu", "tanh", "elu"]
ACCURACY = st.floats(0.1, 1.0).map(lambda x: round(x, 2))


@st.composite
def any_run(draw) -> ComparedRun:
    outcome = draw(st.sampled_from(OUTCOMES))
    accuracy = draw(ACCURACY)
    has_accuracy = outcome in {"finished", "diverged", "pruned"}
    activation = draw(st.sampled_from(ACTIVATIONS))
    split_seed = draw(st.sampled_from([0, 0, 0, 1]))
    seed = draw(st.integers(0, 4))
    return made(
        seed,
        accuracy if has_accuracy else None,
        outcome,
        activation=activation,
        split_seed=str(split_seed),
    )


@given(
    st.lists(any_run(), min_size=1, max_size=24), st.booleans(), st.sampled_from(list(EpochChoice))
)
def test_phrases_agree_with_the_numbers_for_any_results(runs, pooled, by):
    swept = ["activation", "split_seed"] if pooled else ["activation"]
    (comparison,) = compare_runs(runs, swept, by)
    groups = comparison.groups

    stable = [group for group in groups if group.n and not group.diverged]
    not_excluded = comparison.not_excluded
    assert not_excluded == [group for group in stable if group in not_excluded]
    assert (comparison.leader in not_excluded) == bool(stable)

    some_missing = any(group.missing for group in groups)
    if IS_BEST in verdict(comparison):
        assert not some_missing
        judged = verdict_of(comparison)
        assert not judged.rivals
        assert judged.related(Relation.behind)
    if some_missing:
        assert next_step(comparison) is not None

    for position, (group, lead) in enumerate(zip(groups, comparison.leads, strict=True)):
        if lead is not None:
            assert group.n
            assert not group.diverged
            assert remark(comparison, position)
        if group.diverged:
            assert lead is None
    assert all(notes(comparison))
    order = [(group.n == 0, group.diverged > 0) for group in groups]
    assert order == sorted(order)


def test_recipe_column_replaces_flags_set_by_recipe():
    without_recipe = many([0.95, 0.96], num_epoch="50", optimizer__lr="0.05")
    best = [replace(run, recipe="best") for run in without_recipe]
    flags_of_fast = {"num_epoch": "2", "optimizer__lr": "0.1"}
    fast = [replace(run, recipe="fast") for run in many([0.91, 0.92], **flags_of_fast)]

    (comparison,) = compare_runs([*fast, *best], ["experiment"])
    assert comparison.flags == ["experiment"]
    assert [comparison.name(group) for group in comparison.groups] == ["best", "fast"]
    assert any("num_epoch" in note for note in notes(comparison))

    (comparison,) = compare_runs([*fast, *without_recipe])
    assert comparison.flags == ["optimizer.lr", "num_epoch"]
