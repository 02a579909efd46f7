"""The table a sweep ends with: best first, what went wrong and where its log is, and how to open the UI."""

from __future__ import annotations

import math
import sys
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lenet_exp.sweeps.plan import Job, SweepFolder
from lenet_exp.tracking.store import ui_command

Row = tuple[Job, dict[str, Any]]
MISSING = {"outcome": "not started", "reason": "the sweep ended before", "best_val_accuracy": None, "repeated": False}


def ranked(sweep: SweepFolder) -> list[Row]:
    """Jobs with their results, best validation accuracy first; those without a result last."""
    rows = [(job, sweep.result(job.number) or MISSING) for job in sweep.jobs()]
    return sorted(rows, key=lambda row: _order(row[1]))


def at_chance(record: dict[str, Any]) -> bool:
    """Whether a run ended no better than naming the most frequent class (best validation accuracy, within 2 sigma)."""
    matrix = record.get("confusion_matrix")
    if not matrix or record["outcome"] != "finished":
        return False
    n = sum(map(sum, matrix))
    share = max(map(sum, matrix)) / n
    return record["best_val_accuracy"] <= share + 2 * math.sqrt(share * (1 - share) / n)


def print_sweep(sweep: SweepFolder, uri: str, seconds: float) -> None:
    """Prints the table to stdout, in full width where it isn't a terminal."""
    rows = ranked(sweep)
    swept = list(rows[0][0].swept) if rows else []
    console = Console(width=None if sys.stdout.isatty() else 200)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("#", justify="right")
    for flag in swept:
        table.add_column(flag.rpartition(".")[2], no_wrap=True)
    for title in ("best val", "epoch", "seconds"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("")
    for rank, (job, result) in enumerate(rows, 1):
        table.add_row(str(rank), *(job.swept[f] for f in swept), *_cells(result), Text(_remark(result), style="yellow"))
    console.print(table)
    counts = [f"{sum(r['outcome'] == o for _, r in rows)} {o}" for o in _outcomes(rows)]
    trained = sum(not r["repeated"] for _, r in rows if r is not MISSING)
    again = sum(r["repeated"] for _, r in rows)
    had = f" ({again} had been trained before)" if again else ""
    console.print(f"{len(rows)} runs: {', '.join(counts)}; {trained} trained{had} in {seconds:.1f} s", highlight=False)
    for job, result in rows:
        if result["outcome"] not in {"finished", "not started"}:
            where = f"; log: {result['log']}" if result["log"] else ""
            console.print(f"{result['outcome']}: {job.name}: {result['reason']}{where}", markup=False, soft_wrap=True)
    console.print(f"compare them: {ui_command(uri)}", markup=False, highlight=False, soft_wrap=True)


def markdown(sweep: SweepFolder) -> str:
    """The same for MLflow's description of the sweep; the first 100 rows."""
    rows = ranked(sweep)
    swept = list(rows[0][0].swept) if rows else []
    head = ["#", *(flag.rpartition(".")[2] for flag in swept), "best val", "epoch", "seconds", ""]
    lines = [f"`{sweep.plan()['command']}`", "", f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for rank, (job, result) in enumerate(rows[:100], 1):
        cells = [str(rank), *(job.swept[f] for f in swept), *_cells(result), _remark(result)]
        lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    if len(rows) > 100:
        lines.append(f"\n{len(rows) - 100} more")
    return "\n".join(lines)


def _cells(result: dict[str, Any]) -> list[str]:
    if result["best_val_accuracy"] is None:
        return ["-", "-", "-"]
    return [f"{result['best_val_accuracy']:.2%}", str(result["best_epoch"]), f"{result['seconds']:.1f}"]


def _remark(result: dict[str, Any]) -> str:
    remarks = [] if result["outcome"] == "finished" else [result["outcome"]]
    if result.get("at_chance"):
        remarks.append("at chance: learned nothing")
    if result["repeated"]:
        remarks.append("trained before")
    return ", ".join(remarks)


def _outcomes(rows: list[Row]) -> list[str]:
    present = {r["outcome"] for _, r in rows}
    return [o for o in ("finished", "diverged", "failed", "killed", "not started") if o in present]


def _order(result: dict[str, Any]) -> tuple[bool, float]:
    finished = result["outcome"] == "finished"
    return (not finished, -(result["best_val_accuracy"] or 0.0))
