"""Creates and ends the MLflow run that represents a sweep.

It is the parent of the MLflow runs of the sweep's runs, which MLflow shows nested under it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lenet_exp.amounts import number_of
from lenet_exp.files import Json
from lenet_exp.folders.delivered import DeliveredSweep
from lenet_exp.folders.job import Job
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.results import JobResult
from lenet_exp.folders.stored import to_json
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.folders.sweep_plan import SweepPlan
from lenet_exp.folders.sweep_progress import SweepProgress
from lenet_exp.machine import git_state, host, versions
from lenet_exp.reports.escape import html
from lenet_exp.reports.words.progress_words import best_words, ended_words
from lenet_exp.reports.words.search_words import search_method
from lenet_exp.tracking.models.code import log_code
from lenet_exp.tracking.run_uploads.upload import DESCRIPTION, STATUS
from lenet_exp.tracking.stores.batch import log_metrics
from lenet_exp.tracking.stores.mlflow_runs import (
    WITHIN,
    Origin,
    add_user,
    alive,
    create_run,
    set_tags,
)
from lenet_exp.tracking.stores.store import Store

MAX_VALUES_LENGTH = 500  # maximum number of characters in a list of values


def open_parent(store: Store, sweep: SweepFolder) -> str:
    """Open or create the MLflow run of a sweep, set it to RUNNING, and return its ID."""
    plan = sweep.started()
    entry = sweep.delivered().run_in(store.name)
    if entry is not None and alive(store, entry.run_id):
        run_id = entry.run_id
        store.client.update_run(run_id, status="RUNNING")
        for name in plan.users:
            add_user(store, run_id, name)
    else:
        run_id = _find(store, sweep, plan) or _create(store, sweep, plan)
        store.seen.add(run_id)
        entry = DeliveredSweep(store.name, run_id, shown=_report_of_run(sweep, run_id))
        sweep.set_delivered(entry)

    _log_swept(store, run_id, sweep)
    store.client.log_dict(run_id, to_json(plan), "sweep.json")
    tags: dict[str, Json] = {"outcome": Outcome.running, "owner": host(), "starts": plan.starts}
    if plan.race is not None:
        tags[WITHIN] = plan.race.within
    set_tags(store, run_id, tags, plan.tags)
    sweep.set_delivered(replace(entry, started=plan.starts, ended=0, database=""))
    return run_id


def _report_of_run(sweep: SweepFolder, run_id: str) -> str:
    """Return the digest of the report in an MLflow run of a sweep; empty if it has none.

    If the outputs folder was moved, the name of its database has changed, but not the report in it.
    Therefore, the entries for all stores are searched.
    """
    for entry in sweep.delivered().mlflow_runs:
        if entry.run_id == run_id:
            return entry.shown
    return ""


def describe_parent(store: Store, sweep: SweepFolder, progress: SweepProgress) -> None:
    """Show the progress of a running sweep as the description of its MLflow run.

    The sweep's report will replace the description.
    """
    entry = sweep.delivered().run_in(store.name)
    if entry is None:
        return

    text = f"running: {ended_words(progress.plan, progress.results)}"
    best = best_words(progress.plan, progress.results)
    if best:
        text += f"; best so far: {best}"
    sweep.set_delivered(replace(entry, shown=""))
    set_tags(store, entry.run_id, {DESCRIPTION: f"<div>{html(text)}</div>"})


def _log_swept(store: Store, run_id: str, sweep: SweepFolder) -> None:
    """Log the swept flags of a sweep as params, with their values.

    Params that the MLflow run already has are kept even if a rerun specifies the same jobs
    differently, because MLflow does not allow changes.
    """
    from mlflow.entities import Param

    logged = store.client.get_run(run_id).data.params
    missing = []
    for flag, text in swept_params(sweep.started(), sweep.jobs()).items():
        if flag not in logged:
            missing.append(Param(flag, text))
    if missing:
        store.client.log_batch(run_id, params=missing)


def swept_params(plan: SweepPlan, jobs: Sequence[Job]) -> dict[str, str]:
    """Return the values of each swept flag as text, keyed by flag.

    The values are in the order of the jobs. For a search, the text is the flag's search space as
    typed.
    """
    typed = {}
    for override in plan.overrides:
        flag, equals, text = override.lstrip("+").partition("=")
        if equals:
            typed[flag] = text

    params = {}
    for swept in plan.swept:
        flag = swept.lstrip("+")
        values = [job.swept[flag] for job in jobs if flag in job.swept]
        text = ", ".join(dict.fromkeys(values))
        if plan.search is not None or not values:
            text = typed.get(flag, "")
        if text:
            params[flag] = text[:MAX_VALUES_LENGTH]
    return params


def close_parent(
    store: Store, sweep: SweepFolder, results: Sequence[JobResult], *, is_reported: bool
) -> None:
    """Log the counts and jobs of a sweep to its MLflow run, and end the MLflow run.

    Repeated calls change nothing.

    Args:
        store: store that contains the MLflow run.
        sweep: folder of the sweep.
        results: results of all jobs in the sweep.
        is_reported: whether the MLflow run has the report. If not, the next upload repeats both.
    """
    plan = sweep.started()
    entry = sweep.delivered().run_in(store.name)
    if entry is None:
        return

    run_id = entry.run_id
    tags: dict[str, Json] = {"sweep_progress": ended_words(plan, results)}
    best = best_words(plan, results)
    if best:
        tags["sweep_best"] = best
    set_tags(store, run_id, tags)

    _log_counts(store, run_id, plan)
    jobs = [_described_job(result, store) for result in results]
    store.client.log_dict(run_id, {"jobs": jobs}, "jobs.json")
    log_code(store, run_id, [result.job.config for result in results])

    set_tags(store, run_id, {"outcome": plan.outcome})
    if plan.search is not None:  # the number of runs has changed
        store.client.update_run(run_id, name=_name(plan))
    store.client.set_terminated(run_id, STATUS[plan.outcome], end_time=plan.ended_ms)
    if is_reported:
        sweep.set_delivered(replace(entry, ended=plan.starts))


def _log_counts(store: Store, run_id: str, plan: SweepPlan) -> None:
    """Log the metrics of a sweep, one point for each start; the step is the start's number.

    Earlier points are logged again in case the store has lost them.
    """
    from mlflow.entities import Metric

    for start, counts in plan.counted.items():
        ended_ms = int(counts["ended_ms"])
        points = []
        for name, count in counts.items():
            if name != "ended_ms":
                points.append(Metric(name, count, ended_ms, int(start)))
        log_metrics(store, run_id, points)


def _name(plan: SweepPlan) -> str:
    """Return the name of a sweep's MLflow run, such as `lr seed (search, 20 runs)`."""
    description = number_of(plan.runs, "run")
    if plan.search is not None:
        description = f"search, {description}"

    swept = " ".join(flag.rpartition(".")[2] for flag in plan.swept)
    return f"{swept} ({description})" if swept else description


