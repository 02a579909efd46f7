"""Creates and ends the MLflow run that represents a sweep, under which the sweep's runs are nested."""

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
from lenet_exp.tracking.run_uploads.upload import NOTE, STATUS
from lenet_exp.tracking.stores.batch import log_metrics
from lenet_exp.tracking.stores.mlflow_runs import Origin, add_user, alive, create_run, set_tags
from lenet_exp.tracking.stores.store import Store

LONGEST = 500  # maximum number of characters in a list of values


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
        # If the outputs folder was moved, the name of its database has changed, but not the report
        # in it.
        same_run = [other for other in sweep.delivered().mlflow_runs if other.run_id == run_id]
        shown = same_run[0].shown if same_run else ""
        entry = DeliveredSweep(store.name, run_id, shown=shown)
        sweep.set_delivered(entry)
    _log_swept(store, run_id, sweep)
    store.client.log_dict(run_id, to_json(plan), "sweep.json")
    set_tags(
        store,
        run_id,
        {"outcome": Outcome.running, "owner": host(), "starts": plan.starts},
        plan.tags,
    )
    sweep.set_delivered(replace(entry, started=plan.starts, ended=0, database=""))
    return run_id


def describe_parent(store: Store, sweep: SweepFolder, progress: SweepProgress) -> None:
    """Show the progress of a running sweep as the description of its MLflow run, until its report
    replaces it.
    """
    entry = sweep.delivered().run_in(store.name)
    if entry is None:
        return
    text = f"running: {ended_words(progress.plan, progress.results)}"
    best = best_words(progress.plan, progress.results)
    if best:
        text += f"; best so far: {best}"
    sweep.set_delivered(replace(entry, shown=""))
    set_tags(store, entry.run_id, {NOTE: f"<div>{html(text)}</div>"})


def _log_swept(store: Store, run_id: str, sweep: SweepFolder) -> None:
    """Log the swept flags of a sweep, with their values, as params, unless the MLflow run already
    has them.

    Existing params are kept even if a rerun specifies the same jobs differently, because MLflow
    does not allow changes.
    """
    from mlflow.entities import Param

    known = store.client.get_run(run_id).data.params
    new = [
        Param(k, v)
        for k, v in swept_params(sweep.started(), sweep.jobs()).items()
        if k not in known
    ]
    if new:
        store.client.log_batch(run_id, params=new)


def swept_params(plan: SweepPlan, jobs: Sequence[Job]) -> dict[str, str]:
    """Return the values of each swept flag as text, keyed by flag.

    The values are in the order of the jobs. For a search, the text is the flag's search space as
    typed.
    """
    typed = dict(o.lstrip("+").split("=", 1) for o in plan.overrides if "=" in o)
    found = {}
    for flag in (swept.lstrip("+") for swept in plan.swept):
        values = list(dict.fromkeys(job.swept[flag] for job in jobs if flag in job.swept))
        text = typed.get(flag, "") if plan.search is not None or not values else ", ".join(values)
        if text:
            found[flag] = text[:LONGEST]
    return found


def close_parent(
    store: Store, sweep: SweepFolder, results: Sequence[JobResult], *, is_reported: bool
) -> None:
    """Log the counts and jobs of a sweep to its MLflow run, and end the MLflow run. Repeated calls
    change nothing.

    Args:
        is_reported: whether the MLflow run has the report. If not, the next upload repeats both.
    """
    from mlflow.entities import Metric

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

    # Each session of the sweep has one metric point. Earlier points are logged again in case the
    # store has lost them.
    for start, points in plan.counted.items():
        at = int(points["ended_ms"])
        log_metrics(
            store,
            run_id,
            [Metric(k, v, at, int(start)) for k, v in points.items() if k != "ended_ms"],
        )
    store.client.log_dict(run_id, {"jobs": [_listed(r, store) for r in results]}, "jobs.json")
    log_code(store, run_id, [result.job.config for result in results])
    set_tags(store, run_id, {"outcome": plan.outcome})
    if plan.search is not None:  # the number of runs has changed
        store.client.update_run(run_id, name=_name(plan))
    store.client.set_terminated(run_id, STATUS[plan.outcome], end_time=plan.ended_ms)
    if is_reported:
        sweep.set_delivered(replace(entry, ended=plan.starts))


def _name(plan: SweepPlan) -> str:
    runs = number_of(plan.runs, "run")
    swept = " ".join(flag.rpartition(".")[2] for flag in plan.swept)
    runs = runs if plan.search is None else f"search, {runs}"
    return f"{swept} ({runs})" if swept else runs


def _find(store: Store, sweep: SweepFolder, plan: SweepPlan) -> str | None:
    """Return the ID of an MLflow run that was already created for this sweep, or None if no such
    run exists.

    Such a run exists if the process crashed before it stored the ID, or if sweep.json is corrupt.
    """
    # MLflow's filter on start_time is not used, because it fails in older releases with PostgreSQL
    # and psycopg 3.
    wanted = f"tags.sweep = '{sweep.id}'"
    for run in store.client.search_runs(
        [store.experiment_id], wanted, order_by=["attributes.start_time DESC"]
    ):
        tags = run.data.tags
        if (
            tags.get("sweep_folder") == str(sweep.path)
            if plan.remade
            else run.info.start_time == plan.created_ms
        ):
            return str(run.info.run_id)
    return None


def _create(store: Store, sweep: SweepFolder, plan: SweepPlan) -> str:
    own = {
        "kind": "sweep",
        "sweep_folder": str(sweep.path),
        "sweep": sweep.id,
        "overrides": " ".join(plan.overrides),
        "swept": " ".join(plan.swept),
        **({"sweep_search": search_method(plan.search)} if plan.search is not None else {}),
        "host": host(),
    }
    origin = Origin(plan.command, versions(), git_state(), plan.users)
    return create_run(store, _name(plan), plan.created_ms, own=own, users=plan.tags, origin=origin)


def _listed(result: JobResult, store: Store) -> dict[str, Json]:
    job, record = result.job, result.record
    return {
        "name": job.name,
        "swept": job.swept,
        "fingerprint": job.fingerprint,
        "outcome": result.outcome,
        "best_val_accuracy": record.best_val_accuracy if record is not None else None,
        "mlflow_run_id": job.folder.delivered().run_id(store.name),
    }
