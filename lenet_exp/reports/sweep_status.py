"""What `lenet-sweep list` and `lenet-sweep status` print."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lenet_exp.folders.job import Job
from lenet_exp.folders.owner import owner_of
from lenet_exp.folders.results import JobResult, job_results
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.reports.search_words import search_line
from lenet_exp.reports.sweep_table import first_few

FEW = 4  # runs that a line names
LINE_SECONDS = 5.0


def print_list(sweeps: Sequence[SweepFolder]) -> None:
    """One line a sweep."""
    if not sweeps:
        print("no sweeps here yet; lenet-train -m ... starts one")
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("sweep", "started", "state", "done", "command"):
        table.add_column(title, no_wrap=title != "command", overflow="fold")
    for sweep in sweeps:
        plan = sweep.started()
        jobs = sweep.jobs()
        done, of = sum(job.folder.result() is not None for job in jobs), len(jobs)
        if plan.search is not None:
            done, of = plan.search.told, plan.search.trials
        started = datetime.fromtimestamp(plan.started_ms / 1000)
        state = _state(sweep, plan.outcome)
        table.add_row(sweep.id, f"{started:%Y-%m-%d %H:%M}", state, f"{done}/{of}", plan.command)
    _console().print(table)


def print_status(sweep: SweepFolder) -> None:
    """The jobs that run, what failed, the counts, and the time left."""
    plan = sweep.started()
    results = job_results(sweep, sweep.jobs(), plan.started_ms)
    counts = Counter(r.outcome for r in results)
    console = _console()
    console.print(f"sweep {sweep.id}: {_state(sweep, plan.outcome)}", highlight=False)
    console.print(plan.command, markup=False, highlight=False, soft_wrap=True)
    if plan.search is not None:
        console.print(search_line(plan.search, results), markup=False, highlight=False, soft_wrap=True)
    else:
        console.print(", ".join(f"{n} {outcome}" for outcome, n in counts.most_common()), highlight=False)
    running = [r for r in results if r.outcome == "running"]
    if running:
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for title in ("running", "epoch", "best val", "where"):
            table.add_column(title, no_wrap=True)
        for result in running:
            table.add_row(*_running(result))
        console.print(table)
    wrong: dict[str, list[str]] = {}
    for result in results:
        if result.outcome in {"failed", "diverged"}:
            line = f"{result.outcome}: {result.job.name}: {result.reason}; log: {result.job.folder.log_file}"
            wrong.setdefault(result.outcome, []).append(line)
    for line in first_few(wrong):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    left = _time_left(results, plan.started_ms)
    if sweep.owner() is not None and left is not None and plan.search is None:
        console.print(f"about {left / 60:.0f} min left", highlight=False)


def status_line(sweep: SweepFolder) -> str:
    """How far a sweep is, in one line."""
    plan = sweep.started()
    results = job_results(sweep, sweep.jobs(), plan.started_ms)
    counts = Counter(r.outcome for r in results if r.outcome not in {"running", "not started"})
    ended = ", ".join(f"{n} {outcome}" for outcome, n in counts.most_common())
    running = [r.job for r in results if r.outcome == "running"]
    words = [f"{len(results)} runs" + (f", {ended}" if ended else "")]
    if running:
        words.append("training " + ", ".join(_epochs(job) for job in running[:FEW]))
        words[-1] += f" and {len(running) - FEW} more" if len(running) > FEW else ""
    left = _time_left(results, plan.started_ms)
    if left is not None and plan.search is None:
        words.append(f"about {left / 60:.0f} min left")
    return f"sweep {sweep.id}: " + "; ".join(words)


class LiveLine:
    """A line that changes on a terminal; elsewhere it is printed anew, now and then. Use it as a context."""

    def __init__(self) -> None:
        self._live = Live(console=_console(), transient=True, auto_refresh=False) if sys.stdout.isatty() else None
        self._printed, self._line = -math.inf, ""

    def show(self, line: str) -> None:
        if self._live is not None:
            self._live.update(Text(line), refresh=True)
        elif line != self._line and time.monotonic() - self._printed >= LINE_SECONDS:
            print(line, flush=True)
            self._printed, self._line = time.monotonic(), line

    def __enter__(self) -> LiveLine:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()


def _epochs(job: Job) -> str:
    return f"{job.name} ({len(job.folder.history().epochs)}/{job.config.num_epoch})"


def _state(sweep: SweepFolder, outcome: str) -> str:
    owner = sweep.owner()
    return f"running ({owner.host}, process {owner.pid})" if owner else outcome


def _running(result: JobResult) -> tuple[str, str, str, str]:
    history = result.job.folder.history()
    best = f"{history.best.val_accuracy:.2%}" if history.best else "-"
    owner = owner_of(result.job.folder.path)
    where = f"{owner.host}, process {owner.pid}" if owner else "-"
    return result.job.name, f"{len(history.epochs)}/{result.job.config.num_epoch}", best, where


def _time_left(results: Sequence[JobResult], started_ms: int) -> float | None:
    """Seconds, from how many epochs this start has trained so far."""
    trained = left = 0
    for r in {r.job.run: r for r in results}.values():
        record = r.record
        if record is not None and record.is_result and not record.created_ms < started_ms <= record.ended_ms:
            trained += record.epochs if record.created_ms >= started_ms else 0
            continue
        epochs = r.job.folder.history().epochs
        trained += sum(e.time_ms >= started_ms for e in epochs)
        left += 0 if r.outcome.is_result else r.job.config.num_epoch - len(epochs)
    return (time.time() - started_ms / 1000) * left / trained if trained else None


def _console() -> Console:
    """`[affine,flip]` in a command is a value, not markup."""
    return Console(width=None if sys.stdout.isatty() else 200, markup=False)
