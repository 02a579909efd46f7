"""Repairs sweeps and runs whose process was killed. Without a repair, MLflow would show them as RUNNING forever."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from lenet_exp.comparison.compare import Comparison, compare_sweep
from lenet_exp.errors import DamagedError, UserError
from lenet_exp.folders.damage import warn_once
from lenet_exp.folders.job import Job
from lenet_exp.folders.owner import owner_of
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.results import JobResult, conclude_dead_run, job_results
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.folders.sweep_plan import SweepPlan
from lenet_exp.sweeps.stores import Stores
from lenet_exp.tracking.delivery.store_delivery import StoreDelivery
from lenet_exp.tracking.sweep_runs.parent import close_parent
from lenet_exp.tracking.sweep_runs.report import report_sweep

LEAVING_SECONDS = 5.0  # maximum time for a stopped process to exit
OWN_RUN = "the sweep's own MLflow run"

log = logging.getLogger("lenet_exp")


def repair_all(outputs: Path) -> list[SweepFolder]:
    """Repair all sweeps and single runs in an outputs folder. Return the sweeps whose folders are readable."""
    stores = Stores(outputs)
    whole = [sweep for sweep in all_sweeps(outputs) if try_repair(sweep, stores)]
    looked_after = {job.run for sweep in whole if sweep.owner() is not None for job in sweep.jobs()}
    for path in sorted((outputs / "runs").glob("*/delivered.json")):
        folder = RunFolder(path.parent)
        begun = folder.begun()
        if folder.id not in looked_after and begun is not None and _looks_running(folder):
            _close([folder], stores.delivery(begun.config.tracking, None))
            ended = record.outcome if (record := folder.record()) is not None else Outcome.killed
            log.info("run %s: its process has ended; marked as %s in MLflow", folder.path, ended)
    return whole


def try_repair(sweep: SweepFolder, stores: Stores) -> bool:
    """Repair a sweep, or log a warning if that is not possible. Return whether the sweep's folder is readable."""
    try:
        repair(sweep, stores)
        sweep.jobs()
    except DamagedError as e:
        warn_once(e)
        return False
    except UserError as e:
        log.warning("sweep %s: cannot be repaired: %s", sweep.id, e)
    return True


def repair(sweep: SweepFolder, stores: Stores) -> None:
    """End a sweep whose process died, and end its runs.

    The sweep and its runs can be resumed. If the MLflow store does not show how the sweep ended, the store is updated.
    """
    if sweep.owner() is not None or not _needs_repair(sweep.started(), stores):
        return
    with sweep.claim():
        if not _needs_repair(sweep.started(), stores):  # another process resumed or repaired it
            return
        died = end_killed_sweep(sweep)
        plan, jobs = sweep.started(), list({job.run: job for job in sweep.jobs()}.values())
        delivery = stores.delivery(jobs[0].config.tracking, plan.tracking_uri) if jobs else None
        _close([job.folder for job in jobs if _looks_running(job.folder)], delivery)
        results = job_results(sweep, sweep.jobs(), plan.started_ms)
        if delivery is not None:
            close_in_store(delivery, sweep, results, compare_sweep(sweep, results))
    if died:
        log.info(
            "sweep %s: its process died, so the sweep and its runs were marked as killed; you can resume the sweep",
            sweep.id,
        )
    elif not _needs_repair(sweep.started(), stores):
        log.info("sweep %s: its outcome is now in MLflow", sweep.id)


def close_in_store(
    delivery: StoreDelivery, sweep: SweepFolder, results: Sequence[JobResult], comparisons: Sequence[Comparison]
) -> None:
    """Upload the report of a sweep that has ended, and end the sweep's own MLflow run.

    The report is uploaded first, so that an ended MLflow run shows it. If the upload fails, `lenet-sync` repeats it.
    """
    pictures = sweep.started().outcome is Outcome.finished and any(r.job.config.tracking.plots for r in results[:1])
    report = partial(report_sweep, sweep=sweep, results=results, comparisons=comparisons)
    told = delivery.attempt(OWN_RUN, lambda store: [report(store, with_pictures=False)])
    if pictures:  # separately, because the text is needed even if a picture cannot be drawn
        delivery.attempt(OWN_RUN, partial(report, with_pictures=True))
    delivery.attempt(OWN_RUN, lambda store: close_parent(store, sweep, results))
    if told is None:
        sweep.mark_unreported(delivery.name)


def settle(sweep: SweepFolder, jobs: Sequence[Job], delivery: StoreDelivery) -> None:
    """Close runs whose process died, after a launcher has returned or failed. Runs with a process stay as they are.

    Args:
        sweep: folder of the sweep.
        jobs: all jobs of the sweep.
        delivery: object that uploads results to MLflow.
    """
    open_jobs = {job.run: job for job in jobs if job.folder.record() is None and job.folder.begun() is not None}
    ours = {jobs[n].run for n in sweep.active() if n < len(jobs)}
    deadline = time.monotonic() + LEAVING_SECONDS
    while living := {run for run, job in open_jobs.items() if owner_of(job.folder.path) is not None}:
        if not ours & living or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    _close([job.folder for run, job in open_jobs.items() if run not in living], delivery)


def _needs_repair(plan: SweepPlan, stores: Stores) -> bool:
    """Return whether a sweep without a process is still marked as running, on disk or in its store."""
    store = stores.name(plan.tracking_uri)
    return plan.outcome is Outcome.running or (store in plan.untold and store in plan.mlflow_runs)


def end_killed_sweep(sweep: SweepFolder) -> bool:
    """Mark a sweep whose process died as killed, together with its unfinished runs.

    Return whether the sweep was still marked as running. The caller must own the sweep.
    """
    if sweep.started().outcome is not Outcome.running:
        return False
    for job in {job.run: job for job in sweep.jobs()}.values():
        end_killed_run(job.folder)
    sweep.end(Outcome.killed)
    return True


def end_killed_run(folder: RunFolder) -> None:
    """If a run's process died, mark the run as killed in its folder."""
    if folder.begun() is not None and folder.record() is None and owner_of(folder.path) is None:
        with folder.claim():
            conclude_dead_run(folder, Outcome.killed, "its process died")


def _looks_running(folder: RunFolder) -> bool:
    """Return whether a run has no process but is still marked as running, in its folder or in MLflow."""
    if folder.begun() is None or owner_of(folder.path) is not None:
        return False
    record = folder.record()
    return record is None or any(run.ended_ms != record.ended_ms for run in folder.delivered().mlflow_runs)


def _close(folders: Iterable[RunFolder], delivery: StoreDelivery | None) -> None:
    for folder in folders:
        end_killed_run(folder)
        if delivery is not None:
            delivery.send(folder)
