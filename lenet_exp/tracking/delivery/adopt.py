"""Takes over what a shared store knows and this outputs folder does not: runs that others finished."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_exp.addresses import SQLITE, hide_password
from lenet_exp.config.schema import Models
from lenet_exp.errors import UserError, first_line
from lenet_exp.files import read_json
from lenet_exp.folders.commits import file_sha256, write_history
from lenet_exp.folders.job import Job
from lenet_exp.folders.records import (
    BestWeights,
    Delivered,
    DeliveredRun,
    History,
    Outcome,
    Record,
)
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.seal import broken
from lenet_exp.tracking.models.logged import logged_model, read_record
from lenet_exp.tracking.stores.store import Store
from lenet_exp.training.trained.weights import save_weights, weights_digest

if TYPE_CHECKING:
    from mlflow.entities import Run

PAGE = 1000
FINISHED = "tags.kind = 'run' and tags.outcome = 'finished' and attributes.status = 'FINISHED'"

log = logging.getLogger("lenet_exp")


def take_over_one(job: Job, store: Store) -> None:
    """Takes over a run that others finished, if the job's folder, which the caller owns, has none."""
    if _shared(store) and job.folder.begun() is None:
        query = f"{FINISHED} and tags.fingerprint = '{job.fingerprint}'"
        for run in store.client.search_runs([store.experiment_id], query, max_results=1):
            _write(job, run, store)


def take_over(jobs: Sequence[Job], store: Store) -> None:
    """Takes over the runs of a sweep that others finished, by one more query; nothing where nobody shares the store."""
    if not _shared(store):
        return
    wanted = {job.fingerprint: job for job in reversed(jobs) if job.folder.begun() is None}
    if not wanted:
        return
    taken = 0
    for run in _pages(store, FINISHED):
        job = wanted.pop(run.data.tags.get("fingerprint", ""), None)
        if job is not None:
            with job.folder.claim():
                if job.folder.begun() is None:
                    taken += _write(job, run, store)
        if not wanted:
            break
    if taken:
        log.info("%d runs had been finished by others in this store", taken)


def _shared(store: Store) -> bool:
    return not store.uri.startswith(SQLITE)


def _pages(store: Store, query: str) -> Iterator[Run]:
    token = None
    while True:
        page = store.client.search_runs([store.experiment_id], query, max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _write(job: Job, run: Run, store: Store) -> bool:
    """Makes the run folder of a run that was trained elsewhere: its record, and that MLflow has it."""
    from mlflow.exceptions import MlflowException

    from lenet_exp.training.trained.trust import check_activation

    with tempfile.TemporaryDirectory() as scratch:
        try:
            path = Path(store.client.download_artifacts(run.info.run_id, "record.json", scratch))
            record, reason = read_record(path), broken(read_json(path))
        except (ValueError, OSError, MlflowException) as e:
            reason = hide_password(first_line(e))
        if reason is not None:
            log.warning(
                "MLflow run %s: its record.json can't be read (%s); it is not taken over", run.info.run_id, reason
            )
            return False
    try:  # the record will be the folder's: whoever rebuilds its network imports what it names
        check_activation("its model", record.config.activation, str(job.config.activation["_target_"]))
    except UserError:
        log.warning("MLflow run %s: its record names another activation; it is not taken over", run.info.run_id)
        return False
    if record.fingerprint != run.data.tags["fingerprint"] or record.outcome is not Outcome.finished:
        return False
    sweeps = [s for s in run.data.tags.get("sweeps", "").split(",") if s]
    delivered = DeliveredRun(store.name, run.info.run_id, record.epochs, record.ended_ms, model=True, sweeps=sweeps)
    folder = job.folder
    folder.set_delivered(Delivered([delivered]))
    if record.config.tracking.models is not Models.none:
        _fetch_weights(folder, record, run, store)
    folder.finish(record)
    store.seen.add(run.info.run_id)
    return True


def _fetch_weights(folder: RunFolder, record: Record, run: Run, store: Store) -> None:
    """The best weights from the logged model, checked against the record's digest; for `model_path`."""
    from mlflow.exceptions import MlflowException

    try:
        weights, _ = logged_model(store.client, store.uri, run)
    except (UserError, OSError, MlflowException) as e:
        log.debug("no weights of %s: %s", run.info.run_id, e)
        return
    if weights_digest(weights) != record.weights_digest:
        log.warning("MLflow run %s: its weights are not those of its record, and are not kept", run.info.run_id)
        return
    if record.best_epoch is None or record.best_val_accuracy is None:
        return
    name = f"best-{record.best_epoch}.safetensors"
    save_weights(folder.path / name, weights, {"epoch": str(record.best_epoch)})
    best = BestWeights(record.best_epoch, record.best_val_accuracy, name, file_sha256(folder.path / name))
    write_history(folder.path, History(best=best))
