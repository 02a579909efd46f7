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
            runs += many(
                [mean + random.gauss(0, 0.001) for _ in range(4)], dataset=dataset, activation=name
            )
    return compare_runs(runs, ["dataset", "activation"])


def test_better_on_each_dataset_includes_the_closest_dataset():
    across = across_datasets(over({"mnist": [0.9, 0.95, 0.8], "kmnist": [0.85, 0.9, 0.8]}))
    assert across is not None
    assert (across.datasets, across.names, across.ranks) == (
        ["mnist", "kmnist"],
        ["selu", "relu", "tanh"],
        [1, 2, 3],
    )
    assert (across.beaten, across.left_out, across.rank_test) == ([1, 2], 0, None)
    close = across_datasets(over({"mnist": [0.9, 0.95, 0.8], "kmnist": [0.9, 0.9001, 0.8]}))
    assert close is not None
    assert close.beaten == [2]
    turned = across_datasets(over({"mnist": [0.9, 0.95], "kmnist": [0.95, 0.9]}))
    assert turned is not None
    assert (turned.ranks, turned.beaten) == ([1.5, 1.5], [])


@pytest.mark.parametrize(
    ("p", "points", "better"),
    [
        ([0.001, 0.002], [0.1, 0.1], True),
        ([0.001, 0.3], [0.1, 0.1], False),
        ([0.001, 0.002], [0.1, -0.1], False),
    ],
)
def test_least_significant_dataset_decides(p, points, better):
    assert better_on_each(np.array(p)[:, None], np.array(points)[:, None]) == [better]


def test_files_and_records_contain_mean_ranks(tmp_path):
    comparisons = over({"mnist": [0.9, 0.95, 0.8], "kmnist": [0.85, 0.9, 0.8]})
    tables = ranked_records(comparisons)
    for rows, comparison in zip(tables, comparisons, strict=True):
        ranks = {row["activation"]: (row["mean_rank"], row["worse_on_each"]) for row in rows}
        assert ranks == {"selu": (1.0, False), "relu": (2.0, True), "tanh": (3.0, True)}, (
            comparison.dataset
        )
    assert "mean_rank" not in ranked_records(comparisons[:1])[0][0]
    for ending in ("tex", "csv", "json"):
        write_comparison(tmp_path / f"x.{ending}", comparisons, RunSource("x"))
    assert (tmp_path / "x.tex").read_text().count(
        "% selu is better than relu and tanh on each dataset"
    ) == 1
    assert "mean_rank,worse_on_each" in (tmp_path / "x.csv").read_text()
    assert [
        row["mean_rank"] for row in json.loads((tmp_path / "x.json").read_text())[1]["groups"]
    ] == [1, 2, 3]


def test_ranks_are_tested_from_five_datasets_with_exact_distribution():
    means = [
        [0.9, 0.95, 0.8],
        [0.91, 0.93, 0.7],
        [0.95, 0.9, 0.8],
        [0.8, 0.9, 0.85],
        [0.7, 0.8, 0.6],
    ]
    rows = {f"set{i}": row for i, row in enumerate(means)}
    across = across_datasets(over(rows))
    assert across is not None
    assert across_datasets(over(dict(list(rows.items())[:4]))).rank_test is None
    orders = [
        np.mean(order, axis=0) for order in product(permutations((1, 2, 3)), repeat=len(means))
    ]
    spread, seen = np.var(orders, axis=1), np.var(across.ranks)
    assert across.rank_test.p == pytest.approx(np.mean(spread >= seen - 1e-9), abs=0.003)
    ranges = np.ptp(orders, axis=1)
    assert (
        np.mean(ranges > across.rank_test.critical)
        <= 0.05
        < np.mean(ranges > across.rank_test.critical - 0.01)
    )


@pytest.mark.parametrize(("wins", "losses", "ties"), [(5, 0, 0), (6, 0, 0), (7, 1, 2), (0, 0, 5)])
def test_two_configurations_are_compared_by_exact_sign_test(wins, losses, ties):
    ranks = np.array([[1.0, 2.0]] * wins + [[2.0, 1.0]] * losses + [[1.5, 1.5]] * ties)
    test = rank_test(ranks)
    expected = stats.binomtest(wins, wins + losses).pvalue if wins else 1.0
    assert test.p == pytest.approx(expected)
    assert (np.ptp(ranks.mean(axis=0)) > test.critical) == (expected <= 0.05)


@pytest.mark.parametrize(("datasets", "k"), [(5, 2), (7, 2), (5, 4), (8, 4)])
def test_equal_configurations_are_rarely_ranked_significantly_better(datasets, k, monkeypatch):
    monkeypatch.setattr("lenet_exp.comparison.studies.datasets.DRAWS", 2000)
    rng, false = np.random.default_rng(3), 0
    for _ in range(600):
        ranks = stats.rankdata(rng.standard_normal((datasets, k)), axis=1)
        test = rank_test(ranks)
        false += bool(test.p <= 0.05 and np.ptp(ranks.mean(axis=0)) > test.critical)
    assert false <= 600 * 0.055


def test_diverged_configuration_ranks_last_and_missing_is_left_out():
    comparisons = compare_runs(
        [
            *(
                run
                for c in over({"mnist": [0.9, 0.95], "kmnist": [0.9, 0.95]})
                for g in c.groups
                for run in g.runs
            ),
            *many([0.99, 0.99], dataset="mnist", activation="elu"),
            made(0, 0.99, "diverged", dataset="kmnist", activation="elu"),
            *many([0.99], dataset="mnist", activation="tanh"),
        ],
        ["dataset", "activation"],
    )
    across = across_datasets(comparisons)
    assert across is not None
    assert (across.names, across.ranks, across.left_out) == (
        ["selu", "elu", "relu"],
        [1.5, 2.0, 2.5],
        1,
    )
    assert across_datasets(comparisons[:1]) is None
