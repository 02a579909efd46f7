"""The table of a sweep: order, remarks, and what chance is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lenet_exp.reports.sweep_table import at_chance, markdown, print_sweep, ranked
from lenet_exp.sweeps.plan import Job, SweepFolder

URI = "sqlite:////somewhere/mlflow.db"


def result(outcome: str = "finished", best: float | None = None, **more: Any) -> dict[str, Any]:
    given = {"outcome": outcome, "reason": "", "best_val_accuracy": best, "best_epoch": 1, "seconds": 1.25}
    return given | {"at_chance": False, "repeated": False, "log": None} | more


@pytest.fixture
def sweep(tmp_path: Path) -> SweepFolder:
    """Six jobs of two flags; the last one never started."""
    jobs = [Job(n, f"a{n} lr=0.{n}", {"activation": f"a{n}", "optimizer.lr": f"0.{n}"}) for n in range(6)]
    sweep = SweepFolder(tmp_path)
    sweep.start("lenet-train -m 'x=1|2'", [], jobs)
    sweep.end_job(0, result(best=0.5))
    sweep.end_job(1, result("failed", reason="RuntimeError: [red]no[/red] markup", log="/runs/1/run.log"))
    sweep.end_job(2, result(best=0.9, repeated=True))
    sweep.end_job(3, result("diverged", best=0.95, reason="loss nan in epoch 2, iteration 41", log="/runs/3/run.log"))
    sweep.end_job(4, result(best=0.1, at_chance=True))
    return sweep


def test_finished_runs_come_first_the_best_first_and_those_without_a_result_last(sweep):
    assert [job.number for job, _ in ranked(sweep)] == [2, 0, 4, 3, 1, 5]


def test_the_terminal_gets_every_row_the_reasons_and_the_way_to_the_ui(sweep, capsys):
    print_sweep(sweep, URI, 12.34)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[0].split() == ["#", "activation", "lr", "best", "val", "epoch", "seconds"]
    rows = [line.split(maxsplit=6) for line in lines[2:8]]
    assert rows == [
        ["1", "a2", "0.2", "90.00%", "1", "1.2", "trained before"],
        ["2", "a0", "0.0", "50.00%", "1", "1.2"],
        ["3", "a4", "0.4", "10.00%", "1", "1.2", "at chance: learned nothing"],
        ["4", "a3", "0.3", "95.00%", "1", "1.2", "diverged"],
        ["5", "a1", "0.1", "-", "-", "-", "failed"],
        ["6", "a5", "0.5", "-", "-", "-", "not started"],
    ]
    assert lines[8:] == [
        "6 runs: 3 finished, 1 diverged, 1 failed, 1 not started; 4 trained (1 had been trained before) in 12.3 s",
        "diverged: a3 lr=0.3: loss nan in epoch 2, iteration 41; log: /runs/3/run.log",
        "failed: a1 lr=0.1: RuntimeError: [red]no[/red] markup; log: /runs/1/run.log",
        f"compare them: MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --backend-store-uri {URI}",
    ]


def test_a_long_reason_stays_one_line(sweep, capsys):
    sweep.end_job(1, result("failed", reason="word " * 100, log="/runs/1/run.log"))
    print_sweep(sweep, URI, 1.0)
    (line,) = [text for text in capsys.readouterr().out.splitlines() if text.startswith("failed: ")]
    assert line.endswith("log: /runs/1/run.log")


def test_the_description_is_a_markdown_table(sweep):
    lines = markdown(sweep).splitlines()
    assert lines[0] == "`lenet-train -m 'x=1|2'`"
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + 6
    assert {line.count("|") for line in table} == {8}
    assert table[2] == "| 1 | a2 | 0.2 | 90.00% | 1 | 1.2 | trained before |"


def test_a_pipe_in_a_value_does_not_break_the_description(tmp_path):
    sweep = SweepFolder(tmp_path)
    sweep.start("x", [], [Job(0, "n", {"tracking.tags.note": "a|b"})])
    assert markdown(sweep).splitlines()[-1].startswith("| 1 | a\\|b | ")


def test_the_description_of_a_huge_sweep_is_cut(tmp_path):
    sweep = SweepFolder(tmp_path)
    sweep.start("x", [], [Job(n, f"seed={n}", {"seed": str(n)}) for n in range(130)])
    text = markdown(sweep)
    assert sum(line.startswith("|") for line in text.splitlines()) == 2 + 100
    assert text.splitlines()[-1] == "30 more"


def record(right: int, outcome: str = "finished", n: int = 250) -> dict[str, Any]:
    """Ten equal classes, `right` of `n` validation images named rightly."""
    each = n // 10
    matrix = [[0] * 10 for _ in range(10)]
    for i in range(10):
        hits = right // 10 + (i < right % 10)
        matrix[i][i] = hits
        matrix[i][(i + 1) % 10] = each - hits
    return {"outcome": outcome, "confusion_matrix": matrix, "best_val_accuracy": right / n}


@pytest.mark.parametrize(("right", "flagged"), [(20, True), (25, True), (34, True), (35, False), (60, False)])
def test_chance_is_two_standard_deviations_above_the_most_frequent_class(right, flagged):
    # 25 +- 4.74 of 250
    assert at_chance(record(right)) is flagged


def test_only_a_finished_run_can_be_at_chance():
    assert at_chance(record(25))
    assert not at_chance(record(25, "diverged"))
    assert not at_chance({"outcome": "finished", "confusion_matrix": None, "best_val_accuracy": None})
    assert not at_chance({})
