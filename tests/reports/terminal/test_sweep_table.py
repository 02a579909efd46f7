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
    activation = f"a{number}"
    lr = f"0.{number}"
    job = Job(
        number=number,
        name=f"{activation} lr={lr}",
        swept={"activation": activation, "optimizer.lr": lr},
        overrides=[],
        config={},
        fingerprint="",
        run="",
    )

    fields = {"digest": "d", "confusion_matrix": more.get("matrix"), "best_val_accuracy": best}
    if best is not None:
        fields |= {"best_epoch": 1, "seconds_to_best": 1.25}
    if "end_state" in more:
        fields |= {"config": compose(), "end_state": more["end_state"]}
    record = None
    if more.get("record", outcome != "not started"):
        record = a_record(outcome=Outcome(outcome), seconds=2.5, **fields)

    return JobResult(
        job,
        Outcome(outcome),
        reason=more.get("reason", ""),
        record=record,
        repeated=more.get("repeated", False),
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
    log = "/outputs/runs/run.log"

    print_sweep(results, 12.34, SWEEP)

    counts, *reasons, resume = table(capsys.readouterr().out)
    assert re.findall(r"[\d.]+", counts) == ["8", "3", "1", "2", "1", "1", "6", "1", "12.3"]
    starts_and_ends = [
        ("failed: a1 lr=0.1", log),
        ("failed: a6 lr=0.6", "gone"),
        ("diverged: a3 lr=0.3", log),
        ("killed: a5 lr=0.5", log),
    ]
    for reason, (start, end) in zip(reasons, starts_and_ends, strict=True):
        assert reason.startswith(start)
        assert reason.endswith(end)
    assert "[red]no[/red] markup" in reasons[0]
    assert resume.endswith("lenet-train -m sweep.resume=0123456789abcdef")


def test_summary_counts_new_runs_without_final_state(capsys):
    new = result(0, best=0.5, end_state="")
    others = [
        result(1, best=0.5, end_state="d"),
        result(2, best=0.5, end_state="", repeated=True),
        result(3, "failed", end_state=""),
    ]

    (line,) = without_state([new, *others])

    assert "for 1 run, such as a0 lr=0.0;" in line
    assert list(without_state(others)) == []


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
    before_edit = SweepFolder(tmp_path / "sweeps" / "1f3a")
    before_edit.path.mkdir(parents=True)
    before_edit.start([], created_ms=0, code={"mine.Network": "old"})
    after_edit = SweepFolder(tmp_path / "sweeps" / "9c07")
    after_edit.path.mkdir(parents=True)
    after_edit.start([], created_ms=1, code={"mine.Network": "new"})
    finished = result(0, best=0.5)
    finished = replace(finished, job=replace(finished.job, config=compose()))

    print_sweep([finished] * num_results, 1.0, after_edit)

    assert ("sweep=1f3a,9c07" in capsys.readouterr().out) is is_compared


def test_failures_beyond_three_are_counted(capsys):
    diverged = [result(n, "diverged", reason="loss nan " * 100) for n in range(30)]

    print_sweep(diverged, 1.0, SWEEP)

    lines = table(capsys.readouterr().out)
    assert sum(line.startswith("diverged: a") for line in lines) == 3
    assert "diverged: 27 more" in lines


def test_table_has_row_per_configuration_of_each_dataset(results, capsys):
    runs = [
        made(0, 0.9, activation="selu"),
        made(0, 0.8, activation="relu"),
        made(0, 0.7, dataset="digits"),
    ]
    second_seed = made(1, 0.91, activation="selu")
    for compared_runs in (runs, [*runs, second_seed]):
        comparisons = compare_runs(compared_runs)

        print_sweep(results, 1.0, SWEEP, comparisons)

        lines = table(capsys.readouterr().out)
        rows = [line for line in lines if re.match(r"\d+ +[rs]elu ", line)]
        assert [row.split()[1] for row in rows] == ["selu", "relu"]
        assert lines[0].partition(":")[0] == comparisons[0].dataset
        assert verdict(comparisons[0]) in lines


def record(right: int, outcome: Outcome = Outcome.finished) -> Record:
    """Return a record with ten equal classes and `right` of 250 validation images classified
    correctly.
    """
    images_of_class = 25
    matrix = [[0] * 10 for _ in range(10)]
    for i in range(10):
        hits = right // 10 + (i < right % 10)
        matrix[i][i] = hits
        matrix[i][(i + 1) % 10] = images_of_class - hits
    return a_record(outcome=outcome, confusion_matrix=matrix, best_val_accuracy=right / 250)


@pytest.mark.parametrize(("right", "flagged"), [(20, True), (34, True), (35, False), (60, False)])
def test_chance_ends_two_standard_deviations_above_most_frequent_class(right, flagged):
    without_epochs = a_record(
        outcome=Outcome.finished, confusion_matrix=None, best_val_accuracy=None
    )

    # 25 +- 4.74 of 250
    assert record(right).at_chance is flagged
    assert not record(right, Outcome.diverged).at_chance
    assert not without_epochs.at_chance
