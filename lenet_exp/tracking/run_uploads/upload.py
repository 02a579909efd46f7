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
from lenet_exp.tracking.stores.batch import RunBatch, log_metrics
from lenet_exp.tracking.stores.mlflow_runs import (
    REPLACED,
    Origin,
    add_user,
    alive,
    close_abandoned,
    close_former,
    create_run,
    join_sweeps,
    replacement_entry,
    set_tags,
    sweep_tags,
)
from lenet_exp.tracking.stores.points import DIGEST, best_points, epoch_points, step_points
from lenet_exp.tracking.stores.store import Store

STATUS = {
    Outcome.finished: "FINISHED",
    Outcome.killed: "KILLED",
    Outcome.pruned: "FINISHED",
    Outcome.diverged: "FAILED",
    Outcome.failed: "FAILED",
}
MOST = 100  # maximum number of MLflow runs for a run folder
NOTE = "mlflow.note.content"  # tag that contains a run's description in MLflow's UI


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


def upload_run(folder: RunFolder, store: Store, what: RunUpload) -> str:
    """Upload all results in a run folder that have not been uploaded yet, up to its last
    checkpoint.

    Returns:
        The ID of the MLflow run.
    """
    with folder.upload_lock():
        begun = folder.begun()
        if begun is None:
            raise ValueError(f"{folder.path} contains no run")

        entry = _open_run(folder, begun, store, what)
        record = folder.record()
        if record is None and entry.ended_ms is not None:  # the run was killed and then resumed
            entry = replace(entry, ended_ms=None)
            # Before the request, so that the end is uploaded again if this upload fails halfway.
            folder.set_delivered(entry)
            store.client.update_run(entry.run_id, status="RUNNING")
        entry = _upload_results(folder, begun, record, store=store, entry=entry)
        if record is not None and what.export is not None:
            entry = _upload_model(folder, record, store, entry, export=what.export)
        return entry.run_id


def passed_over_run(folder: RunFolder, store: Store) -> str:
    """Return a line if a run is better than the champion, but cannot be compared with it;
    otherwise, return an empty string. See `passed_over`."""
    record = folder.record()
    run_id = folder.delivered().run_id(store.name)
    if record is None or run_id is None:
        return ""
    return passed_over(store.client, registered_name(record.dataset, record.config), run_id)


def _open_run(folder: RunFolder, begun: Record, store: Store, what: RunUpload) -> DeliveredRun:
    """Return the entry of the run's MLflow run, which is created if necessary and nested under its
    sweeps.
    """
    entry = _entry_of_attempt(folder, begun, store)
    if entry is None or not alive(store, entry.run_id):  # the run or the database was deleted
        entry = _found_or_created(folder, begun, store, what, former=entry)
        store.seen.add(entry.run_id)
        folder.set_delivered(entry)
    elif not entry.begun:
        entry = _restored(entry, begun, store)
    if not entry.begun:
        close_abandoned(folder, entry, store)
    close_former(entry, store)

    if what.parent is not None and what.parent not in entry.sweeps:
        entry = replace(entry, sweeps=[*_alive_sweeps(entry, store), what.parent])
        join_sweeps(store, entry.run_id, entry.sweeps)
        folder.set_delivered(entry)
    if what.user is not None and what.user not in entry.users:
        add_user(store, entry.run_id, what.user)
        entry = replace(entry, users=[*entry.users, what.user])
        folder.set_delivered(entry)
    return entry


def _found_or_created(
    folder: RunFolder, begun: Record, store: Store, what: RunUpload, *, former: DeliveredRun | None
) -> DeliveredRun:
    """Return an entry for an MLflow run that was already created for a run folder, or for a new
    one.

    Args:
        former: entry of the MLflow run that was deleted; None if there is none.
    """
    former = former if former is not None else _former_attempt(folder, store)
    run_ids = _find_runs(folder, begun, store)
    if run_ids:
        entry = replacement_entry(former, store.name, run_ids, begun.created_ms)
        return _restored(entry, begun, store)

    sweeps = [] if former is None else _alive_sweeps(former, store)
    if what.parent is not None and what.parent not in sweeps:
        sweeps.append(what.parent)
    run_id = _create_run(folder, begun, store, sweeps)
    entry = replacement_entry(former, store.name, [run_id], begun.created_ms)
    users = [begun.user] if begun.user else []
    return replace(entry, sweeps=sweeps, users=users)


def _restored(entry: DeliveredRun, begun: Record, store: Store) -> DeliveredRun:
    """Add the sweeps and users to an MLflow run that may lack them, and return its entry without
    deleted sweeps.
    """
    for name in entry.users:
        if name != begun.user:
            add_user(store, entry.run_id, name)
    sweeps = _alive_sweeps(entry, store)
    if sweeps:
        join_sweeps(store, entry.run_id, sweeps)
    return replace(entry, sweeps=sweeps)


def _entry_of_attempt(folder: RunFolder, begun: Record, store: Store) -> DeliveredRun | None:
    """Return the store's entry if it is about the current attempt at the run; None if there is no
    such entry.
    """
    entry = folder.delivered().run_in(store.name)
    if entry is None or entry.created_ms == begun.created_ms:
        return entry
    if entry.created_ms == 0 and alive(store, entry.run_id):  # release 0.3 did not store the time
        tags = store.client.get_run(entry.run_id).data.tags
        if tags.get("created_ms", str(begun.created_ms)) == str(begun.created_ms):
            return replace(entry, created_ms=begun.created_ms)
    elif entry.created_ms == 0:
        return replace(entry, created_ms=begun.created_ms)
    return None


