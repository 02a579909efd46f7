"""The models bundled with the package, one per dataset: the first champions for runs to beat."""

from __future__ import annotations

import json
from pathlib import Path

from lenet_exp.folders.records import Record, record_from_json
from lenet_exp.tracking.models.exporter import Export
from lenet_exp.tracking.models.model import link_model, log_model
from lenet_exp.tracking.stores.store import Store
from lenet_exp.training.trained.weights import load_arrays

SHIPPED = Path(__file__).resolve().parents[2] / "champions"


def shipped_file(dataset: str) -> Path | None:
    """Return the path of the bundled model for a dataset; None if there is none."""
    path = SHIPPED / f"{dataset}.safetensors"
    return path if path.exists() else None


def shipped_record(dataset: str) -> Record | None:
    """Return the record of the bundled model for a dataset; None if there is none."""
    path = shipped_file(dataset)
    if path is None:
        return None
    _, metadata = load_arrays(path)
    return record_from_json(json.loads(metadata["record"]))


def log_shipped(store: Store, record: Record, export: Export) -> tuple[Record, str, str]:
    """Create an MLflow run for the bundled model of a dataset, once per store.

    The run has the tag `kind` with the value `shipped`.

    Args:
        record: the bundled model's record.
        export: function that exports the model; see `exporter.export_model`.

    Returns:
        The bundled model's record, the ID of the MLflow run, and the ID of the logged model.
    """
    from mlflow.entities import Metric, Param

    path = SHIPPED / f"{record.dataset}.safetensors"
    client = store.client
    weights, metadata = load_arrays(path)
    run_id = _find_or_create_run(store, record)

    # After a crash, metrics and params are logged again. MLflow keeps only one copy of identical
    # metrics and params.
    metrics = [
        Metric(name, getattr(record, name), record.ended_ms, 0)
        for name in ("best_val_accuracy", "best_epoch")
    ]
    values = record.params
    params_to_log = [Param(name, value) for name, value in values.items()]
    client.log_batch(run_id, metrics=metrics, params=params_to_log)
    client.log_text(run_id, metadata["record"], "record.json")

    model_id = log_model(weights, record, store, run_id, export=lambda: export(path))
    link_model(store, run_id, model_id, record)
    client.set_terminated(run_id, "FINISHED", end_time=record.ended_ms)
    return record, run_id, model_id


def _find_or_create_run(store: Store, record: Record) -> str:
    """Return the ID of the MLflow run for a bundled model, which is created if there is none."""
    query = f"tags.kind = 'shipped' and tags.fingerprint = '{record.fingerprint}'"
    runs = store.client.search_runs([store.experiment_id], query, max_results=1)
    if runs:
        return str(runs[0].info.run_id)

    tags = {
        "kind": "shipped",
        "fingerprint": record.fingerprint,
        "weights_digest": record.weights_digest,
        "outcome": record.outcome,
    }
    name = f"{record.dataset}, bundled with lenet_exp"
    run = store.client.create_run(store.experiment_id, record.created_ms, tags, name)
    return str(run.info.run_id)
