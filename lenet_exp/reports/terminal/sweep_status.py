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
    plan, (name, _, value) = sweep.started(), (tag or "").partition("=")
    return (
        (user is None or user in plan.users)
        and (model is None or any(option_name(job.config.model) == model for job in sweep.jobs()))
        and (tag is None or (name in plan.tags and value in ("", plan.tags[name])))
    )


def print_list(sweeps: Sequence[SweepFolder]) -> None:
    """Print a table of sweeps, with one row per sweep."""
    if not sweeps:
        print("no sweeps found; to start one, run: lenet-train -m ...")
        return
    table = PlainTable()
    for title in ("sweep", "last start", "state", "done", "command"):
        table.add_column(title, no_wrap=title != "command", overflow="fold")
    for sweep in sweeps:
        plan, jobs = sweep.started(), sweep.jobs()
        done = (
            f"{sum(job.folder.result() is not None for job in jobs)}/{number_of(len(jobs), 'run')}"
        )
        if (search := plan.search) is not None:
            done = f"{search.finished_trials}/{number_of(max(search.trials, search.n_trials or 0), 'trial')}"
        started = datetime.fromtimestamp(plan.started_ms / 1000)
        table.add_row(
            sweep.id, f"{started:%Y-%m-%d %H:%M}", _state(sweep, plan.outcome), done, plan.command
        )
    wide_console().print(table)


def print_status(sweep: SweepFolder) -> None:
    """Print the status of a sweep: its running jobs, failures, counts, and time left."""
    plan = sweep.started()
    progress = SweepMonitor(sweep).progress() if sweep.owner() is not None else None
    results = (
        progress.results
        if progress is not None
        else job_results(sweep, sweep.jobs(), plan.started_ms)
    )
    counts = Counter(r.outcome for r in results)
    console = wide_console()
    console.print(
        f"sweep {sweep.id}: {_state(sweep, plan.outcome)}{_why(plan) if progress is None else ''}"
    )
    console.lines(plan.command)
    if plan.search is not None:
        console.lines(search_line(plan.search, results))
    else:
        console.print(", ".join(f"{n} {outcome}" for outcome, n in counts.most_common()))
    running = [r for r in results if r.outcome == "running"]
    if running:
        table = PlainTable()
        for title in ("running", "epoch", "best val", "where"):
            table.add_column(title, no_wrap=True)
        for result in running:
            table.add_row(*_running(result))
        console.print(table)
    console.lines(
        *went_wrong([r for r in results if r.outcome in {Outcome.failed, Outcome.diverged}])
    )
    if progress is None and plan.outcome in {Outcome.killed, Outcome.failed}:
        console.lines(resume_line(sweep))
    if progress is not None and (left := left_words(progress)):
        console.print(left)


def _state(sweep: SweepFolder, outcome: str) -> str:
    owner = sweep.owner()
    if owner is not None:
        return f"running ({owner.host}, process {owner.pid})"
    if is_uploading(sweep.path):
        return f"{outcome}; uploading; results are final"
    return outcome


def _why(plan: SweepPlan) -> str:
    """Return the reason why a sweep ended, such as ` (n_trials=12)`, or an empty string if the
    reason is unknown.
    """
    why = plan.stopped_by or (plan.search.ended_by if plan.search is not None else "")
    return f" ({why})" if why else ""


def _running(result: JobResult) -> tuple[str, str, str, str]:
    history = result.job.folder.history()
    best = Metric.of(result.job.config.metric).text(history.best.value) if history.best else "-"
    owner = owner_of(result.job.folder.path)
    where = f"{owner.host}, process {owner.pid}" if owner else "-"
    return result.job.name, f"{len(history.epochs)}/{result.job.config.num_epoch}", best, where
