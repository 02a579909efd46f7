"""Confirmations of made-up runs: the number of seeds and the answer."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from lenet_exp.comparison.compare import Comparison, compare_runs
from lenet_exp.comparison.confirmation_plan import plan_confirmation
from lenet_exp.comparison.confirmation_result import confirmation_result
from lenet_exp.comparison.design import Design, combined_design, design_of
from lenet_exp.comparison.runs import ComparedRun
from lenet_exp.config.schema import Config, Dataset, EpochChoice, Sweep
from lenet_exp.errors import ConfigError
from lenet_exp.folders.job import Job
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.results import JobResult
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.folders.sweep_plan import SweepPlan
from lenet_exp.reports.words.design_caution import design_caution
from lenet_exp.reports.words.verdict import verdict
from tests.comparison.made_up import made, many
from tests.tools.records import a_record

SELU = [0.9101, 0.9126, 0.9093, 0.9119, 0.9110, 0.9107]
TANH = [0.9098, 0.9133, 0.9083, 0.9125, 0.9112, 0.9098]  # as good
RELU = [0.9060, 0.9081, 0.9050, 0.9079, 0.9066, 0.9064]  # worse


def confirming(*groups: list[ComparedRun]) -> Comparison:
    """Return the comparison of a sweep that confirms the first group."""
    runs = [run for group in groups for run in group]
    (comparison,) = compare_runs(
        runs, design=Design(len(runs), 0, 1, "1f3a", 0.002, groups[0][0].id)
    )
    return comparison


def numbers(text: str) -> list[str]:
    return re.findall(r"-?\d+(?:\.\d+)?", text)


def answer_and_verdict(comparison: Comparison) -> tuple[bool | None, str]:
    confirmed = confirmation_result(comparison)
    assert confirmed is not None
    return confirmed.confirmed, verdict(comparison)


def test_leader_ahead_of_all_others_is_confirmed():
    comparison = confirming(many(SELU, activation="selu"), many(RELU, activation="relu"))
    yes, words = answer_and_verdict(comparison)
    assert yes is True
    assert numbers(words)[:2] == ["6", "0.43"]  # new seeds, points
    _, words = answer_and_verdict(
        replace(comparison, design=replace(comparison.design, earlier_runs=8))
    )
    assert "8 of 12" in words  # were trained before the sweep started


def test_leader_not_ahead_of_every_other_is_not_confirmed():
    groups = [
        many(SELU, activation="selu"),
        many(TANH, activation="tanh"),
        many(RELU, activation="relu"),
    ]
    yes, words = answer_and_verdict(confirming(*groups))
    assert yes is False
    # the configuration that prevents it comes first
    assert words.index("tanh") < words.index("relu")
    assert numbers(words)[:2] == ["6", "0.01"]
    assert "0.2 points" in words  # the difference to detect


def test_confirmation_keeps_original_leader_even_if_worse():
    comparison = confirming(many(RELU, activation="relu"), many(SELU, activation="selu"))
    yes, words = answer_and_verdict(comparison)
    assert yes is False
    assert numbers(words)[:2] == ["6", "0.43"]
    assert comparison.leader is not None
    assert comparison.name(comparison.leader) == "relu"


@pytest.mark.parametrize(("who", "yes"), [("selu", False), ("relu", True)])
def test_divergence_prevents_confirmation_only_of_the_leader(who, yes):
    runs = {
        name: many(values, activation=name) for name, values in (("selu", SELU), ("relu", RELU))
    }
    runs[who].append(made(9, 0.99, "diverged", activation=who))
    found, words = answer_and_verdict(confirming(*runs.values()))
    assert found is yes
    assert f"{who} diverged" in words


@pytest.mark.parametrize("outcome", ["failed", "not started"])
def test_confirmation_is_open_while_a_run_is_missing(outcome):
    missing = [*many(RELU[:5], activation="relu"), made(5, None, outcome, activation="relu")]
    found, words = answer_and_verdict(confirming(many(SELU, activation="selu"), missing))
    assert found is None
    assert "1 of 12" in words


def test_plan_covers_leader_and_configurations_that_may_be_best():
    groups = (
        many(RELU, activation="relu"),
        many(TANH, activation="tanh"),
        many(SELU, activation="selu"),
    )
    (comparison,) = compare_runs([run for group in groups for run in group])
    planned = plan_confirmation(comparison, 0.002)
    assert [comparison.name(g) for g in planned.groups] == ["selu", "tanh"]
    assert planned.seeds < plan_confirmation(comparison, 0.0005).seeds
    (clear,) = compare_runs([*many(RELU, activation="relu"), *many(SELU, activation="selu")])
    clear_groups = plan_confirmation(clear, 0.002).groups
    assert [clear.name(g) for g in clear_groups] == ["selu", "relu"]  # the runner-up
    assert plan_confirmation(comparison, 0.002).seeds < plan_confirmation(comparison, 0.001).seeds
    assert plan_confirmation(comparison, 0.002, 50).detects < 0.002
    with pytest.raises(ConfigError) as refused:
        plan_confirmation(comparison, 1e-5)
    needed, most, *detected = numbers(str(refused.value).partition(":")[2].replace(",", ""))
    assert int(needed) > int(most) == 1000
    assert [float(points) for points in detected[::2]] == [
        plan_confirmation(comparison, 0.1, n).detects * 100 for n in (20, 50, 100)
    ]


def test_plan_requires_two_seeds_and_two_configurations():
    (comparison,) = compare_runs(
        [made(0, 0.91, activation="selu"), made(0, 0.9, activation="relu")]
    )
    with pytest.raises(ConfigError, match="two seeds"):
        plan_confirmation(comparison, 0.002)
    (one,) = compare_runs(many(SELU))
    with pytest.raises(ConfigError, match="fewer than two configurations"):
        plan_confirmation(one, 0.002)


def test_caution_reports_earlier_results():
    fixed = Design(6, 0)
    assert design_caution(Design()) is design_caution(fixed) is None
    assert "2 of 6" in str(design_caution(replace(fixed, earlier_runs=2)))
    assert "2 sweeps" in str(design_caution(combined_design([fixed, fixed])))
    assert (combined_design([fixed]), combined_design([])) == (fixed, None)
    for doubt, named in (
        ({"filter": "params.activation = 'selu'"}, "params.activation = 'selu'"),
        ({"retrained": True}, "sweep.force"),
        ({"has_no_digest": True}, "sweep.json"),
        ({"earlier_sweeps": 2}, "2 earlier sweeps"),
    ):
        assert named in str(design_caution(replace(fixed, **doubt)))
    assert "by=last" in str(design_caution(fixed, EpochChoice.last))


@pytest.mark.parametrize(
    "filter", ["metrics.best_val_accuracy > 0.9", "metric.val_loss < 1", "METRICS.`lr` > 0"]
)
def test_filter_on_results_gives_no_verdict(filter):
    runs = [*many(RELU, activation="relu"), *many(SELU, activation="selu")]
    (picked,) = compare_runs(runs, design=Design(filter=filter))
    assert verdict(picked).startswith("No verdict")
    assert filter in verdict(picked)
    assert (picked.leads, picked.plain_leads) == ([None, None], [None, None])
    (fair,) = compare_runs(runs, design=Design(filter="params.activation != 'tanh'"))
    assert fair.leads[1] is not None
    assert "params.activation != 'tanh'" in verdict(fair)


def test_single_known_run_counts_only_if_seeds_must_be_new(tmp_path):
    def known(*created: tuple[str, int], **plan: Any) -> int:
        results = []
        for n, (dataset, ms) in enumerate(created):
            config = Config(dataset=Dataset(name=dataset), sweep=Sweep(points=1.0))
            job = Job(n, "", {}, [], config, str(n), str(n))
            results.append(
                JobResult(job, Outcome.finished, "", a_record(config=config, created_ms=ms), False)
            )
        sweep_plan = SweepPlan(created_ms=10, **plan)
        return design_of(sweep_plan, results, SweepFolder(tmp_path)).earlier_runs

    assert known(("mnist", 9), ("mnist", 11), ("digits", 9)) == 0
    assert known(("mnist", 9), ("mnist", 9), ("digits", 9)) == 3
    assert known(("mnist", 9), ("mnist", 11), confirms="1f3a") == 1
    assert known(("mnist", 9), ("mnist", 9), remade=True) == 0