def _find(store: Store, sweep: SweepFolder, plan: SweepPlan) -> str | None:
    """Return the ID of an MLflow run that was already created for this sweep, or None.

    Such a run exists if the process crashed before it stored the ID, or if sweep.json is corrupt.
    """
    # MLflow's filter on start_time is not used, because it fails in older releases with PostgreSQL
    # and psycopg 3.
    query = f"tags.sweep = '{sweep.id}'"
    newest_first = ["attributes.start_time DESC"]
    for run in store.client.search_runs([store.experiment_id], query, order_by=newest_first):
        # If sweep.json was corrupt, the time of the first start is lost.
        if plan.remade:
            is_same = run.data.tags.get("sweep_folder") == str(sweep.path)
        else:
            is_same = run.info.start_time == plan.created_ms
        if is_same:
            return str(run.info.run_id)
    return None


def _create(store: Store, sweep: SweepFolder, plan: SweepPlan) -> str:
    own = {
        "kind": "sweep",
        "sweep_folder": str(sweep.path),
        "sweep": sweep.id,
        "overrides": " ".join(plan.overrides),
        "swept": " ".join(plan.swept),
        "host": host(),
    }
    if plan.search is not None:
        own["sweep_search"] = search_method(plan.search)
    origin = Origin(plan.command, versions(), git_state(), plan.users)
    return create_run(store, _name(plan), plan.created_ms, own=own, users=plan.tags, origin=origin)


def _described_job(result: JobResult, store: Store) -> dict[str, Json]:
    """Return what jobs.json contains about a job."""
    job = result.job
    accuracy = None
    if result.record is not None:
        accuracy = result.record.best_val_accuracy
    return {
        "name": job.name,
        "swept": job.swept,
        "fingerprint": job.fingerprint,
        "outcome": result.outcome,
        "best_val_accuracy": accuracy,
        "mlflow_run_id": job.folder.delivered().run_id(store.name),
    }
