"""The description of a sweep in MLflow: the verdict, and the best configurations with links to
their best runs.
"""

from __future__ import annotations

import re
from html import unescape

import pytest

from lenet_exp.comparison.compare import compare_runs
from lenet_exp.reports.files.description import final_description
from lenet_exp.reports.words.verdict import verdict
from tests.comparison.made_up import many


@pytest.mark.parametrize("configurations", [2, 60])
def test_description_has_verdict_and_at_most_ten_best_configurations(configurations):
    runs = []
    for n in range(configurations):
        accuracies = [0.95 - n / 100, 0.951 - n / 100]
        runs += many(accuracies, dataset="digits", activation="selu", lr=f"0.{n:02d}")
    comparison = compare_runs(runs, ["activation", "lr"])
    text = unescape(
        final_description(comparison, lambda group: f"#/{group.value('lr')}", "#/report")
    )
    assert text.startswith(
        f'<div><b>{verdict(comparison[0])}</b> <a href="#/report">report</a></div>'
    )
    shown = re.findall(r'<a href="#/(0\.\d\d)">lr=([\d.]+)</a>\W([\d.]+)', text)
    assert [float(name) for _, name, _ in shown] == [float(link) for link, _, _ in shown]
    assert [mean for _, _, mean in shown] == [
        f"{95.05 - n:.2f}" for n in range(min(configurations, 10))
    ]
