"""Prints the summary of a sweep at its end: the table, failed runs, and the command that opens MLflow's UI."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.text import Text

from lenet_exp.amounts import first_of, number_of
from lenet_exp.comparison.compare import Comparison
from lenet_exp.config.names import rounded
from lenet_exp.folders.config_dir import resume_command
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.results import JobResult
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.reports.terminal.leaderboard import (
    SEARCH_ROWS,
    TERMINAL_ROWS,
    print_comparison,
    print_datasets,
    print_verdict,
)
from lenet_exp.reports.terminal.plain import PlainTable, wide_console
from lenet_exp.reports.words.phrases import AT_CHANCE
from lenet_exp.reports.words.search_words import more_of, search_line

MOST_LINES = 3  # maximum number of lines for each type of failure


def ranked(results: Sequence[JobResult]) -> list[JobResult]:
    """Sort results by validation accuracy, best first; runs without a result and then diverged runs are last."""
    return sorted(results, key=lambda r: (r.outcome is Outcome.diverged, 0.0 if math.isnan(r.value) else -r.value))


def missing_digests(results: Sequence[JobResult]) -> str | None:
    """Return a line with the number of runs whose records lack a digest, or None if all records have a digest.

    Older releases did not store digests.
    """
    records = {r.job.run: r.record for r in results if r.record is not None}
    old = sum(record.digest is None for record in records.values())
    of = number_of(len(records), "run")
    return f"{old} of {of} without a digest (older release): edits cannot be detected" if old else None


def print_sweep(
    results: Sequence[JobResult],
    seconds: float,
    sweep: SweepFolder,
    comparisons: Sequence[Comparison] = (),
) -> None:
    """Print the summary of a sweep to stdout, at full width if stdout is not a terminal.

    Args:
        results: results of all jobs in the sweep.
        seconds: duration of the sweep.
        comparisons: comparisons of these results. If configurations have several seeds, the table has a row per
            configuration instead of a row per run.
    """
    rows = ranked(results)
    console = wide_console()
    plan = sweep.kept_plan()
    if plan is not None and plan.search is not None and plan.stopped_by:  # the result of the search is not final
        console.lines(f"stopped by {plan.stopped_by}: {search_line(plan.search, results)}", resume_line(sweep))
        return
    if any(len(group.runs) > 1 for comparison in comparisons for group in comparison.groups):
        for comparison in comparisons:
            print_comparison(comparison)
        if (line := missing_digests(rows)) is not None:
            console.print(line)
    else:
        searched = any(comparison.searched for comparison in comparisons)
        datasets = [c.dataset for c in comparisons] if len(comparisons) > 1 else [None]
        for dataset in datasets:  # accuracies on different datasets are not comparable
            its = [r for r in rows if dataset is None or r.job.config.dataset.name == dataset]
            shown = its[: SEARCH_ROWS if searched else TERMINAL_ROWS]
            console.print(_table(shown))
            if len(shown) < len(its):
                console.print(f"{len(its) - len(shown)} more; to list them, run: lenet-compare output=report.csv")
        for comparison in comparisons:
            print_verdict(comparison)
            if comparison.searched is not None and (command := comparison.searched.best_command) is not None:
                console.lines(f"to train the best configuration, run: {command}")
    print_datasets(comparisons)
    counts = [f"{n} {o}" for o in Outcome if (n := sum(r.outcome == o for r in rows))]
    again = sum(r.repeated for r in rows)
    trained = sum(r.outcome != "not started" and not r.repeated and not r.earlier for r in rows)
    had = f", {again} reused" if again else ""
    runs = f"{number_of(len(rows), 'run')}: {', '.join(counts)}"
    console.lines(f"{runs}; {trained} trained{had} in {seconds:.1f} s", *went_wrong(rows))
    if plan is not None and (search := plan.search) is not None:
        console.lines(search_line(search, results), f"to continue, rerun the same command with {more_of(search)}")
    elif any(r.outcome in {"killed", "failed", "pruned", "not started"} for r in rows):
        console.lines(resume_line(sweep))
    console.lines(f"view in MLflow: lenet-ui sweep={sweep.id}")


def resume_line(sweep: SweepFolder) -> str:
    """Return a line that tells how to resume a sweep."""
    return f"to resume, rerun the same command or run: {resume_command(sweep)}"


def went_wrong(rows: Sequence[JobResult]) -> Iterator[str]:
    """Yield a line for each run that diverged, failed, or was killed, and a line that names the runs at chance level.

    For each type of failure, at most `MOST_LINES` runs are named, and the remaining runs are counted.
    """
    if low := [result.job.name for result in rows if result.record is not None and result.record.at_chance]:
        yield f"at chance ({AT_CHANCE}): {first_of(low, MOST_LINES)}"
    kinds: dict[str, list[str]] = {}
    for result in rows:
        name = result.job.name
        if not result.outcome.ended_well and result.outcome is not Outcome.not_started:
            where = f"; log: {result.job.folder.log_file}" if result.record else ""
            kinds.setdefault(result.outcome, []).append(f"{result.outcome}: {name}: {result.reason}{where}")
    for kind, lines in kinds.items():
        yield from lines[:MOST_LINES]
        if len(lines) > MOST_LINES:
            yield f"{kind}: {len(lines) - MOST_LINES} more"


def _table(rows: Sequence[JobResult]) -> PlainTable:
    swept = list(rows[0].job.swept) if rows else []
    sizes = [result.record.parameters if result.record is not None else None for result in rows]
    sized = len({size for size in sizes if size is not None}) > 1
    table = PlainTable()
    table.add_column("#", justify="right")
    for flag in swept:
        table.add_column(flag.rpartition(".")[2], no_wrap=True)
    for title in ("best val", "in epoch", "seconds", *(["parameters"] if sized else [])):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("")
    for rank, (result, size) in enumerate(zip(rows, sizes, strict=True), 1):
        values = (rounded(result.job.swept[f]) for f in swept)
        size_cell = [f"{size:,}" if size is not None else "-"] if sized else []
        table.add_row(str(rank), *values, *_cells(result), *size_cell, Text(_remark(result), style="yellow"))
    return table


def _cells(result: JobResult) -> list[str]:
    record = result.record
    if record is None or record.best_val_accuracy is None:
        return ["-", "-", "-"]
    # Records from older releases do not contain the seconds.
    seconds = f"{record.seconds_to_best:.1f}" if record.seconds_to_best is not None else "-"
    return [f"{record.best_val_accuracy:.2%}", str(record.best_epoch), seconds]


def _remark(result: JobResult) -> str:
    record = result.record
    remarks = [] if result.outcome is Outcome.finished else [str(result.outcome)]
    if result.outcome is Outcome.pruned and record is not None:
        remarks = [f"pruned after epoch {record.epochs}"]
    if record is not None and record.stopped_early:
        remarks.append(f"stopped early after epoch {record.epochs}")
    if record is not None and record.at_chance:
        remarks.append("at chance")
    if result.repeated:
        remarks.append("already trained")
    if record is not None and record.digest is None:
        remarks.append("no digest (older release)")
    return ", ".join(remarks)
