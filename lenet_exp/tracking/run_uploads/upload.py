"""Uploads the contents of a run folder to MLflow. Repeating an upload does not duplicate any data.

All timestamps come from the run folder, which stores each timestamp once. If a metric is sent again
with the same timestamp, MLflow does not create a second point.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from omegaconf import OmegaConf

from lenet_exp.addresses import hide_password
from lenet_exp.config.typed_json import to_plain
from lenet_exp.files import Json, read_regular
from lenet_exp.folders.delivered import DeliveredRun
from lenet_exp.folders.records import Outcome, Record
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.reports.files.run_charts import confusion_svg, curves_svg
from lenet_exp.tracking.models.champion import passed_over, register_if_best
from lenet_exp.tracking.models.code import log_code
from lenet_exp.tracking.models.exporter import Export
from lenet_exp.tracking.models.model import link_model, log_model, registered_name
from lenet_exp.tracking.run_uploads.class_accuracy import class_points, class_table
from lenet_exp.tracking.run_uploads.open_run import open_run
from lenet_exp.tracking.stores.batch import RunBatch, log_metrics
from lenet_exp.tracking.stores.mlflow_runs import set_tags
from lenet_exp.tracking.stores.points import DIGEST, best_points, epoch_points, step_points
from lenet_exp.tracking.stores.store import Store

STATUS = {
    Outcome.finished: "FINISHED",
    Outcome.killed: "KILLED",
    Outcome.pruned: "FINISHED",
    Outcome.diverged: "FAILED",
    Outcome.failed: "FAILED",
}
DESCRIPTION = "mlflow.note.content"  # tag that contains a run's description in MLflow's UI


@dataclass(frozen=True)
class RunUpload:
    """Settings of an upload of a run.

    Attributes:
        parent: MLflow run ID of the sweep that contains the run; None if the run is not part of a
            sweep.
        user: user who trains the run or reuses its result, for the run's list of users; None if
            there is no such user.
        export: function that exports the best model of a run as a `.pt2` archive (see `exporter`);
            None to upload no model.
    """

    parent: str | None = None
    user: str | None = None
    export: Export | None = None


def upload_run(folder: RunFolder, store: Store, settings: RunUpload) -> str:
    """Upload what a store lacks of a run, up to the run's last checkpoint.

    Returns:
        The ID of the MLflow run.
    """
    with folder.upload_lock():
        begun = folder.begun()
        if begun is None:
            raise ValueError(f"{folder.path} contains no run")
        entry = open_run(folder, begun, store, parent=settings.parent, user=settings.user)

        record = folder.record()
        if record is None and entry.ended_ms is not None:  # the run was killed and then resumed
            entry = replace(entry, ended_ms=None)
            # Before the request, so that the end is uploaded again if this upload fails halfway.
            folder.set_delivered(entry)
            store.client.update_run(entry.run_id, status="RUNNING")

        entry = _upload_results(folder, begun, record, store=store, entry=entry)
        if record is not None and settings.export is not None:
            entry = _upload_model(folder, record, store, entry, export=settings.export)
        return entry.run_id


def passed_over_run(folder: RunFolder, store: Store) -> str:
    """Return a line if a run is better than the champion, but cannot be compared with it.

    Otherwise, the line is empty. See `passed_over`.
    """
    record = folder.record()
    run_id = folder.delivered().run_id(store.name)
    if record is None or run_id is None:
        return ""
    return passed_over(store.client, registered_name(record.dataset, record.config), run_id)


def _upload_results(
    folder: RunFolder, begun: Record, record: Record | None, *, store: Store, entry: DeliveredRun
) -> DeliveredRun:
    """Upload everything that the store lacks, except for the best model.

    Args:
        folder: folder of the run.
        begun: record from the start of the run.
        record: record from the end of the run; None if it has not ended.
        store: store to which the run is uploaded.
        entry: what the store has received so far.

    Returns:
        The updated entry.
    """
    batch = RunBatch()
    if not entry.begun:  # the MLflow run is new, or everything is uploaded again
        batch.params = begun.params
        config = OmegaConf.create(to_plain(begun.config))
        batch.files["config.yaml"] = OmegaConf.to_yaml(config).encode()
        _log_datasets(begun, store, entry.run_id)

    epochs = folder.history().epochs
    batch.metrics += epoch_points(epochs[entry.epochs :], begun.metric.key)
    ends_now = record is not None and entry.ended_ms != record.ended_ms
    if record is not None and ends_now:
        _add_end(batch, folder, record, entry)
    batch.send(store, entry.run_id)

    uploaded = replace(entry, begun=True, epochs=max(entry.epochs, len(epochs)))
    if record is not None and record.outcome is not None and ends_now:
        is_in_sweep = bool(entry.sweeps)
        if not is_in_sweep:  # otherwise, the sweep's own MLflow run has the code
            log_code(store, entry.run_id, [record.config])
        store.client.set_terminated(entry.run_id, STATUS[record.outcome], end_time=record.ended_ms)
        uploaded = replace(uploaded, reason=record.reason, ended_ms=record.ended_ms)

    if uploaded != entry:
        folder.set_delivered(uploaded)
    return uploaded


def _log_datasets(begun: Record, store: Store, run_id: str) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = json.dumps({"uri": begun.data_source})
    inputs = []
    for split, mlflow_name in (("train", "training"), ("validation", "validation")):
        dataset = Dataset(begun.dataset, begun.data_digests[split][:DIGEST], "local", source)
        inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", mlflow_name)]))
    store.client.log_inputs(run_id, inputs)


def _add_end(batch: RunBatch, folder: RunFolder, record: Record, entry: DeliveredRun) -> None:
    """Add the final results of a run to a batch.

    Args:
        entry: what the store has received so far.
    """
    history = folder.history()
    batch.metrics += step_points(history.diverged)
    # A killed run has no final metrics, because it could be resumed and improve.
    if record.is_result and record.best_epoch is not None:
        batch.metrics += best_points(folder, record, model_id=None)
        batch.metrics += class_points(record)

    table = class_table(record)
    if table is not None:
        batch.files["class_accuracy.csv"] = table.encode()
    if record.config.tracking.plots and record.outcome is not Outcome.killed and history.epochs:
        batch.files |= _pictures(folder, record)

    for path in (folder.path / "record.json", folder.log_file):
        if path.is_file():
            text = read_regular(path).decode(errors="backslashreplace")
            batch.files[path.name] = hide_password(text).encode()
    batch.tags |= _end_tags(record, entry)


def _end_tags(record: Record, entry: DeliveredRun) -> dict[str, Json]:
    """Return the tags for the end of a run.

    Args:
        entry: what the store has received so far.
    """
    values: dict[str, Json] = {
        "outcome": record.outcome,
        "weights_digest": record.weights_digest,
        "reason": record.reason,
    }
    tags: dict[str, Json] = {}
    for name, value in values.items():
        # If an earlier end had a reason, its tags are replaced by empty values, too.
        if value or entry.reason:
            tags[name] = value

    if record.resumed:
        tags["resumed"] = record.resumed
    if record.continued_from:
        tags["continued_from"] = record.continued_from
    if record.stopped_early:
        tags["stopped_early"] = record.epochs
    return tags


def _upload_model(
    folder: RunFolder, record: Record, store: Store, entry: DeliveredRun, *, export: Export
) -> DeliveredRun:
    """Upload the best model of a finished run, unless the store has it.

    Args:
        entry: what the store has received so far.
        export: see `RunUpload`.

    Returns:
        The updated entry.
    """
    if entry.model or record.outcome is not Outcome.finished:
        return entry
    weights = folder.best_arrays()
    if weights is None or record.best_epoch is None:
        return entry

    run_id = entry.run_id
    model_id = log_model(weights, record, store, run_id, export=lambda: export(folder.path))
    log_metrics(store, run_id, best_points(folder, record, model_id))
    link_model(store, run_id, model_id, record)

    tags = store.client.get_run(run_id).data.tags
    if DESCRIPTION not in tags:  # keep a user's own description
        set_tags(store, run_id, {DESCRIPTION: _how_to_load(store, run_id)})
    register_if_best(store, record, run_id, model_id, export=export)

    uploaded = replace(entry, model=True)
    folder.set_delivered(uploaded)
    return uploaded


def _how_to_load(store: Store, run_id: str) -> str:
    """Return a Markdown description for MLflow's UI: Python code that loads the run's model."""
    arguments = f'"runs:/{run_id}", tracking_uri={json.dumps(store.name)}'
    return f"```python\nimport lenet_exp\n\nnetwork = lenet_exp.load({arguments})\n```"


def _pictures(folder: RunFolder, record: Record) -> Mapping[str, bytes]:
    """Return the pictures of a run by file name."""
    title = record.name
    if record.dataset not in record.name:
        title = f"{record.dataset}: {record.name}"

    curves = curves_svg(folder.history().epochs, title, record.metric)
    pictures = {"learning_curves.svg": curves.encode()}
    if record.confusion_matrix:
        class_names = record.config.dataset.class_names or []
        confusion = confusion_svg(record.confusion_matrix, class_names, title)
        pictures["confusion_matrix.svg"] = confusion.encode()
    return pictures | {path.name: path.read_bytes() for path in folder.pictures()}
