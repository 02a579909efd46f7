"""Parts of a comparison and matrices of results, whose tests are corrected for the whole
comparison.
"""

from __future__ import annotations

from random import Random

import pytest

from lenet_exp.comparison.compare import Comparison, compare_runs
from lenet_exp.comparison.design import Design
from lenet_exp.comparison.part import PartOfComparison, select_part
from lenet_exp.comparison.runs import ComparedRun
from lenet_exp.comparison.statistics.differences import Difference
from lenet_exp.errors import ConfigError
from lenet_exp.reports.files.comparison_plots import paper_figure
from lenet_exp.reports.files.figure_layout import EXCLUDED_COLOR
from lenet_exp.reports.files.matrix import matrix_of
from lenet_exp.reports.page.page_data import page_data
from lenet_exp.reports.run_source import RunSource
from lenet_exp.reports.terminal.leaderboard import effect_lines
from lenet_exp.reports.words.best_candidates import best_lines
from lenet_exp.reports.words.next_steps import cautions, next_step
from tests.comparison.made_up import made, many

FLAGS = ["activation", "optimizer.lr"]
MEANS = {
    ("selu", "0.1"): 0.98,
    ("selu", "0.01"): 0.97,
    ("tanh", "0.1"): 0.95,
    ("tanh", "0.01"): 0.96,
    ("relu", "0.1"): 0.94,
    ("relu", "0.01"): 0.93,
}


def grid(spread: float = 0.001, n: int = 3, dataset: str = "mnist", means=MEANS) -> Comparison:
    """Compare configurations of two flags with these means."""
    random = Random(dataset)
    runs = []
    for (activation, lr), mean in means.items():
        accuracies = [mean + random.gauss(0, spread) for _ in range(n)]
        runs += many(accuracies, activation=activation, optimizer__lr=lr, dataset=dataset)
    (comparison,) = compare_runs(runs, FLAGS)
    return comparison


def runs_of(comparison: Comparison) -> list[ComparedRun]:
    return [run for group in comparison.groups for run in group.runs]


def names(comparison: Comparison) -> list[str]:
    return [comparison.name(group) for group in comparison.groups]


def leads_by_name(comparison: Comparison) -> dict[str, Difference | None]:
    """Return how far the leader is ahead of each configuration, by the configuration's name."""
    return dict(zip(names(comparison), comparison.leads, strict=True))


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ("optimizer.lr<0.05", ["selu lr=0.01", "tanh lr=0.01", "relu lr=0.01"]),
        ("lr >= 0.1 and activation=relu,tanh", ["tanh lr=0.1", "relu lr=0.1"]),
        ("activation!=selu and lr=1e-2", ["tanh lr=0.01", "relu lr=0.01"]),
        ("activation=[SELU,TANH],Relu and lr = 0.10, 7", ["relu lr=0.1"]),
    ],
)
def test_part_has_matching_configurations_best_first(only, expected):
    (part,) = select_part([grid()], only, None)
    assert names(part) == expected
    assert part.leader is part.groups[0]
    assert next_step(part) is None
    assert page_data(part, RunSource("test"))["effects"] == []
    assert effect_lines(part) == []


def test_part_is_corrected_for_whole_comparison():
    whole = grid(spread=0.004, n=4, dataset="set3")
    (part,) = select_part([whole], "activation=tanh", None)
    (alone,) = compare_runs(runs_of(part), FLAGS)

    corrected = part.leads[1]
    uncorrected = alone.leads[1]
    assert corrected is not None
    assert uncorrected is not None
    assert corrected.high - corrected.low > uncorrected.high - uncorrected.low
    assert uncorrected.differs
    assert not corrected.differs
    assert not corrected.excluded
    assert "all 6 configurations" in cautions(part)[-1]


def test_each_value_is_compared_at_its_best():
    (part,) = select_part([grid()], None, "activation")
    assert names(part) == ["selu lr=0.1", "tanh lr=0.01", "relu lr=0.1"]
    selu, tanh, relu = part.leads
    assert selu is None
    assert tanh.ahead
    assert relu.ahead

    close = grid(means=MEANS | {("tanh", "0.01"): 0.9795, ("tanh", "0.1"): 0.978})
    (part,) = select_part([close], None, "activation")
    lead = part.leads[1]
    leads = leads_by_name(close)
    over_low_rate = leads["tanh lr=0.01"]
    over_high_rate = leads["tanh lr=0.1"]
    assert lead.p == max(over_low_rate.p, over_high_rate.p)
    assert lead.low == min(over_low_rate.low, over_high_rate.low)
    assert not lead.ahead


def test_best_of_several_values_wins_only_without_selection():
    means = MEANS | {("selu", "0.01"): 0.9795, ("tanh", "0.01"): 0.974, ("relu", "0.1"): 0.97}
    whole = grid(spread=0.002, dataset="set9", means=means)
    (all_values,) = select_part([whole], None, "activation")
    (two_values,) = select_part([whole], "activation=selu,tanh", "activation")

    assert not leads_by_name(whole)["tanh lr=0.01"].ahead
    assert leads_by_name(all_values)["tanh lr=0.01"].ahead
    assert not leads_by_name(two_values)["tanh lr=0.01"].ahead


