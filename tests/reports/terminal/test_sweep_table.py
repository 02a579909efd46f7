"""The summary of a sweep: its table, its failures, and the threshold of chance."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lenet_exp.comparison.compare import compare_runs
from lenet_exp.folders.job import Job
from lenet_exp.folders.records import Outcome, Record
from lenet_exp.folders.results import JobResult
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.reports.terminal.sweep_table import print_sweep, without_state
from lenet_exp.reports.words.verdict import verdict
from tests.comparison.made_up import made
from tests.tools.configs import compose
from tests.tools.records import a_record

SWEEP = SweepFolder(Path("/runs/sweeps/0123456789abcdef"))


def result(
    number: int, outcome: str = "finished", best: float | None = None, **more: Any
) -> JobResult:
    """Return the result of a job with two flags; it has a record unless it never started or
    `record=False`.
    """
    job = Job(
        number,
        f"a{number} lr=0.{number}",
        {"activation": f"a{number}", "optimizer.lr": f"0.{number}"},
        [],
        {},
        "",
        "",
    )
    known = {"digest": "d", "confusion_matrix": more.get("matrix")}
    known |= {"best_val_accuracy": best, "best_epoch": best and 1, "seconds_to_best": best and 1.25}
    known |= {"config": compose(), "end_state": more["end_state"]} if "end_state" in more else {}
    has_record = more.get("record", outcome != "not started")
    record = a_record(outcome=Outcome(outcome), seconds=2.5, **known) if has_record else None
    return JobResult(
        job, Outcome(outcome), more.get("reason", ""), record, more.get("repeated", False)
    )


@pytest.fixture(autouse=True)
def _outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LENET_EXP_OUTPUTS", "/outputs")


@pytest.fixture
def results() -> list[JobResult]:
    """Return the results of eight jobs, the last of which never started."""
    return [
        result(0, best=0.5),
        result(1, "failed", reason="RuntimeError: [red]no[/red] markup"),
        result(2, best=0.9, repeated=True),
        result(3, "diverged", best=0.95, reason="loss nan in epoch 2, iteration 41"),
        result(4, best=0.1, matrix=[[25] + [0] * 9] * 10),
        result(5, "killed", best=0.8, reason="SIGINT"),
        result(6, "failed", reason="DataError: gone", record=False),
        result(7, "not started", reason="the sweep ended before"),
    ]


def table(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def test_summary_shows_counts_reasons_and_resume_command(results, capsys):
    print_sweep(results, 12.34, SWEEP)
    counts, *reasons, again = table(capsys.readouterr().out)
    assert re.findall(r"[\d.]+", counts) == ["8", "3", "1", "2", "1", "1", "6", "1", "12.3"]
    log = "/outputs/runs/run.log"
    told = [
        ("failed: a1 lr=0.1", log),
        ("failed: a6 lr=0.6", "gone"),
        ("diverged: a3 lr=0.3", log),
        ("killed: a5 lr=0.5", log),
    ]
    for said, (begins, ends) in zip(reasons, told, strict=True):
        assert said.startswith(begins)
        assert said.endswith(ends)
    assert "[red]no[/red] markup" in reasons[0]
    assert again.endswith("lenet-train -m sweep.resume=0123456789abcdef")


def test_summary_counts_new_runs_without_final_state(capsys):
    results = [
        result(0, best=0.5, end_state=""),
        result(1, best=0.5, end_state="d"),
        result(2, best=0.5, end_state="", repeated=True),
        result(3, "failed", end_state=""),
    ]
    (line,) = without_state(results)
    assert "for 1 run, such as a0 lr=0.0;" in line
    assert list(without_state(results[1:])) == []


@pytest.mark.parametrize(
    ("outcome", "goes_on"),
    [
        ("finished", False),
        ("diverged", False),
        ("failed", True),
        ("killed", True),
        ("not started", True),
    ],
)
def test_resume_command_is_printed_if_something_can_be_resumed(capsys, outcome, goes_on):
    print_sweep([result(0, best=0.5), result(1, outcome, best=0.4)], 1.0, SWEEP)
    assert ("sweep.resume=" in capsys.readouterr().out) is goes_on


@pytest.mark.parametrize(("num_results", "is_compared"), [(0, False), (1, True)])
def test_edited_code_is_compared_only_if_there_are_results(
    tmp_path, capsys, num_results, is_compared
):
    for number, (name, digest) in enumerate([("1f3a", "old"), ("9c07", "new")]):
        sweep = SweepFolder(tmp_path / "sweeps" / name)
        sweep.path.mkdir(parents=True)
        sweep.start([], created_ms=number, code={"mine.Network": digest})
    done = result(0, best=0.5)
    done = replace(done, job=replace(done.job, config=compose()))
    print_sweep([done] * num_results, 1.0, sweep)
    assert ("sweep=1f3a,9c07" in capsys.readouterr().out) is is_compared


def test_failures_beyond_three_are_counted(capsys):
    found = [result(n, "diverged", reason="loss nan " * 100) for n in range(30)]
    print_sweep(found, 1.0, SWEEP)
    lines = table(capsys.readouterr().out)
    assert sum(line.startswith("diverged: a") for line in lines) == 3
    assert "diverged: 27 more" in lines


def test_table_has_row_per_configuration_of_each_dataset(results, capsys):
    runs = [
        made(0, 0.9, activation="selu"),
        made(0, 0.8, activation="relu"),
        made(0, 0.7, dataset="digits"),
    ]
    for more in ([], [made(1, 0.91, activation="selu")]):
        comparisons = compare_runs([*runs, *more])
        print_sweep(results, 1.0, SWEEP, comparisons)
        lines = table(capsys.readouterr().out)
        assert [line.split()[1] for line in lines if re.match(r"\d+ +[rs]elu ", line)] == [
            "selu",
            "relu",
        ]
        assert [line.partition(":")[0] for line in lines[:1]] == [comparisons[0].dataset]
        assert verdict(comparisons[0]) in lines


def record(right: int, outcome: Outcome = Outcome.finished, n: int = 250) -> Record:
    """Return a record with ten equal classes and `right` of `n` validation images classified
    correctly.
    """
    each = n // 10
    matrix = [[0] * 10 for _ in range(10)]
    for i in range(10):
        hits = right // 10 + (i < right % 10)
        matrix[i][i] = hits
        matrix[i][(i + 1) % 10] = each - hits
    return a_record(outcome=outcome, confusion_matrix=matrix, best_val_accuracy=right / n)


@pytest.mark.parametrize(("right", "flagged"), [(20, True), (34, True), (35, False), (60, False)])
def test_chance_ends_two_standard_deviations_above_most_frequent_class(right, flagged):
    # 25 +- 4.74 of 250
    assert record(right).at_chance is flagged
    assert not record(right, Outcome.diverged).at_chance
    assert not a_record(
        outcome=Outcome.finished, confusion_matrix=None, best_val_accuracy=None
    ).at_chance
