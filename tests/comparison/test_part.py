"""Parts of a comparison and matrices of results, whose tests are corrected for the whole
comparison.
"""

from __future__ import annotations

from random import Random

import pytest

from lenet_exp.comparison.compare import Comparison, compare_runs
from lenet_exp.comparison.design import Design
from lenet_exp.comparison.part import PartOfComparison, select_part
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
    random, runs = Random(dataset), []
    for (activation, lr), mean in means.items():
        accuracies = [mean + random.gauss(0, spread) for _ in range(n)]
        runs += many(accuracies, activation=activation, optimizer__lr=lr, dataset=dataset)
    return compare_runs(runs, FLAGS)[0]


def names(comparison: Comparison) -> list[str]:
    return list(map(comparison.name, comparison.groups))


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
    assert page_data(part, RunSource("test"))["effects"] == [] == effect_lines(part)


def test_part_is_corrected_for_whole_comparison():
    whole = grid(spread=0.004, n=4, dataset="set3")
    (part,) = select_part([whole], "activation=tanh", None)
    alone = compare_runs([run for group in part.groups for run in group.runs], FLAGS)[0]
    lead, uncorrected = part.leads[1], alone.leads[1]
    assert lead is not None
    assert uncorrected is not None
    assert lead.high - lead.low > uncorrected.high - uncorrected.low
    assert (uncorrected.differs, lead.differs, lead.excluded) == (True, False, False)
    assert "all 6 configurations" in cautions(part)[-1]


def test_each_value_is_compared_at_its_best():
    whole = grid()
    (part,) = select_part([whole], None, "activation")
    assert names(part) == ["selu lr=0.1", "tanh lr=0.01", "relu lr=0.1"]
    assert [lead is None or lead.ahead for lead in part.leads] == [True] * 3
    close = grid(means=MEANS | {("tanh", "0.01"): 0.9795, ("tanh", "0.1"): 0.978})
    (part,) = select_part([close], None, "activation")
    its = dict(zip(names(close), close.leads, strict=True))
    over = [its[name] for name in ("tanh lr=0.01", "tanh lr=0.1")]
    lead = part.leads[1]
    assert lead is not None
    assert (lead.p, lead.low) == (
        max(one.p for one in over if one),
        min(one.low for one in over if one),
    )
    assert not lead.ahead


def test_best_of_several_values_wins_only_without_selection():
    means = MEANS | {("selu", "0.01"): 0.9795, ("tanh", "0.01"): 0.974, ("relu", "0.1"): 0.97}
    whole = grid(spread=0.002, dataset="set9", means=means)
    (every,), (some,) = (
        select_part([whole], only, "activation") for only in (None, "activation=selu,tanh")
    )
    found = [
        dict(zip(names(its), its.leads, strict=True))["tanh lr=0.01"]
        for its in (whole, every, some)
    ]
    assert [lead.ahead for lead in found if lead is not None] == [False, True, False]


def test_only_value_that_could_be_the_best_is_named_without_a_win():
    random, means = (
        Random(19),
        {"selu": (0.98, 0.979), "tanh": (0.976, 0.975), "relu": (0.974, 0.972)},
    )
    runs = []
    for activation, pair in means.items():
        for lr, mean in zip("12", pair, strict=True):
            accuracies = [mean + random.gauss(0, 0.0015) for _ in range(4)]
            runs += many(accuracies, activation=activation, optimizer__lr=lr)
    (part,) = select_part(compare_runs(runs, FLAGS), None, "activation")
    assert [(lead.ahead, lead.excluded) for lead in part.leads if lead is not None] == [
        (False, True)
    ] * 2
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
    matrix = matrix_of(per_activation, "activation,dataset")
    head, *rows = matrix.table(str, "{} *")
    assert head == ["activation", "mnist", "kmnist", "digits", "mean rank"]
    assert [(row[0], [cell.endswith("*") for cell in row[1:4]], row[4]) for row in rows] == [
        ("selu", [True] * 3, "1.00"),
        ("tanh", [False] * 3, "2.00"),
        ("relu", [False] * 3, "3.00"),
    ]
    by_lr = matrix_of([datasets[0]], "activation,optimizer.lr").table(str, "{} *")
    assert [row[0] for row in by_lr if row[1].endswith("*")] == ["selu"]
    assert by_lr[0] == ["activation", "0.01", "0.1"]
    assert [
        len(row) for row in matrix_of(datasets, "dataset,activation+optimizer.lr").table(str, "{}")
    ] == [7] * 4
    with pytest.raises(ConfigError, match=r"matrix=activation\+optimizer.lr,dataset"):
        matrix_of(datasets, "activation,dataset")


def test_part_of_a_part_is_corrected_for_the_whole():
    whole = grid(spread=0.004, n=4, dataset="set3")
    only = "activation=tanh,relu and lr=0.1"
    direct, through = (
        select_part(select_part([whole], first, None), only, None)[0]
        for first in (None, "activation!=x")
    )
    leads = [
        [(lead.p, lead.high, lead.differs) for lead in its.leads if lead]
        for its in (direct, through)
    ]
    assert leads[0] == leads[1]
    assert isinstance(through, PartOfComparison)
    assert len(through.whole.groups) == 6


def test_best_configuration_with_single_seed_does_not_represent_its_value():
    runs = [
        *many([0.99], activation="tanh", optimizer__lr="0.1"),
        *many([0.6, 0.61, 0.62], activation="tanh"),
    ]
    runs += [
        *many([0.9, 0.91, 0.92], activation="relu"),
        *many([0.8, 0.81, 0.82], activation="selu"),
    ]
    (part,) = select_part(compare_runs(runs, FLAGS), None, "activation")
    assert [round(group.mean, 2) for group in part.groups] == [0.91, 0.81, 0.61]
    assert part.leader is part.groups[0]
    assert part.leads[2] is not None
    assert not part.leads[
        2
    ].ahead  # over tanh, because its configuration with one seed cannot be tested


def test_no_value_wins_if_all_configurations_have_diverged_runs():
    runs = []
    for activation, lr in MEANS:
        flags = {"activation": activation, "optimizer__lr": lr}
        runs += [made(0, 0.9, **flags), made(1, None, "diverged", **flags)]
    (part,) = select_part(compare_runs(runs, FLAGS), None, "activation")
    assert part.leads == [None] * 3


def test_matrix_has_marks_only_after_valid_tests():
    single = compare_runs(
        [
            run
            for lr in ("0.1", "0.10000001")
            for a in ("relu", "selu")
            for run in many([0.9], activation=a, optimizer__lr=lr)
        ],
        FLAGS,
    )
    matrix = matrix_of(single, "activation,lr")
    assert (matrix.best, "±" in matrix.caption("*"), "best of its" in matrix.caption("*")) == (
        [],
        False,
        False,
    )
    assert matrix.text(".csv").splitlines()[0] == "activation,0.1,0.10000001"
    picked = compare_runs(
        [run for group in grid().groups for run in group.runs],
        FLAGS,
        design=Design(filter="metrics.best_val_accuracy > 0.9"),
    )
    assert matrix_of(picked, "activation,lr").best == []


def test_curves_of_configurations_outside_the_part_are_gray():
    (part,) = select_part([grid()], "activation=relu", None)
    colors = [line.get_color() for line in paper_figure(part, "curves").axes[0].lines]
    assert colors.count(EXCLUDED_COLOR) == len(colors) - 2 == 4
