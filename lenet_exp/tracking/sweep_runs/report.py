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
from lenet_exp.files import Json
from lenet_exp.folders.results import JobResult
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.folders.sweep_plan import SweepPlan
from lenet_exp.reports.files.comparison_markdown import markdown
from lenet_exp.reports.files.description import final_description
from lenet_exp.reports.run_source import RunSource
from lenet_exp.reports.words.formatting import points_words
from lenet_exp.tracking.models.champion import champion
from lenet_exp.tracking.models.model import registered_name
from lenet_exp.tracking.run_uploads.upload import DESCRIPTION, passed_over_run
from lenet_exp.tracking.stores.mlflow_runs import alive, set_tags
from lenet_exp.tracking.stores.store import Store

PAGE = "comparison.html"
REPORT = "report.md"
# without this parameter, MLflow shows its pages for language models
TRAINING = "workflowType=machine_learning"
# maximum number of characters in a description; MLflow would truncate longer descriptions
MAX_DESCRIPTION_LENGTH = 7900


def report_sweep(
    store: Store,
    sweep: SweepFolder,
    results: Sequence[JobResult],
    comparisons: Sequence[Comparison],
    with_pictures: bool,
) -> None:
    """Update the report in the MLflow run of a sweep, unless it is already up to date.

    Args:
        store: store that contains the MLflow run.
        sweep: folder of the sweep.
        results: results of all jobs in the sweep.
        comparisons: comparisons of these results, one per dataset.
        with_pictures: whether to also upload the HTML report and the figures.
    """
    plan = sweep.started()
    entry = sweep.delivered().run_in(store.name)
    if entry is None:
        return

    run_id = entry.run_id
    digest = _digest(results, plan, with_pictures)
    if entry.shown in (digest, _digest(results, plan, True)):
        return
    if plan.confirms is not None and plan.confirmed is not None:
        _tag_confirmation(store, sweep, run_id, plan)

    source = RunSource(plan.command, plan.command, store.name)
    if with_pictures:
        champions = _champions(store, results, comparisons)
        _log_pictures(store, run_id, comparisons, replace(source, champion=champions))
    store.client.log_text(run_id, markdown(comparisons, source), REPORT)

    report_link = f"{_run_link(store, run_id)}/artifacts/{REPORT}?{TRAINING}"
    description = final_description(comparisons, _links_of(store, results), report_link)
    set_tags(store, run_id, {DESCRIPTION: description[:MAX_DESCRIPTION_LENGTH]})
    sweep.set_delivered(replace(entry, shown=digest))


def _digest(results: Sequence[JobResult], plan: SweepPlan, with_pictures: bool) -> str:
    """Return a digest of the results in a report."""
    content: list[Json] = [[result.job.run, result.outcome, result.value] for result in results]
    content.append(with_pictures)
    if plan.confirms:
        content.append(plan.confirms)
    for result in results:
        test_result = result.job.folder.test_result()
        if test_result is not None:
            content.append([result.job.run, test_result.accuracy])
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _tag_confirmation(store: Store, sweep: SweepFolder, run_id: str, plan: SweepPlan) -> None:
    """Tag the MLflow runs of a confirmation and of the sweep that it tests with the result.

    Args:
        store: store that contains the MLflow runs.
        sweep: folder of the confirmation.
        run_id: MLflow run ID of the confirmation.
        plan: plan of the confirmation.
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
    confirms = sweep.started().confirms
    answers = []
    for other in reversed(all_sweeps(sweep.outputs)):
        plan = other.started()
        if plan.confirms != confirms or plan.confirmed is None:
            continue

        answer = "yes" if plan.confirmed else "no"
        run_id = other.delivered().run_id(store.name) or other.id
        points = points_words(plan.points or 0.0)
        dataset = other.jobs()[0].config.dataset.name
        answers.append(f"{dataset} {answer} ({points}, {run_id})")
    return answers


def _run_link(store: Store, run_id: str) -> str:
    """Return the address of a run's page in MLflow's UI, without parameters."""
    return f"#/experiments/{quote(store.experiment_id)}/runs/{quote(run_id)}"


def _links_of(store: Store, results: Sequence[JobResult]) -> Callable[[Group], str | None]:
    """Return a function that returns the address of a configuration's best run.

    The function returns None if the configuration has no best run, or the store lacks it.
    """
    folders = {result.job.run: result.job.folder for result in results}

    def link(group: Group) -> str | None:
        if group.best_run is None:
            return None
        run_id = folders[group.best_run.id].delivered().run_id(store.name)
        if not run_id:
            return None
        return f"{_run_link(store, run_id)}?{TRAINING}"

    return link


def _champions(
    store: Store, results: Sequence[JobResult], comparisons: Sequence[Comparison]
) -> dict[str, str]:
    """Return a line about the champion for the model of each leader's best run, keyed by
    dataset.
    """
    results_by_run = {result.job.run: result for result in results}
    lines = {}
    for comparison in comparisons:
        leader = comparison.leader
        if leader is None or leader.best_run is None:
            continue
        result = results_by_run[leader.best_run.id]
        if result.record is None:
            continue

        name = registered_name(result.record.dataset, result.record.config)
        version = champion(store.client, name)
        if version is not None:
            line = passed_over_run(result.job.folder, store)
            lines[comparison.dataset] = line or f"{name}: run {version.run_id}"
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
        folder = Path(scratch)
        for comparison in comparisons:
            suffix = f"_{comparison.dataset}" if len(comparisons) > 1 else ""
            for name, figure in figures(comparison).items():
                (folder / f"{name}{suffix}.png").write_bytes(png(figure))

        write_comparison(folder / PAGE, comparisons, source)
        write_comparison(folder / "leaderboard.csv", comparisons, source)
        store.client.log_artifacts(run_id, scratch)
