"""Uploads the contents of a run folder to MLflow. Repeating an upload does not duplicate any data.

All timestamps come from the run folder, which stores each timestamp once. If a metric is sent again with the same
timestamp, MLflow does not create a second point.
"""

from __future__ import annotations

import json
from dataclasses import replace

from omegaconf import OmegaConf

from lenet_exp.addresses import hide_password
from lenet_exp.config.own_code import codes
from lenet_exp.config.params import params
from lenet_exp.config.plain import plain
from lenet_exp.files import Json, read_regular
from lenet_exp.folders.code_folder import load_code
from lenet_exp.folders.records import DeliveredRun, Outcome, Record
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.reports.files.run_charts import confusion_svg, curves_svg
from lenet_exp.tracking.delivery.class_accuracy import class_points, class_table
from lenet_exp.tracking.models.champion import passed_over, register_if_best
from lenet_exp.tracking.models.code import log_code
from lenet_exp.tracking.models.model import link_model, log_model, registered_name
from lenet_exp.tracking.stores.mlflow_runs import (
    REPLACED,
    Origin,
    add_user,
    alive,
    close_abandoned,
    close_former,
    create_run,
    join_sweeps,
    log_files,
    replacement_entry,
    set_tags,
)
from lenet_exp.tracking.stores.points import DIGEST, best_points, epoch_points, log_metrics, step_points
from lenet_exp.tracking.stores.store import Store
from lenet_exp.training.trained.weights import Arrays

STATUS = {
    Outcome.finished: "FINISHED",
    Outcome.killed: "KILLED",
    Outcome.pruned: "FINISHED",
    Outcome.diverged: "FAILED",
    Outcome.failed: "FAILED",
}
MOST = 100  # maximum number of MLflow runs for a run folder
NOTE = "mlflow.note.content"  # tag that contains a run's description in MLflow's UI


def deliver(
    folder: RunFolder,
    store: Store,
    *,
    parent: str | None = None,
    model: bool = True,
    user: str | None = None,
    archive: bytes | None = None,
) -> str:
    """Upload all results in a run folder that have not been uploaded yet, up to its last checkpoint.

    Args:
        parent: MLflow run ID of the sweep that contains the run; None if the run is not part of a sweep.
        model: whether to also upload the best model, if the run is finished and its folder contains the weights.
        user: user who trains the run or reuses its result, for the run's list of users; None if there is no such user.
        archive: the best model as another process has exported it; None to export it here.

    Returns:
        The ID of the MLflow run.
    """
    begun = folder.begun()
    if begun is None:
        raise ValueError(f"{folder.path} contains no run")
    entry = folder.delivered().run_in(store.name)
    if entry is None or not alive(store, entry.run_id):  # the run or the database was deleted
        run_id, *surplus = _find_runs(folder, begun, store) or [_create_run(folder, begun, store)]
        entry = replacement_entry(entry, store.name, run_id, surplus)
        store.seen.add(run_id)
    if not entry.begun:  # the MLflow run is new, or everything is uploaded again
        _log_start(begun, store, entry.run_id)
        for name in entry.users:
            add_user(store, entry.run_id, name)
        close_abandoned(folder, store)
        entry = replace(entry, begun=True, sweeps=_alive_sweeps(entry, store))
        if entry.sweeps:
            join_sweeps(store, entry.run_id, entry.sweeps)
        folder.set_delivered(entry)
    close_former(entry, store)
    if parent is not None and parent not in entry.sweeps:
        entry = replace(entry, sweeps=[*_alive_sweeps(entry, store), parent])
        join_sweeps(store, entry.run_id, entry.sweeps)
        folder.set_delivered(entry)
    if user is not None and user not in entry.users:
        add_user(store, entry.run_id, user)
        entry = replace(entry, users=[*entry.users, user])
        folder.set_delivered(entry)
    record = folder.record()
    finished = record is not None and record.outcome is Outcome.finished
    weights = folder.best_arrays() if model and finished and not entry.model else None
    if record is not None and entry.ended_ms == record.ended_ms and weights is None:
        return entry.run_id
    if record is None and entry.ended_ms is not None:  # the run was killed and then resumed
        store.client.update_run(entry.run_id, status="RUNNING")
        entry = replace(entry, ended_ms=None)
    epochs = folder.history().epochs
    log_metrics(store, entry.run_id, epoch_points(epochs[entry.epochs :], begun.metric.key))
    entry = replace(entry, epochs=max(entry.epochs, len(epochs)))
    if record is not None:
        entry = _log_end(folder, record, store, entry, weights=weights, archive=archive)
    folder.set_delivered(entry)
    return entry.run_id


def _alive_sweeps(entry: DeliveredRun, store: Store) -> list[str]:
    """Return the sweeps of an MLflow run without those whose own MLflow run was deleted."""
    return [sweep for sweep in entry.sweeps if alive(store, sweep)]


def passed_over_run(folder: RunFolder, store: Store) -> str:
    """Return a line if a run is better than the champion, but cannot be compared with it; otherwise, return an empty
    string. See `passed_over`."""
    record, run_id = folder.record(), folder.delivered().run_id(store.name)
    if record is None or run_id is None:
        return ""
    return passed_over(store.client, registered_name(record.dataset, record.config), run_id)


