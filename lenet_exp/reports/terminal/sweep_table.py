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
from lenet_exp.reports.words.search_words import more_of, outcome_counts, search_line

MOST_LINES = 3  # maximum number of lines for each type of failure

# The outcomes of runs that the same command trains further.
RESUMABLE = {Outcome.killed, Outcome.failed, Outcome.pruned, Outcome.not_started}


def missing_digests(results: Sequence[JobResult]) -> str | None:
    """Return a line with the number of runs whose records lack a digest, or None if all records
    have a digest.

    Older releases did not store digests.
    """
    records = {r.job.run: r.record for r in results if r.record is not None}
    num_missing = sum(record.digest is None for record in records.values())
    if not num_missing:
        return None
    runs = number_of(len(records), "run")
    consequence = "edits cannot be detected"
    return f"{num_missing} of {runs} without a digest (older release): {consequence}"


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
    search = plan.search if plan is not None else None
    if plan is not None and search is not None and plan.stopped_by:
        # The result of the search is not final.
        stopped = f"stopped by {plan.stopped_by}: {search_line(search, results)}"
        console.lines(stopped, resume_line(sweep))
        return

    for comparison in comparisons:
        print_comparison(comparison)
    print_datasets(comparisons)
    without_digest = missing_digests(results)
    if without_digest is not None:
        console.print(without_digest)
    console.lines(_counts_line(results, seconds), *went_wrong(results), *without_state(results))

    if search is not None:
        console.lines(
            search_line(search, results),
            f"to continue, rerun the same command with {more_of(search)}",
        )
    elif any(result.outcome in RESUMABLE for result in results):
        console.lines(resume_line(sweep))

    earlier_sweep = None if plan is None else _before_edit(sweep, plan, results)
    if earlier_sweep is not None:
        command = f"lenet-compare sweep={earlier_sweep.id},{sweep.id}"
        console.lines(f"your code has changed; compare both versions: {command}")


def _counts_line(results: Sequence[JobResult], seconds: float) -> str:
    """Return a line such as `8 runs: 5 finished, 3 diverged; 6 trained, 2 reused in 12.3 s`."""
    num_reused = sum(result.repeated for result in results)
    num_trained = sum(_is_trained(result) for result in results)
    trained = f"{num_trained} trained"
    if num_reused:
        trained += f", {num_reused} reused"
    runs = f"{number_of(len(results), 'run')}: {outcome_counts(results)}"
    return f"{runs}; {trained} in {seconds:.1f} s"


def _is_trained(result: JobResult) -> bool:
    """Return whether the job was trained at this start of the sweep."""
    if result.repeated or result.earlier:
        return False
    return result.outcome is not Outcome.not_started


def _before_edit(
    sweep: SweepFolder, plan: SweepPlan, results: Sequence[JobResult]
) -> SweepFolder | None:
    """Return the latest sweep with the same command and another version of the user's code, or
    None.

    Return None if the code of the metric changed, too, because values of different metrics are not
    comparable. Without results, there is nothing to compare.
    """
    if not plan.code or not results:
        return None
    for other in all_sweeps(sweep.outputs, quietly=True):
        other_plan = other.started()
        if other.id == sweep.id or not _has_same_command(plan, other_plan):
            continue

        metric = str(results[0].job.config.metric.get(TARGET))
        same_metric = other_plan.code.get(metric) == plan.code.get(metric)
        is_edited = other_plan.code != plan.code and same_metric
        is_earlier = other_plan.created_ms < plan.created_ms
        return other if is_edited and is_earlier else None
    return None


def _has_same_command(plan: SweepPlan, other: SweepPlan) -> bool:
    """Return whether two sweeps have the same overrides and the same classes of the user."""
    return other.overrides == plan.overrides and other.code.keys() == plan.code.keys()


def resume_line(sweep: SweepFolder) -> str:
    """Return a line that tells how to resume a sweep."""
    return f"to resume, rerun the same command or run: {resume_command(sweep)}"


def without_state(results: Sequence[JobResult]) -> Iterator[str]:
    """Yield a line if runs of this session finished, but their final training state could not be
    written.
    """
    affected = [result for result in results if _lacks_state(result)]
    if affected:
        job = affected[0].job
        runs = f"{number_of(len(affected), 'run')}, such as {job.name}"
        log_file = job.folder.log_file
        yield f"warning: final training state not kept for {runs}; log: {log_file}"


def _lacks_state(result: JobResult) -> bool:
    """Return whether a run finished in this session, but without its final training state."""
    if result.outcome is not Outcome.finished or not _is_trained(result):
        return False
    record = result.record
    return record is not None and keeps_state(record.config) and not record.end_state


def went_wrong(results: Sequence[JobResult]) -> Iterator[str]:
    """Yield a line for each run that diverged, failed, or was killed.

    For each type of failure, at most `MOST_LINES` runs are named, and the remaining runs are
    counted.
    """
    lines_of_outcome: dict[Outcome, list[str]] = {}
    for result in results:
        if result.outcome.ended_well or result.outcome is Outcome.not_started:
            continue
        line = f"{result.outcome}: {result.job.name}: {result.reason}"
        if result.record is not None:
            line += f"; log: {result.job.folder.log_file}"
        lines_of_outcome.setdefault(result.outcome, []).append(line)

    for outcome, lines in lines_of_outcome.items():
        yield from lines[:MOST_LINES]
        if len(lines) > MOST_LINES:
            yield f"{outcome}: {len(lines) - MOST_LINES} more"
