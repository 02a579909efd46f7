"""A sweep's description fits into the five lines that MLflow shows without "Show more"."""

from __future__ import annotations

import re
from html import unescape

import pytest

from lenet_exp.comparison.compare import compare_runs
from lenet_exp.reports.files.description import HEIGHT, LINE, ROW, WIDTH, final_description
from lenet_exp.reports.words.phrases import verdict
from tests.comparison.made_up import many


def compared(configurations: int):
    """Return comparisons of configurations with two seeds each; the first configuration is the best."""
    runs = []
    for n in range(configurations):
        accuracies = [0.95 - n / 100, 0.951 - n / 100]
        runs += many(accuracies, dataset="digits", activation="selu", lr=f"0.{n:02d}")
    return compare_runs(runs, ["activation", "lr"])


def described(configurations: int) -> str:
    text = final_description(compared(configurations), lambda group: "#/run", "#/report")
    return text.replace("\N{NO-BREAK SPACE}", " ")


def lines_of(text: str) -> int:
    (head,) = re.findall(r"<div>(.*)</div>", text)
    return -(-len(re.sub(r"<[^>]+>", "", head)) // WIDTH)


@pytest.mark.parametrize("configurations", [2, 5, 10, 60])
def test_verdict_and_best_configurations_fit_into_description(configurations):
    text = described(configurations)
    assert text.startswith(f"<div><b>{verdict(compared(configurations)[0])}")
    assert lines_of(text) * LINE + text.count("<tr>") * ROW <= HEIGHT
    ranks = sorted(int(rank) for rank in re.findall(r"<td>(\d+) </td>", text))
    assert ranks == list(range(1, len(ranks) + 1))
    assert min(configurations, 4) <= len(ranks) <= 10
    assert re.search(r">95\.05 ± 0\.07</a>", text)


def test_long_names_reduce_number_of_configurations_in_description():
    flags = {"optimizer__lr": "0.1287", "label_smoothing": "0.05", "weight_decay": "0.0003", "ema_decay": "0.999"}
    runs = []
    for n in range(12):
        accuracies = [0.95 - n / 100, 0.951 - n / 100]
        runs += many(accuracies, dataset="digits", activation="selu", **(flags | {"batch_size": str(16 + n)}))
        runs += many(accuracies, dataset="digits", activation="relu", **dict.fromkeys(flags, "0.5"), batch_size="1")
    text = final_description(compare_runs(runs, []), lambda group: "#/run", "#/report")
    rows = [unescape(re.sub(r"<[^>]+>", "", row)) for row in re.findall(r"<tr>(.*?)</tr>", text)]
    assert 1 <= len(rows) <= 4
    assert all(len(row) <= WIDTH for row in rows), max(map(len, rows))
