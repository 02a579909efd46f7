"""Studies of several datasets."""

from __future__ import annotations

import json
from itertools import permutations, product
from random import Random

import numpy as np
import pytest
from scipy import stats

from lenet_exp.comparison.compare import Comparison, compare_runs
from lenet_exp.comparison.studies.datasets import across_datasets, better_on_each, rank_test
from lenet_exp.reports.comparison_records import ranked_records
from lenet_exp.reports.files.comparison_file import write_comparison
from lenet_exp.reports.run_source import RunSource
from tests.comparison.made_up import made, many


def over(datasets: dict[str, list[float]]) -> list[Comparison]:
    """Compare configurations relu, selu, ... with these mean accuracies on each dataset."""
    runs = []
    for dataset, means in datasets.items():
        for name, mean in zip(("relu", "selu", "tanh"), means, strict=False):
            random = Random(f"{dataset} {name}")
            accuracies = [mean + random.gauss(0, 0.001) for _ in range(4)]
            runs += many(accuracies, dataset=dataset, activation=name)
    return compare_runs(runs, ["dataset", "activation"])


def test_better_on_each_dataset_includes_the_closest_dataset():
    across = across_datasets(over({"mnist": [0.9, 0.95, 0.8], "kmnist": [0.85, 0.9, 0.8]}))
    assert across is not None
    assert across.datasets == ["mnist", "kmnist"]
    assert across.names == ["selu", "relu", "tanh"]
    assert across.ranks == [1, 2, 3]
    assert across.beaten == [1, 2]
    assert across.left_out == 0
    assert across.rank_test is None

    close = across_datasets(over({"mnist": [0.9, 0.95, 0.8], "kmnist": [0.9, 0.9001, 0.8]}))
    assert close is not None
    assert close.beaten == [2]

    reversed_order = across_datasets(over({"mnist": [0.9, 0.95], "kmnist": [0.95, 0.9]}))
    assert reversed_order is not None
    assert reversed_order.ranks == [1.5, 1.5]
    assert reversed_order.beaten == []


@pytest.mark.parametrize(
    ("p", "points", "better"),
    [
        ([0.001, 0.002], [0.1, 0.1], True),
        ([0.001, 0.3], [0.1, 0.1], False),
        ([0.001, 0.002], [0.1, -0.1], False),
    ],
)
def test_least_significant_dataset_decides(p, points, better):
    p_of_pair = np.array(p)[:, None]  # shape (datasets, pairs)
    points_of_pair = np.array(points)[:, None]
    assert better_on_each(p_of_pair, points_of_pair) == [better]


def test_files_and_records_contain_mean_ranks(tmp_path):
    comparisons = over({"mnist": [0.9, 0.95, 0.8], "kmnist": [0.85, 0.9, 0.8]})

    of_mnist, of_kmnist = ranked_records(comparisons)
    for rows in (of_mnist, of_kmnist):
        mean_ranks = {row["activation"]: row["mean_rank"] for row in rows}
        worse_on_each = {row["activation"]: row["worse_on_each"] for row in rows}
        assert mean_ranks == {"selu": 1.0, "relu": 2.0, "tanh": 3.0}
        assert worse_on_each == {"selu": False, "relu": True, "tanh": True}
    (of_one_dataset,) = ranked_records(comparisons[:1])
    assert "mean_rank" not in of_one_dataset[0]

    for ending in ("tex", "csv", "json"):
        write_comparison(tmp_path / f"x.{ending}", comparisons, RunSource("x"))
    statement = "% selu is better than relu and tanh on each dataset"
    assert (tmp_path / "x.tex").read_text().count(statement) == 1
    assert "mean_rank,worse_on_each" in (tmp_path / "x.csv").read_text()
    groups_of_kmnist = json.loads((tmp_path / "x.json").read_text())[1]["groups"]
    assert [group["mean_rank"] for group in groups_of_kmnist] == [1, 2, 3]


def test_ranks_are_tested_from_five_datasets_with_exact_distribution():
    five = {
        "set0": [0.9, 0.95, 0.8],
        "set1": [0.91, 0.93, 0.7],
        "set2": [0.95, 0.9, 0.8],
        "set3": [0.8, 0.9, 0.85],
        "set4": [0.7, 0.8, 0.6],
    }
    four = dict(five)
    del four["set4"]

    across = across_datasets(over(five))
    assert across is not None
    assert across_datasets(over(four)).rank_test is None

    possible_mean_ranks = []  # shape (orders on the datasets, configurations)
    for ranks_of_datasets in product(permutations((1, 2, 3)), repeat=5):
        possible_mean_ranks.append(np.mean(ranks_of_datasets, axis=0))
    variances = np.var(possible_mean_ranks, axis=1)
    exact_p = np.mean(variances >= np.var(across.ranks) - 1e-9)
    assert across.rank_test.p == pytest.approx(exact_p, abs=0.003)

    ranges = np.ptp(possible_mean_ranks, axis=1)
    critical = across.rank_test.critical
    assert np.mean(ranges > critical) <= 0.05
    assert np.mean(ranges > critical - 0.01) > 0.05


@pytest.mark.parametrize(("wins", "losses", "ties"), [(5, 0, 0), (6, 0, 0), (7, 1, 2), (0, 0, 5)])
def test_two_configurations_are_compared_by_exact_sign_test(wins, losses, ties):
    ranks = np.array([[1.0, 2.0]] * wins + [[2.0, 1.0]] * losses + [[1.5, 1.5]] * ties)
    test = rank_test(ranks)

    p = stats.binomtest(wins, wins + losses).pvalue if wins else 1.0
    assert test.p == pytest.approx(p)
    difference = np.ptp(ranks.mean(axis=0))
    assert (difference > test.critical) == (p <= 0.05)


@pytest.mark.parametrize(("datasets", "k"), [(5, 2), (7, 2), (5, 4), (8, 4)])
def test_equal_configurations_are_rarely_ranked_significantly_better(datasets, k, monkeypatch):
    monkeypatch.setattr("lenet_exp.comparison.studies.datasets.DRAWS", 2000)
    rng = np.random.default_rng(3)
    false_alarms = 0
    for _ in range(600):
        ranks = stats.rankdata(rng.standard_normal((datasets, k)), axis=1)
        test = rank_test(ranks)
        largest_difference = np.ptp(ranks.mean(axis=0))
        if test.p <= 0.05 and largest_difference > test.critical:
            false_alarms += 1
    assert false_alarms <= 600 * 0.055


def test_diverged_configuration_ranks_last_and_missing_is_left_out():
    runs = [
        *many([0.99, 0.99], dataset="mnist", activation="elu"),
        made(0, 0.99, "diverged", dataset="kmnist", activation="elu"),
        *many([0.99], dataset="mnist", activation="tanh"),
    ]
    for comparison in over({"mnist": [0.9, 0.95], "kmnist": [0.9, 0.95]}):
        for group in comparison.groups:
            runs += group.runs
    comparisons = compare_runs(runs, ["dataset", "activation"])

    across = across_datasets(comparisons)

    assert across is not None
    assert across.names == ["selu", "elu", "relu"]
    assert across.ranks == [1.5, 2.0, 2.5]
    assert across.left_out == 1
    assert across_datasets(comparisons[:1]) is None