def test_only_value_that_could_be_the_best_is_named_without_a_win():
    random = Random(19)
    means = {
        ("selu", "1"): 0.98,
        ("selu", "2"): 0.979,
        ("tanh", "1"): 0.976,
        ("tanh", "2"): 0.975,
        ("relu", "1"): 0.974,
        ("relu", "2"): 0.972,
    }
    runs = []
    for (activation, lr), mean in means.items():
        accuracies = [mean + random.gauss(0, 0.0015) for _ in range(4)]
        runs += many(accuracies, activation=activation, optimizer__lr=lr)

    (part,) = select_part(compare_runs(runs, FLAGS), None, "activation")

    leads = [lead for lead in part.leads if lead is not None]
    assert [lead.ahead for lead in leads] == [False, False]
    assert [lead.excluded for lead in leads] == [True, True]
    assert best_lines(part) == ["The best is selu lr=2 (95% confidence)."]


@pytest.mark.parametrize(
    ("only", "per", "expected"),
    [
        ("lr", None, "optimizer.lr<0.05"),
        ("lr<x", None, "'x'"),
        ("size<3", None, "optimizer.lr"),
        ("lr>3", None, "0.1"),
        (None, "size", "best_per=size"),
    ],
)
def test_wrong_condition_is_one_line(only, per, expected):
    with pytest.raises(ConfigError, match=expected):
        select_part([grid()], only, per)


def test_matrix_marks_best_of_each_column_and_ranks_rows():
    datasets = [grid(dataset=name) for name in ("mnist", "kmnist", "digits")]

    per_activation = select_part(datasets, None, "activation")
    head, selu, tanh, relu = matrix_of(per_activation, "activation,dataset").table(str, "{} *")
    assert head == ["activation", "mnist", "kmnist", "digits", "mean rank"]
    assert all(cell.endswith("*") for cell in selu[1:4])
    assert not any(cell.endswith("*") for cell in [*tanh[1:4], *relu[1:4]])
    assert [selu[0], selu[4]] == ["selu", "1.00"]
    assert [tanh[0], tanh[4]] == ["tanh", "2.00"]
    assert [relu[0], relu[4]] == ["relu", "3.00"]

    head, *rows = matrix_of([datasets[0]], "activation,optimizer.lr").table(str, "{} *")
    assert head == ["activation", "0.01", "0.1"]
    assert [row[0] for row in rows if row[1].endswith("*")] == ["selu"]

    by_dataset = matrix_of(datasets, "dataset,activation+optimizer.lr").table(str, "{}")
    assert [len(row) for row in by_dataset] == [7] * 4

    with pytest.raises(ConfigError, match=r"matrix=activation\+optimizer.lr,dataset"):
        matrix_of(datasets, "activation,dataset")


def test_part_of_a_part_is_corrected_for_the_whole():
    whole = grid(spread=0.004, n=4, dataset="set3")
    only = "activation=tanh,relu and lr=0.1"

    (direct,) = select_part([whole], only, None)
    (of_part,) = select_part(select_part([whole], "activation!=x", None), only, None)

    leads = [lead for lead in direct.leads if lead]
    leads_of_part = [lead for lead in of_part.leads if lead]
    for lead, lead_of_part in zip(leads, leads_of_part, strict=True):
        assert lead_of_part.p == lead.p
        assert lead_of_part.high == lead.high
        assert lead_of_part.differs == lead.differs
    assert isinstance(of_part, PartOfComparison)
    assert len(of_part.whole.groups) == 6


def test_best_configuration_with_single_seed_does_not_represent_its_value():
    runs = [
        *many([0.99], activation="tanh", optimizer__lr="0.1"),
        *many([0.6, 0.61, 0.62], activation="tanh"),
        *many([0.9, 0.91, 0.92], activation="relu"),
        *many([0.8, 0.81, 0.82], activation="selu"),
    ]
    (part,) = select_part(compare_runs(runs, FLAGS), None, "activation")

    assert [round(group.mean, 2) for group in part.groups] == [0.91, 0.81, 0.61]
    assert part.leader is part.groups[0]
    over_tanh = part.leads[2]
    assert over_tanh is not None
    assert not over_tanh.ahead  # the configuration of tanh with one seed cannot be tested


def test_no_value_wins_if_all_configurations_have_diverged_runs():
    runs = []
    for activation, lr in MEANS:
        flags = {"activation": activation, "optimizer__lr": lr}
        runs += [made(0, 0.9, **flags), made(1, None, "diverged", **flags)]
    (part,) = select_part(compare_runs(runs, FLAGS), None, "activation")
    assert part.leads == [None] * 3


def test_matrix_has_marks_only_after_valid_tests():
    runs = []
    for lr in ("0.1", "0.10000001"):
        runs += many([0.9], activation="relu", optimizer__lr=lr)
        runs += many([0.9], activation="selu", optimizer__lr=lr)
    with_one_seed = matrix_of(compare_runs(runs, FLAGS), "activation,lr")
    caption = with_one_seed.caption("*")
    assert with_one_seed.best == []
    assert "±" not in caption
    assert "best of its" not in caption
    assert with_one_seed.text(".csv").splitlines()[0] == "activation,0.1,0.10000001"

    filtered = Design(filter="metrics.best_val_accuracy > 0.9")
    of_filtered = compare_runs(runs_of(grid()), FLAGS, design=filtered)
    assert matrix_of(of_filtered, "activation,lr").best == []


def test_curves_of_configurations_outside_the_part_are_gray():
    (part,) = select_part([grid()], "activation=relu", None)
    lines = paper_figure(part, "curves").axes[0].lines
    colors = [line.get_color() for line in lines]
    assert len(colors) == 6
    assert colors.count(EXCLUDED_COLOR) == 4