def _former_attempt(folder: RunFolder, store: Store) -> DeliveredRun | None:
    """Return the store's entry about an earlier attempt at the run, as a base for the entry of the
    current attempt.
    """
    entry = folder.delivered().run_in(store.name)
    if entry is None:
        return None
    abandoned = [*entry.abandoned, entry.run_id]
    return DeliveredRun(entry.store, run_id="", former=entry.former, abandoned=abandoned)


def _alive_sweeps(entry: DeliveredRun, store: Store) -> list[str]:
    """Return the sweeps of an MLflow run without those whose own MLflow run was deleted."""
    return [sweep for sweep in entry.sweeps if alive(store, sweep)]


def _find_runs(folder: RunFolder, begun: Record, store: Store) -> list[str]:
    """Return the IDs of MLflow runs that were already created for a run folder.

    Such an MLflow run exists if the process crashed before it stored the ID, or if the store's
    response arrived too late.
    """
    wanted = f"tags.run_folder = '{folder.id}' and tags.created_ms = '{begun.created_ms}'"
    runs = store.client.search_runs([store.experiment_id], wanted, max_results=MOST)
    if (
        runs and runs[0].data.tags.get("kind") == REPLACED
    ):  # the run that replaced this run was deleted
        set_tags(store, runs[0].info.run_id, {"kind": "run"})
    return [str(run.info.run_id) for run in runs]


def _create_run(folder: RunFolder, begun: Record, store: Store, sweeps: list[str]) -> str:
    own: dict[str, Json] = {
        "kind": "run",
        "fingerprint": begun.fingerprint,
        "run_folder": folder.id,
        "created_ms": begun.created_ms,
        "host": begun.host,
    }
    if sweeps:
        own |= sweep_tags(sweeps)
    users = begun.config.tracking.tags
    origin = Origin(begun.command, begun.versions, begun.git, [begun.user])
    return create_run(store, begun.name, begun.created_ms, own=own, users=users, origin=origin)


def _upload_results(
    folder: RunFolder, begun: Record, record: Record | None, *, store: Store, entry: DeliveredRun
) -> DeliveredRun:
    """Upload everything that the store lacks, except for the best model. Return the updated entry."""
    batch = RunBatch()
    if not entry.begun:  # the MLflow run is new, or everything is uploaded again
        batch.params = begun.params
        batch.files["config.yaml"] = OmegaConf.to_yaml(
            OmegaConf.create(to_plain(begun.config))
        ).encode()
        _log_datasets(begun, store, entry.run_id)

    epochs = folder.history().epochs
    batch.metrics += epoch_points(epochs[entry.epochs :], begun.metric.key)
    ends_now = record is not None and entry.ended_ms != record.ended_ms
    if record is not None and ends_now:
        _add_end(batch, folder, record, entry)
    batch.send(store, entry.run_id)

    uploaded = replace(entry, begun=True, epochs=max(entry.epochs, len(epochs)))
    if record is not None and record.outcome is not None and ends_now:
        if not entry.sweeps:  # a sweep's own MLflow run has the code
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
    """Add the final results of a run to a batch."""
    batch.metrics += step_points(folder.history().diverged)
    if (
        record.is_result and record.best_epoch is not None
    ):  # a killed run could be resumed and improve
        batch.metrics += best_points(folder, record, model_id=None)
        batch.metrics += class_points(record)

    table = class_table(record)
    if table is not None:
        batch.files["class_accuracy.csv"] = table.encode()
    if (
        record.config.tracking.plots
        and folder.history().epochs
        and record.outcome is not Outcome.killed
    ):
        batch.files |= _pictures(folder, record)
    for path in (folder.path / "record.json", folder.log_file):
        if path.is_file():
            text = read_regular(path).decode(errors="backslashreplace")
            batch.files[path.name] = hide_password(text).encode()
    batch.tags |= _end_tags(record, entry)


def _end_tags(record: Record, entry: DeliveredRun) -> dict[str, Json]:
    tags: dict[str, Json] = {}
    for name, value in (
        ("outcome", record.outcome),
        ("weights_digest", record.weights_digest),
        ("reason", record.reason),
    ):
        if value or entry.reason:  # an earlier attempt may have had a reason
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
    """Upload the best model of a finished run, unless the store has it. Return the updated entry."""
    if entry.model or record.outcome is not Outcome.finished:
        return entry
    weights = folder.best_arrays()
    if weights is None or record.best_epoch is None:
        return entry
    run_id = entry.run_id
    model_id = log_model(weights, record, store, run_id, export=lambda: export(folder.path))
    log_metrics(store, run_id, best_points(folder, record, model_id))
    link_model(store, run_id, model_id, record)
    if NOTE not in store.client.get_run(run_id).data.tags:  # keep a user's own description
        set_tags(store, run_id, {NOTE: _how_to_load(store, run_id)})
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
    title = record.name if record.dataset in record.name else f"{record.dataset}: {record.name}"
    curves = curves_svg(folder.history().epochs, title, record.metric)
    pictures = {"learning_curves.svg": curves.encode()}
    if record.confusion_matrix:
        names = record.config.dataset.class_names or []
        pictures["confusion_matrix.svg"] = confusion_svg(
            record.confusion_matrix, names, title
        ).encode()
    return pictures | {path.name: path.read_bytes() for path in folder.pictures()}
