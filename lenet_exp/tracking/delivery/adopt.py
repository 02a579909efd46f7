"""Reuses finished runs of other users from a shared store, if this outputs folder does not contain the runs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from lenet_exp.addresses import SQLITE, hide_password
from lenet_exp.errors import UserError, first_line
from lenet_exp.folders.checkpoints import save_best, write_history
from lenet_exp.folders.job import Job
from lenet_exp.folders.records import DeliveredRun, History, Outcome, Record
from lenet_exp.tracking.models.logged import Weights, download_record, logged_model
from lenet_exp.tracking.stores.store import Store, pages
from lenet_exp.training.trained.weights import weights_digest

if TYPE_CHECKING:
    from mlflow.entities import Run

FINISHED = "tags.kind = 'run' and tags.outcome = 'finished' and attributes.status = 'FINISHED'"

log = logging.getLogger("lenet_exp")


def take_over(jobs: Sequence[Job], store: Store, *, owned: bool = False) -> None:
    """Copy finished runs of other users from a shared store into the folders of these jobs.

    Jobs whose folders already contain a run are skipped. If the store is a SQLite file, which is not shared, this
    function does nothing. Each query covers up to a thousand runs.

    Args:
        owned: whether this process owns the jobs' folders.
    """
    if store.uri.startswith(SQLITE):
        return
    wanted = {job.fingerprint: job for job in reversed(jobs) if job.folder.begun() is None}
    one = f" and tags.fingerprint = '{next(iter(wanted))}'" if len(wanted) == 1 else ""
    taken = 0
    for run in pages(store.client, store.experiment_id, FINISHED + one) if wanted else ():
        job = wanted.pop(run.data.tags.get("fingerprint", ""), None)
        if job is not None:
            with nullcontext() if owned else job.folder.claim():
                taken += job.folder.begun() is None and _write(job, run, store)
        if not wanted:
            break
    if taken:
        log.info("runs trained by others and reused from this store: %d", taken)


def _write(job: Job, run: Run, store: Store) -> bool:
    """Create the folder of a run that was trained elsewhere, with its record, weights, and MLflow entry.

    Return whether the folder was created.
    """
    from mlflow.exceptions import MlflowException

    run_id, folder = run.info.run_id, job.folder
    model = bool(run.outputs and run.outputs.model_outputs)
    try:
        record = _record(job, run_id, store)
        weights = _weights(record, run, store) if model else None
    except (UserError, ValueError, OSError, MlflowException) as e:
        log.warning("MLflow run %s: not reused: %s", run_id, hide_password(first_line(e)))
        return False
    sweeps = [s for s in run.data.tags.get("sweeps", "").split(",") if s]
    delivered = DeliveredRun(store.name, run_id, record.epochs, record.ended_ms, model=model, sweeps=sweeps)
    folder.set_delivered(delivered)
    accuracy, metric = record.best_val_accuracy, record.best_val_metric
    if weights is not None and record.best_epoch is not None and accuracy is not None:
        best = save_best(folder.path, record.best_epoch, accuracy, metric, weights=weights)
        write_history(folder.path, History(best=best))
    folder.finish(record)
    store.seen.add(run_id)
    return True


def _record(job: Job, run_id: str, store: Store) -> Record:
    """Download and check the record of an MLflow run.

    The check is necessary because the network is later rebuilt from the class names in the record.
    """
    from lenet_exp.training.trained.trust import check_network

    record, reason = download_record(store.client, run_id)
    if reason is not None:
        raise ValueError(f"its record.json is not valid ({reason})")
    asked = [str(option["_target_"]) for option in (job.config.model, job.config.activation)]
    check_network("its model", record.config, asked)
    if record.fingerprint != job.fingerprint or record.outcome is not Outcome.finished:
        raise ValueError("its record.json belongs to another run")
    return record


def _weights(record: Record, run: Run, store: Store) -> Weights:
    """Download the best weights of an MLflow run and verify their digest."""
    weights, _ = logged_model(store.client, store.uri, run)
    if weights_digest(weights) != record.weights_digest:
        raise ValueError("the weights do not match the record")
    return weights
