"""Takes over what a shared store knows and this outputs folder does not: runs that others finished."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_exp.addresses import SQLITE
from lenet_exp.files import write_json
from lenet_exp.folders.job import FrozenJob
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.tracking.delivery import Delivery
from lenet_exp.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run

PAGE = 1000

log = logging.getLogger("lenet_exp")


def adopt(jobs: Sequence[FrozenJob], delivery: Delivery) -> None:
    """Before a sweep: learns which delivered runs the store still has, and takes over what others finished there.

    One paged query for the former, and for a store shared with others one more for the latter.
    """
    delivery.attempt("what the store has", lambda store: _learn(jobs, store))
    delivery.attempt("runs of others", lambda store: _take_over(jobs, store))


def adopt_one(folder: RunFolder, fingerprint: str, delivery: Delivery) -> None:
    """The same for a single run whose folder the caller owns."""

    def take(store: Store) -> None:
        if _shared(store):
            query = f"tags.kind = 'run' and tags.fingerprint = '{fingerprint}' and attributes.status = 'FINISHED'"
            for run in store.client.search_runs([store.experiment_id], query, max_results=1):
                _write(folder, run, store)

    if folder.job() is None:
        delivery.attempt("runs of others", take)


def _learn(jobs: Sequence[FrozenJob], store: Store) -> None:
    known = []
    for run in {job.run: job for job in jobs}.values():
        entries = (run.folder.delivered() or {}).get("mlflow_runs", [])
        known += [e["run_id"] for e in entries if e["store"] == store.name]
    for start in range(0, len(known), PAGE):
        names = ", ".join(f"'{run_id}'" for run_id in known[start : start + PAGE])
        found = store.client.search_runs([store.experiment_id], f"attributes.run_id IN ({names})", max_results=PAGE)
        store.seen.update(run.info.run_id for run in found)


def _take_over(jobs: Sequence[FrozenJob], store: Store) -> None:
    if not _shared(store):
        return
    wanted = {job.fingerprint: job for job in reversed(jobs) if job.folder.job() is None}
    if not wanted:
        return
    taken = 0
    for run in _pages(store, "tags.kind = 'run' and attributes.status = 'FINISHED'"):
        job = wanted.pop(run.data.tags.get("fingerprint", ""), None)
        if job is not None:
            with job.folder.claim():
                if job.folder.job() is None:
                    taken += _write(job.folder, run, store)
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


def _write(folder: RunFolder, run: Run, store: Store) -> bool:
    """Makes the run folder of a run that was trained elsewhere: its record, and that MLflow has it."""
    with tempfile.TemporaryDirectory() as scratch:
        path = store.client.download_artifacts(run.info.run_id, "record.json", scratch)
        record: dict[str, Any] = json.loads(Path(path).read_text())
    if record["fingerprint"] != run.data.tags["fingerprint"] or record["outcome"] != "finished":
        return False
    sweeps = [s for s in run.data.tags.get("sweeps", "").split(",") if s]
    entry = {"store": store.name, "run_id": run.info.run_id, "epochs": record["epochs"], "model": True}
    folder.set_delivered({"mlflow_runs": [entry | {"ended_ms": record["ended_ms"], "sweeps": sweeps}]})
    if record["config"].get("tracking", {}).get("models") != "none":
        _fetch_weights(folder, record, run.info.run_id, store)
    write_json(folder.path / "record.json", record)
    store.seen.add(run.info.run_id)
    return True


def _fetch_weights(folder: RunFolder, record: dict[str, Any], run_id: str, store: Store) -> None:
    """The best weights from the logged model, checked against the record's digest; for `model_path`."""
    from lenet_exp.errors import UserError
    from lenet_exp.tracking.load import load_model
    from lenet_exp.training.weights import save_weights

    try:
        network = load_model(f"runs:/{run_id}", store.uri, record["config"]["dataset"]["name"]).network
    except UserError as e:
        log.debug("no weights of %s: %s", run_id, e)
        return
    name = f"best-{record['best_epoch']}.safetensors"
    save_weights(folder.path / name, network.state_dict(), {"epoch": str(record["best_epoch"])})
    best = {"epoch": record["best_epoch"], "val_accuracy": record["best_val_accuracy"], "weights": name}
    write_json(folder.path / "history.json", {"epochs": [], "best": best, "commits": [], "resumed": 0})
