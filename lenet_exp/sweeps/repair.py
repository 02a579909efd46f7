"""Sets right what a process that was killed left behind: MLflow would show it as RUNNING for ever."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from lenet_exp.config.schema import Tracking
from lenet_exp.errors import DamagedError, UserError
from lenet_exp.folders.damage import say
from lenet_exp.folders.job import Job
from lenet_exp.folders.owner import owner_of
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.results import give_up, job_results
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.tracking.delivery import StoreDelivery
from lenet_exp.tracking.parent import close_parent

LEAVING_SECONDS = 5.0  # so long a process that was ended may take to be gone

log = logging.getLogger("lenet_exp")


def repair_all(outputs: Path) -> list[SweepFolder]:
    """Repairs every sweep in an outputs folder, and the runs that belong to none; the sweeps that can be read."""
    looked_after: set[str] = set()  # by a sweep that lives
    whole = [sweep for sweep in all_sweeps(outputs) if repair_or_say(sweep)]
    for sweep in whole:
        if sweep.owner() is not None:
            looked_after.update(job.run for job in sweep.jobs())
    for path in sorted((outputs / "runs").glob("*/delivered.json")):
        folder = RunFolder(path.parent)
        begun = folder.begun()
        if folder.id not in looked_after and begun is not None and _looks_running(folder):
            try:
                _close([folder], _delivery(begun.config.tracking, None, outputs))
            except UserError as e:  # its store can't be used
                log.warning("run %s: MLflow can't be told that its process died: %s", folder.path, e)
                continue
            log.info("run %s: its process died; MLflow shows that now", folder.path)
    return whole


def repair_or_say(sweep: SweepFolder) -> bool:
    """Repairs a sweep; one that can't be concerns itself alone and is said. Whether its folder can be read."""
    try:
        repair(sweep)
        sweep.jobs()
    except DamagedError as e:
        say(e)
        return False
    except UserError as e:
        log.warning("sweep %s: can't be repaired: %s", sweep.id, e)
    return True


def repair(sweep: SweepFolder) -> bool:
    """Ends a sweep whose process died, and its runs. They can go on. Whether there was anything to do."""
    plan = sweep.started()
    if plan.outcome is not Outcome.running or sweep.owner() is not None:
        return False
    with sweep.claim():
        if sweep.started().outcome is not Outcome.running:  # meanwhile another process went on with it
            return False
        jobs = list({job.run: job for job in sweep.jobs()}.values())
        delivery = _delivery(jobs[0].config.tracking, plan.tracking_uri, sweep.outputs) if jobs else None
        _close([job.folder for job in jobs if _looks_running(job.folder)], delivery)
        sweep.save(outcome=Outcome.killed)
        results = job_results(sweep, sweep.jobs(), plan.started_ms)
        if delivery is not None:
            delivery.attempt("the sweep's own MLflow run", lambda s: close_parent(s, sweep, results, Outcome.killed))
    log.info("sweep %s: its process died; it and its runs are marked as killed now, and can go on", sweep.id)
    return True


def settle(sweep: SweepFolder, jobs: Sequence[Job], delivery: StoreDelivery) -> None:
    """When a launcher has returned or given up: closes the runs whose process died, says which ones still train."""
    begun = {job.run: job for job in jobs if job.folder.record() is None and job.folder.begun() is not None}
    ours = {jobs[n].run for n in sweep.active() if n < len(jobs)}
    deadline = time.monotonic() + LEAVING_SECONDS
    while living := {run: owner for run, job in begun.items() if (owner := owner_of(job.folder.path)) is not None}:
        if not ours & living.keys() or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    for run in (run for run in begun if run in ours and run in living):
        log.warning(
            "%s: still trains, in process %d on %s, which nobody watches any more; it commits and ends on SIGTERM, and "
            "lenet-sweep list tells MLflow of its end",
            begun[run].name,
            living[run].pid,
            living[run].host,
        )
    _close([job.folder for run, job in begun.items() if run not in living], delivery)


def _looks_running(folder: RunFolder) -> bool:
    """Whether a run has no living owner, but has not ended, or its end has not reached MLflow."""
    if folder.begun() is None or owner_of(folder.path) is not None:
        return False
    record = folder.record()
    return record is None or any(run.ended_ms != record.ended_ms for run in folder.delivered().mlflow_runs)


def _close(folders: Iterable[RunFolder], delivery: StoreDelivery | None) -> None:
    for folder in folders:
        with folder.claim():
            give_up(folder, Outcome.killed, "its process died")
        if delivery is not None:
            delivery.send(folder)


def _delivery(tracking: Tracking, uri: str | None, outputs: Path) -> StoreDelivery | None:
    """To where the job said, or to `uri`; None where that needs a password, which is never kept."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or uri or tracking.uri
    if uri is not None and "***" in uri:
        log.warning("tracking.uri=%s: its password was not kept; set MLFLOW_TRACKING_URI", uri)
        return None
    return StoreDelivery(replace(tracking, uri=uri), outputs, in_sweep=True)
