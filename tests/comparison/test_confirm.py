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
    leader = groups[0][0].id
    design = Design(len(runs), 0, confirms="1f3a", points=0.002, leader=leader)
    (comparison,) = compare_runs(runs, design=design)
    return comparison


def numbers(text: str) -> list[str]:
    return re.findall(r"-?\d+(?:\.\d+)?", text)


def answer_and_verdict(comparison: Comparison) -> tuple[bool | None, str]:
    confirmed = confirmation_result(comparison)
    assert confirmed is not None
    return confirmed.confirmed, verdict(comparison)


def test_leader_ahead_of_all_others_is_confirmed():
    comparison = confirming(many(SELU, activation="selu"), many(RELU, activation="relu"))
    confirmed, words = answer_and_verdict(comparison)
    assert confirmed is True
    assert numbers(words)[:2] == ["6", "0.43"]  # new seeds, points

    design = replace(comparison.design, earlier_runs=8)
    _, words = answer_and_verdict(replace(comparison, design=design))
    assert "8 of 12" in words  # were trained before the sweep started


def test_leader_not_ahead_of_every_other_is_not_confirmed():
    selu = many(SELU, activation="selu")
    tanh = many(TANH, activation="tanh")
    relu = many(RELU, activation="relu")
    confirmed, words = answer_and_verdict(confirming(selu, tanh, relu))
    assert confirmed is False
    # the configuration that prevents it comes first
    assert words.index("tanh") < words.index("relu")
    assert numbers(words)[:2] == ["6", "0.01"]
    assert "0.2 points" in words  # the difference to detect


def test_confirmation_keeps_original_leader_even_if_worse():
    comparison = confirming(many(RELU, activation="relu"), many(SELU, activation="selu"))
    confirmed, words = answer_and_verdict(comparison)
    assert confirmed is False
    assert numbers(words)[:2] == ["6", "0.43"]
    assert comparison.leader is not None
    assert comparison.name(comparison.leader) == "relu"


@pytest.mark.parametrize(("who", "yes"), [("selu", False), ("relu", True)])
def test_divergence_prevents_confirmation_only_of_the_leader(who, yes):
    runs = {"selu": many(SELU, activation="selu"), "relu": many(RELU, activation="relu")}
    runs[who].append(made(9, 0.99, "diverged", activation=who))
    confirmed, words = answer_and_verdict(confirming(runs["selu"], runs["relu"]))
    assert confirmed is yes
    assert f"{who} diverged" in words


@pytest.mark.parametrize("outcome", ["failed", "not started"])
def test_confirmation_is_open_while_a_run_is_missing(outcome):
    selu = many(SELU, activation="selu")
    relu = [*many(RELU[:5], activation="relu"), made(5, None, outcome, activation="relu")]
    confirmed, words = answer_and_verdict(confirming(selu, relu))
    assert confirmed is None
    assert "1 of 12" in words


def test_plan_covers_leader_and_configurations_that_may_be_best():
    relu = many(RELU, activation="relu")
    tanh = many(TANH, activation="tanh")
    selu = many(SELU, activation="selu")

    (comparison,) = compare_runs([*relu, *tanh, *selu])
    planned = plan_confirmation(comparison, 0.002)
    assert [comparison.name(group) for group in planned.groups] == ["selu", "tanh"]
    assert planned.seeds < plan_confirmation(comparison, 0.001).seeds
    assert planned.seeds < plan_confirmation(comparison, 0.0005).seeds
    assert plan_confirmation(comparison, 0.002, 50).detects < 0.002

    (clear,) = compare_runs([*relu, *selu])
    clear_groups = plan_confirmation(clear, 0.002).groups
    assert [clear.name(group) for group in clear_groups] == ["selu", "relu"]  # the runner-up

    with pytest.raises(ConfigError) as refused:
        plan_confirmation(comparison, 1e-5)
    message = str(refused.value).partition(":")[2].replace(",", "")
    needed, most, *alternatives = numbers(message)
    assert int(needed) > 1000
    assert int(most) == 1000
    detected_points = [float(number) for number in alternatives[::2]]
    assert detected_points == [
        plan_confirmation(comparison, 0.1, seeds).detects * 100 for seeds in (20, 50, 100)
    ]


def test_plan_requires_two_seeds_and_two_configurations():
    one_seed = [made(0, 0.91, activation="selu"), made(0, 0.9, activation="relu")]
    (comparison,) = compare_runs(one_seed)
    with pytest.raises(ConfigError, match="two seeds"):
        plan_confirmation(comparison, 0.002)

    (comparison,) = compare_runs(many(SELU))
    with pytest.raises(ConfigError, match="fewer than two configurations"):
        plan_confirmation(comparison, 0.002)


def test_caution_reports_earlier_results():
    fixed = Design(6, 0)
    assert design_caution(Design()) is None
    assert design_caution(fixed) is None
    assert "by=last" in str(design_caution(fixed, EpochChoice.last))

    assert combined_design([]) is None
    assert combined_design([fixed]) == fixed
    assert "2 sweeps" in str(design_caution(combined_design([fixed, fixed])))

    for doubt, named in (
        ({"earlier_runs": 2}, "2 of 6"),
        ({"filter": "params.activation = 'selu'"}, "params.activation = 'selu'"),
        ({"retrained": True}, "sweep.force"),
        ({"has_no_digest": True}, "sweep.json"),
        ({"earlier_sweeps": 2}, "2 earlier sweeps"),
    ):
        assert named in str(design_caution(replace(fixed, **doubt)))


@pytest.mark.parametrize(
    "filter", ["metrics.best_val_accuracy > 0.9", "metric.val_loss < 1", "METRICS.`lr` > 0"]
)
def test_filter_on_results_gives_no_verdict(filter):
    runs = [*many(RELU, activation="relu"), *many(SELU, activation="selu")]

    (by_result,) = compare_runs(runs, design=Design(filter=filter))
    assert verdict(by_result).startswith("No verdict")
    assert filter in verdict(by_result)
    assert by_result.leads == [None, None]
    assert by_result.plain_leads == [None, None]

    (by_flag,) = compare_runs(runs, design=Design(filter="params.activation != 'tanh'"))
    assert by_flag.leads[1] is not None
    assert "params.activation != 'tanh'" in verdict(by_flag)


def test_single_known_run_counts_only_if_seeds_must_be_new(tmp_path):
    def earlier_runs(*created: tuple[str, int], **plan: Any) -> int:
        """Return how many runs count as earlier, from the dataset and the start of each run, for a
        sweep that started at 10 ms.
        """
        results = []
        for number, (dataset, created_ms) in enumerate(created):
            config = Config(dataset=Dataset(name=dataset), sweep=Sweep(points=1.0))
            job = Job(number, "", {}, [], config, str(number), str(number))
            record = a_record(config=config, created_ms=created_ms)
            results.append(JobResult(job, Outcome.finished, "", record, False))
        sweep_plan = SweepPlan(created_ms=10, **plan)
        return design_of(sweep_plan, results, SweepFolder(tmp_path)).earlier_runs

    assert earlier_runs(("mnist", 9), ("mnist", 11), ("digits", 9)) == 0
    assert earlier_runs(("mnist", 9), ("mnist", 9), ("digits", 9)) == 3
    assert earlier_runs(("mnist", 9), ("mnist", 11), confirms="1f3a") == 1
    assert earlier_runs(("mnist", 9), ("mnist", 9), remade=True) == 0
