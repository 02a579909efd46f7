"""The models that are bundled with the package, one per dataset: the first champions that new runs
must beat.
"""

from __future__ import annotations

import json
from pathlib import Path

from lenet_exp.config.params import params
from lenet_exp.folders.records import Record, record_from_json
from lenet_exp.tracking.models.exporter import Export
from lenet_exp.tracking.models.model import link_model, log_model
from lenet_exp.tracking.stores.store import Store
from lenet_exp.training.trained.weights import load_arrays

SHIPPED = Path(__file__).resolve().parents[2] / "champions"


def shipped_file(dataset: str) -> Path | None:
    """Return the path of the bundled model for a dataset, or None if no model is bundled for the
    dataset.
    """
    path = SHIPPED / f"{dataset}.safetensors"
    return path if path.exists() else None


def shipped_record(dataset: str) -> Record | None:
    """Return the record of the bundled model for a dataset, or None if no model is bundled for the
    dataset.
    """
    path = shipped_file(dataset)
    return (
        record_from_json(json.loads(load_arrays(path)[1]["record"])) if path is not None else None
    )


def log_shipped(store: Store, record: Record, export: Export) -> tuple[Record, str, str]:
    """Create an MLflow run (tag `kind`: shipped) for the bundled model of a dataset, once per
    store.

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
    query = f"tags.kind = 'shipped' and tags.fingerprint = '{record.fingerprint}'"
    found = client.search_runs([store.experiment_id], query, max_results=1)
    tags = {
        "kind": "shipped",
        "fingerprint": record.fingerprint,
        "weights_digest": record.weights_digest,
        "outcome": record.outcome,
    }
    name = f"{record.dataset}, bundled with lenet_exp"
    run = (
        found[0] if found else client.create_run(store.experiment_id, record.created_ms, tags, name)
    )
    run_id = str(run.info.run_id)
    # After a crash, metrics and params are logged again. MLflow keeps only one copy of identical
    # metrics and params.
    metrics = [
        Metric(name, getattr(record, name), record.ended_ms, 0)
        for name in ("best_val_accuracy", "best_epoch")
    ]
    logged = params(record.config) | record.size
    client.log_batch(run_id, metrics=metrics, params=[Param(k, v) for k, v in logged.items()])
    client.log_text(run_id, metadata["record"], "record.json")
    model_id = log_model(weights, record, store, run_id, export=lambda: export(path))
    link_model(store, run_id, model_id, record)
    client.set_terminated(run_id, "FINISHED", end_time=record.ended_ms)
    return record, run_id, model_id
