"""Prints the summary of a sweep at its end: the table, failed runs, and the command that resumes
the sweep.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lenet_exp.amounts import number_of
from lenet_exp.comparison.compare import Comparison
from lenet_exp.config.class_groups import TARGET
from lenet_exp.folders.checkpoints import keeps_state
from lenet_exp.folders.config_dir import resume_command
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.results import JobResult
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.folders.sweep_plan import SweepPlan
from lenet_exp.reports.terminal.leaderboard import print_comparison, print_datasets
from lenet_exp.reports.terminal.plain import wide_console
from lenet_exp.reports.words.search_words import more_of, search_line

MOST_LINES = 3  # maximum number of lines for each type of failure


def missing_digests(results: Sequence[JobResult]) -> str | None:
    """Return a line with the number of runs whose records lack a digest, or None if all records
    have a digest.

    Older releases did not store digests.
    """
    records = {r.job.run: r.record for r in results if r.record is not None}
    old = sum(record.digest is None for record in records.values())
    of = number_of(len(records), "run")
    return (
        f"{old} of {of} without a digest (older release): edits cannot be detected" if old else None
    )


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
        comparisons: comparisons of these results, one for each dataset.
    """
    console = wide_console()
    plan = sweep.kept_plan()
    if (
        plan is not None and plan.search is not None and plan.stopped_by
    ):  # the result of the search is not final
        console.lines(
            f"stopped by {plan.stopped_by}: {search_line(plan.search, results)}", resume_line(sweep)
        )
        return
    for comparison in comparisons:
        print_comparison(comparison)
    print_datasets(comparisons)
    if (line := missing_digests(results)) is not None:
        console.print(line)
    counts = [f"{n} {o}" for o in Outcome if (n := sum(r.outcome == o for r in results))]
    again = sum(r.repeated for r in results)
    trained = sum(r.outcome != "not started" and not r.repeated and not r.earlier for r in results)
    had = f", {again} reused" if again else ""
    runs = f"{number_of(len(results), 'run')}: {', '.join(counts)}"
    console.lines(
        f"{runs}; {trained} trained{had} in {seconds:.1f} s",
        *went_wrong(results),
        *without_state(results),
    )
    if plan is not None and (search := plan.search) is not None:
        console.lines(
            search_line(search, results),
            f"to continue, rerun the same command with {more_of(search)}",
        )
    elif any(r.outcome in {"killed", "failed", "pruned", "not started"} for r in results):
        console.lines(resume_line(sweep))
    if plan is not None and (before := _before_edit(sweep, plan, results)) is not None:
        console.lines(
            f"your code has changed; compare both versions: lenet-compare sweep={before.id},{sweep.id}"
        )


def _before_edit(
    sweep: SweepFolder, plan: SweepPlan, results: Sequence[JobResult]
) -> SweepFolder | None:
    """Return the latest sweep with the same command and another version of the user's code, or
    None.

    Return None if the code of the metric changed, too, because values of different metrics are not
    comparable.
    """
    for other in all_sweeps(sweep.outputs, quietly=True) if plan.code else ():
        had = other.started()
        if (
            other.id != sweep.id
            and had.overrides == plan.overrides
            and had.code.keys() == plan.code.keys()
        ):
            metric = str(results[0].job.config.metric.get(TARGET))
            edited = had.code != plan.code and had.code.get(metric) == plan.code.get(metric)
            return other if edited and had.created_ms < plan.created_ms else None
    return None


def resume_line(sweep: SweepFolder) -> str:
    """Return a line that tells how to resume a sweep."""
    return f"to resume, rerun the same command or run: {resume_command(sweep)}"


def without_state(results: Sequence[JobResult]) -> Iterator[str]:
    """Yield a line if runs of this session finished, but their final training state could not be
    written.
    """
    new = [r for r in results if r.outcome is Outcome.finished and not r.repeated and not r.earlier]
    affected = [
        r
        for r in new
        if r.record is not None and keeps_state(r.record.config) and not r.record.end_state
    ]
    if affected:
        job = affected[0].job
        count = number_of(len(affected), "run")
        yield f"warning: final training state not kept for {count}, such as {job.name}; log: {job.folder.log_file}"


def went_wrong(rows: Sequence[JobResult]) -> Iterator[str]:
    """Yield a line for each run that diverged, failed, or was killed.

    For each type of failure, at most `MOST_LINES` runs are named, and the remaining runs are
    counted.
    """
    kinds: dict[str, list[str]] = {}
    for result in rows:
        if not result.outcome.ended_well and result.outcome is not Outcome.not_started:
            where = f"; log: {result.job.folder.log_file}" if result.record else ""
            kinds.setdefault(result.outcome, []).append(
                f"{result.outcome}: {result.job.name}: {result.reason}{where}"
            )
    for kind, lines in kinds.items():
        yield from lines[:MOST_LINES]
        if len(lines) > MOST_LINES:
            yield f"{kind}: {len(lines) - MOST_LINES} more"
