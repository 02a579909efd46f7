"""Adds a report to the MLflow run of a sweep.

The verdict becomes the description of the MLflow run. The HTML report, Markdown report, and figures
become artifacts.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import Group
from lenet_exp.folders.results import JobResult
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.folders.sweep_plan import SweepPlan
from lenet_exp.reports.files.comparison_markdown import markdown
from lenet_exp.reports.files.description import final_description
from lenet_exp.reports.run_source import RunSource
from lenet_exp.reports.words.formatting import points_words
from lenet_exp.tracking.models.champion import champion
from lenet_exp.tracking.models.model import registered_name
from lenet_exp.tracking.run_uploads.upload import passed_over_run
from lenet_exp.tracking.stores.mlflow_runs import alive, set_tags
from lenet_exp.tracking.stores.store import Store

PAGE = "comparison.html"
REPORT = "report.md"
# without this parameter, MLflow shows its pages for language models
TRAINING = "workflowType=machine_learning"
LONGEST = (
    7900  # maximum number of characters in a description; MLflow would truncate longer descriptions
)


def report_sweep(
    store: Store,
    sweep: SweepFolder,
    results: Sequence[JobResult],
    comparisons: Sequence[Comparison],
    with_pictures: bool,
) -> None:
    """Update the report in the MLflow run of a sweep, unless it is already up to date.

    Args:
        results: results of all jobs in the sweep.
        comparisons: comparisons of these results, one per dataset.
        with_pictures: whether to also upload the HTML report and the figures.
    """
    plan = sweep.started()
    entry = sweep.delivered().run_in(store.name)
    if entry is None:
        return
    run_id = entry.run_id
    digest, with_all = (_digest(results, plan, pictures) for pictures in (with_pictures, True))
    if entry.shown in (digest, with_all):
        return
    if plan.confirms is not None and plan.confirmed is not None:
        _tell_answer(store, sweep, run_id, plan)
    source = RunSource(plan.command, plan.command, store.name)
    if with_pictures:
        _log_pictures(
            store,
            run_id,
            comparisons,
            replace(source, champion=_champions(store, results, comparisons)),
        )
    store.client.log_text(run_id, markdown(comparisons, source), REPORT)
    report = f"#/experiments/{quote(store.experiment_id)}/runs/{quote(run_id)}/artifacts/{REPORT}?{TRAINING}"
    description = final_description(comparisons, _links_of(store, results), report)
    set_tags(store, run_id, {"mlflow.note.content": description[:LONGEST]})
    sweep.set_delivered(replace(entry, shown=digest))


def _digest(results: Sequence[JobResult], plan: SweepPlan, with_pictures: bool) -> str:
    """Return a digest of the results in a report."""
    told = [[r.job.run, r.outcome, r.value] for r in results] + [
        with_pictures,
        *filter(None, [plan.confirms]),
    ]
    told += [
        [r.job.run, its.accuracy]
        for r in results
        if (its := r.job.folder.test_result()) is not None
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _tell_answer(store: Store, sweep: SweepFolder, run_id: str, plan: SweepPlan) -> None:
    """Tag the MLflow runs of a confirmation sweep and of the tested sweep with the result of the
    confirmation.
    """
    tested = SweepFolder(sweep.path.parent / str(plan.confirms))
    tested_run = tested.delivered().run_id(store.name)
    answer = "yes" if plan.confirmed else "no"
    set_tags(store, run_id, {"confirms": tested_run or plan.confirms, "confirmed": answer})
    if tested_run is not None and alive(store, tested_run):
        set_tags(store, tested_run, {"confirmed": "; ".join(_answers(store, sweep))})


def _answers(store: Store, sweep: SweepFolder) -> list[str]:
    """Return the results of all confirmations of the sweep that a confirmation tests, oldest first.

    Each result has the form `mnist yes (0.2 points, <run>)`.
    """
    confirms, found = sweep.started().confirms, []
    for other in reversed(all_sweeps(sweep.outputs)):
        plan = other.started()
        if plan.confirms == confirms and plan.confirmed is not None:
            answer = "yes" if plan.confirmed else "no"
            run_id = other.delivered().run_id(store.name) or other.id
            points = points_words(plan.points or 0.0)
            found.append(f"{other.jobs()[0].config.dataset.name} {answer} ({points}, {run_id})")
    return found


def _links_of(store: Store, results: Sequence[JobResult]) -> Callable[[Group], str | None]:
    """Return a function that returns the address of a configuration's best run, or None if the run
    has no address.
    """
    folders = {r.job.run: r.job.folder for r in results}

    def link(group: Group) -> str | None:
        run_id = (
            folders[group.best_run.id].delivered().run_id(store.name)
            if group.best_run is not None
            else None
        )
        return (
            f"#/experiments/{quote(store.experiment_id)}/runs/{quote(run_id)}?{TRAINING}"
            if run_id
            else None
        )

    return link


def _champions(
    store: Store, results: Sequence[JobResult], comparisons: Sequence[Comparison]
) -> dict[str, str]:
    """Return a line about the champion for the model of each leader's best run, keyed by dataset."""
    records, lines = {r.job.run: (r.job.folder, r.record) for r in results}, {}
    for comparison in comparisons:
        best = comparison.leader.best_run if comparison.leader is not None else None
        folder, record = records[best.id] if best is not None else (None, None)
        if folder is not None and record is not None:
            name = registered_name(record.dataset, record.config)
            if (version := champion(store.client, name)) is not None:
                lines[comparison.dataset] = (
                    passed_over_run(folder, store) or f"{name}: run {version.run_id}"
                )
    return lines


def _log_pictures(
    store: Store, run_id: str, comparisons: Sequence[Comparison], source: RunSource
) -> None:
    """Upload the HTML report, the leaderboard as CSV, and the figures to the MLflow run of a sweep.

    MLflow sorts artifacts by name, so the HTML report is listed first.
    """
    from lenet_exp.reports.files.comparison_file import write_comparison
    from lenet_exp.reports.files.comparison_plots import figures
    from lenet_exp.reports.files.plots import png

    with tempfile.TemporaryDirectory() as scratch:
        for comparison in comparisons:
            end = f"_{comparison.dataset}" if len(comparisons) > 1 else ""
            for name, figure in figures(comparison).items():
                (Path(scratch) / f"{name}{end}.png").write_bytes(png(figure))
        write_comparison(Path(scratch) / PAGE, comparisons, source)
        write_comparison(Path(scratch) / "leaderboard.csv", comparisons, source)
        store.client.log_artifacts(run_id, scratch)
