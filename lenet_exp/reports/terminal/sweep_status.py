"""Prints the output of `lenet-sweep list` and `lenet-sweep status`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from lenet_exp.amounts import number_of
from lenet_exp.config.class_groups import option_name
from lenet_exp.config.metric import Metric
from lenet_exp.folders.delivered import is_uploading
from lenet_exp.folders.owner import owner_of
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.results import JobResult, job_results
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.folders.sweep_plan import SweepPlan
from lenet_exp.folders.sweep_progress import SweepMonitor
from lenet_exp.reports.terminal.plain import PlainTable, wide_console
from lenet_exp.reports.terminal.sweep_table import resume_line, went_wrong
from lenet_exp.reports.words.progress_words import left_words
from lenet_exp.reports.words.search_words import search_line


def matches(sweep: SweepFolder, user: str | None, model: str | None, tag: str | None) -> bool:
    """Return whether a sweep matches a user, a model, and a tag.

    Args:
        user, model: names; None for any.
        tag: name of the tag, or `name=value`; None for any.
    """
    plan = sweep.started()
    if user is not None and user not in plan.users:
        return False
    if model is not None:
        models = {option_name(job.config.model) for job in sweep.jobs()}
        if model not in models:
            return False
    if tag is None:
        return True
    name, _, value = tag.partition("=")
    return name in plan.tags and value in ("", plan.tags[name])


def print_list(sweeps: Sequence[SweepFolder]) -> None:
    """Print a table of sweeps, with one row per sweep."""
    if not sweeps:
        print("no sweeps found; to start one, run: lenet-train -m ...")
        return
    table = PlainTable()
    for title in ("sweep", "last start", "state", "done", "command"):
        table.add_column(title, no_wrap=title != "command", overflow="fold")
    for sweep in sweeps:
        plan = sweep.started()
        started = datetime.fromtimestamp(plan.started_ms / 1000)
        table.add_row(
            sweep.id,
            f"{started:%Y-%m-%d %H:%M}",
            _state(sweep, plan.outcome),
            _done(sweep, plan),
            plan.command,
        )
    wide_console().print(table)


def _done(sweep: SweepFolder, plan: SweepPlan) -> str:
    """Return the number of runs or trials that have ended, such as `12/60 runs`."""
    search = plan.search
    if search is not None:
        num_trials = max(search.trials, search.n_trials or 0)
        return f"{search.finished_trials}/{number_of(num_trials, 'trial')}"

    jobs = sweep.jobs()
    num_done = sum(job.folder.result() is not None for job in jobs)
    return f"{num_done}/{number_of(len(jobs), 'run')}"


def print_status(sweep: SweepFolder) -> None:
    """Print the status of a sweep: its running jobs, failures, counts, and time left."""
    plan = sweep.started()
    if sweep.owner() is None:
        progress = None
        results = job_results(sweep, sweep.jobs(), plan.started_ms)
    else:
        progress = SweepMonitor(sweep).progress()
        results = list(progress.results)

    console = wide_console()
    state = _state(sweep, plan.outcome)
    if progress is None:
        state += _why_ended(plan)
    console.print(f"sweep {sweep.id}: {state}")
    console.lines(plan.command)
    if plan.search is not None:
        console.lines(search_line(plan.search, results))
    else:
        counts = Counter(result.outcome for result in results)
        console.print(", ".join(f"{n} {outcome}" for outcome, n in counts.most_common()))

    running = [result for result in results if result.outcome is Outcome.running]
    if running:
        console.print(_table_of_running(running))
    wrong = [r for r in results if r.outcome in {Outcome.failed, Outcome.diverged}]
    console.lines(*went_wrong(wrong))

    if progress is not None:
        left = left_words(progress)
        if left:
            console.print(left)
    elif plan.outcome in {Outcome.killed, Outcome.failed}:
        console.lines(resume_line(sweep))


def _table_of_running(running: Sequence[JobResult]) -> PlainTable:
    table = PlainTable()
    for title in ("running", "epoch", "best val", "where"):
        table.add_column(title, no_wrap=True)
    for result in running:
        table.add_row(*_row_of_running(result))
    return table


def _state(sweep: SweepFolder, outcome: str) -> str:
    owner = sweep.owner()
    if owner is not None:
        return f"running ({owner.host}, process {owner.pid})"
    if is_uploading(sweep.path):
        return f"{outcome}; uploading; results are final"
    return outcome


def _why_ended(plan: SweepPlan) -> str:
    """Return the reason why a sweep ended, such as ` (n_trials=12)`, or an empty string if the
    reason is unknown.
    """
    reason = plan.stopped_by
    if not reason and plan.search is not None:
        reason = plan.search.ended_by
    return f" ({reason})" if reason else ""


def _row_of_running(result: JobResult) -> tuple[str, str, str, str]:
    """Return the cells for a running job: its name, its epochs, its best value, and its process."""
    job = result.job
    history = job.folder.history()
    epochs = f"{len(history.epochs)}/{job.config.num_epoch}"

    best = "-"
    if history.best is not None:
        best = Metric.of(job.config.metric).text(history.best.value)

    owner = owner_of(job.folder.path)
    process = f"{owner.host}, process {owner.pid}" if owner is not None else "-"
    return job.name, epochs, best, process
