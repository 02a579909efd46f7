"""The models that the package ships, one a data set: the champions that the first runs have to beat."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from lenet_exp.config.params import params
from lenet_exp.folders.records import Record, record_of
from lenet_exp.tracking.models.model import link_model, log_model
from lenet_exp.tracking.stores.store import Store
from lenet_exp.training.trained.weights import load_arrays

SHIPPED = Path(__file__).resolve().parents[2] / "champions"


def shipped_file(dataset: str) -> Path | None:
    """The data set's model, in the format of `model_path`."""
    path = SHIPPED / f"{dataset}.safetensors"
    return path if path.exists() else None


def shipped_record(dataset: str) -> Record | None:
    """The record of the data set's model; None where none is shipped."""
    path = shipped_file(dataset)
    return record_of(json.loads(load_arrays(path)[1]["record"])) if path is not None else None


def log_shipped(store: Store, record: Record) -> tuple[Record, str, str]:
    """Makes an MLflow run (tag `kind`: shipped) of a data set's shipped model, once a store.

    Returns:
        Its record, the run's id and the logged model's.
    """
    path = shipped_file(record.dataset)
    assert path is not None
    weights, metadata = load_arrays(path)
    query = f"tags.kind = 'shipped' and tags.fingerprint = '{record.fingerprint}'"
    found = store.client.search_runs([store.experiment_id], query, max_results=1)
    run_id = found[0].info.run_id if found else _create_run(store, record)
    _log_numbers(store, run_id, record)
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "record.json").write_text(metadata["record"])
        store.client.log_artifact(run_id, f"{scratch}/record.json")
    model_id = log_model(weights, record, store, run_id)
    link_model(store, run_id, model_id, record)
    store.client.set_terminated(run_id, "FINISHED", end_time=record.ended_ms)
    return record, run_id, model_id


def _create_run(store: Store, record: Record) -> str:
    tags = {
        "kind": "shipped",
        "fingerprint": record.fingerprint,
        "weights_digest": record.weights_digest,
        "outcome": record.outcome,
    }
    name = f"{record.dataset}, shipped with lenet_exp"
    run = store.client.create_run(store.experiment_id, start_time=record.created_ms, run_name=name, tags=tags)
    return str(run.info.run_id)


def _log_numbers(store: Store, run_id: str, record: Record) -> None:
    """Again, if a crash came in between: the same points and params are none twice."""
    from mlflow.entities import Metric, Param

    metrics = [Metric(name, getattr(record, name), record.ended_ms, 0) for name in ("best_val_accuracy", "best_epoch")]
    values = [Param(k, v) for k, v in params(record.config).items()]
    store.client.log_batch(run_id, metrics=metrics, params=values)