def _find_runs(folder: RunFolder, begun: Record, store: Store) -> list[str]:
    """Return the IDs of MLflow runs that were already created for a run folder.

    Such an MLflow run exists if the process crashed before it stored the ID, or if the store's response arrived too
    late.
    """
    wanted = f"tags.run_folder = '{folder.id}' and tags.created_ms = '{begun.created_ms}'"
    found = store.client.search_runs([store.experiment_id], wanted, max_results=MOST)
    if found and found[0].data.tags.get("kind") == REPLACED:  # the run that replaced the found run was deleted
        set_tags(store, found[0].info.run_id, {"kind": "run"})
    return [str(run.info.run_id) for run in found]


def _create_run(folder: RunFolder, begun: Record, store: Store) -> str:
    own: dict[str, Json] = {
        "kind": "run",
        "fingerprint": begun.fingerprint,
        "run_folder": folder.id,
        "created_ms": begun.created_ms,
        "host": begun.host,
    }
    users, origin = begun.config.tracking.tags, Origin(begun.command, begun.versions, begun.git, [begun.user])
    return create_run(store, begun.name, begun.created_ms, own=own, users=users, origin=origin)


def _log_start(begun: Record, store: Store, run_id: str) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param

    store.client.log_batch(run_id, params=[Param(k, v) for k, v in (params(begun.config) | begun.size).items()])
    inputs = []
    source = json.dumps({"uri": begun.data_source})
    for split, mlflow_name in (("train", "training"), ("validation", "validation")):
        dataset = Dataset(begun.dataset, begun.data_digests[split][:DIGEST], "local", source)
        inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", mlflow_name)]))
    store.client.log_inputs(run_id, inputs)
    store.client.log_text(run_id, OmegaConf.to_yaml(OmegaConf.create(plain(begun.config))), "config.yaml")


def _log_end(
    folder: RunFolder,
    record: Record,
    store: Store,
    entry: DeliveredRun,
    *,
    weights: Arrays | None,
    archive: bytes | None,
) -> DeliveredRun:
    """Upload the final results of a run and, if given, its best weights as a model. Return the updated entry."""
    run_id = entry.run_id
    log_metrics(store, run_id, step_points(folder.history().diverged))
    if record.is_result and record.best_epoch is not None:  # a killed run could be resumed and improve
        model_id = None
        if weights is not None:
            if archive is None:
                load_code(codes(record.config), store.outputs)
            model_id = log_model(weights, record, store, run_id, archive=archive)
        log_metrics(store, run_id, [*best_points(folder, record, model_id), *class_points(record)])
        if model_id is not None:
            link_model(store, run_id, model_id, record)
            if NOTE not in store.client.get_run(run_id).data.tags:  # keep a user's own description
                set_tags(store, run_id, {NOTE: _how_to_load(store, run_id)})
            register_if_best(store, record, run_id, model_id)
            entry = replace(entry, model=True)
    if entry.ended_ms == record.ended_ms:
        return entry
    if (table := class_table(record)) is not None:
        store.client.log_text(run_id, table, "class_accuracy.csv")
    if record.config.tracking.plots and folder.history().epochs and record.outcome is not Outcome.killed:
        _log_pictures(folder, record, store, run_id)
    for path in (folder.path / "record.json", *([folder.log_file] if folder.log_file.is_file() else [])):
        store.client.log_text(run_id, hide_password(read_regular(path).decode(errors="backslashreplace")), path.name)
    tags = {"outcome": record.outcome, "weights_digest": record.weights_digest, "reason": record.reason}
    told: dict[str, Json] = {k: v for k, v in tags.items() if v or entry.reason}
    told |= {"resumed": record.resumed} if record.resumed else {}
    told |= {"continued_from": record.continued_from} if record.continued_from else {}
    told |= {"stopped_early": record.epochs} if record.stopped_early else {}
    set_tags(store, run_id, told)
    if not entry.sweeps:  # a sweep's own MLflow run has the code
        log_code(store, run_id, [record.config])
    assert record.outcome is not None
    store.client.set_terminated(run_id, STATUS[record.outcome], end_time=record.ended_ms)
    return replace(entry, reason=record.reason, ended_ms=record.ended_ms)


def _how_to_load(store: Store, run_id: str) -> str:
    """Return a Markdown description for MLflow's UI: Python code that loads the run's model."""
    arguments = f'"runs:/{run_id}", tracking_uri={json.dumps(store.name)}'
    return f"```python\nimport lenet_exp\n\nnetwork = lenet_exp.load({arguments})\n```"


def _log_pictures(folder: RunFolder, record: Record, store: Store, run_id: str) -> None:
    title = record.name if record.dataset in record.name else f"{record.dataset}: {record.name}"
    pictures = {"learning_curves.svg": curves_svg(folder.history().epochs, title, record.metric).encode()}
    if record.confusion_matrix:
        names = record.config.dataset.class_names or []
        pictures["confusion_matrix.svg"] = confusion_svg(record.confusion_matrix, names, title).encode()
    pictures |= {path.name: path.read_bytes() for path in folder.pictures()}
    log_files(store.client, run_id, pictures)
