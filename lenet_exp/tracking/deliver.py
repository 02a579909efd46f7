"""`deliver`: sends what a run folder holds to MLflow. Idempotent: call it again at any time, nothing is doubled.

Every time stamp is read from the folder, where it was stored once: MLflow takes a point resent with its stamp
as the same point.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from lenet_exp.config.params import params, text
from lenet_exp.config.plain import plain
from lenet_exp.config.tags import checked, merged
from lenet_exp.folders.records import DeliveredRun, Outcome, Record
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.tracking.champion import crown
from lenet_exp.tracking.class_accuracy import class_points
from lenet_exp.tracking.model import log_model
from lenet_exp.tracking.store import Store
from lenet_exp.training.fit import EpochResult

if TYPE_CHECKING:
    from mlflow.entities import Metric

EPOCH_METRICS = (
    "val_accuracy",  # the first is what MLflow's comparison of runs shows at first
    "val_loss",
    "train_loss",
    "train_accuracy",
    "lr",
    "epoch_seconds",
    "images_per_second",
)
BEST_METRICS = ("best_val_accuracy", "best_epoch", "seconds_to_best")
STATUS = {
    Outcome.finished: "FINISHED",
    Outcome.killed: "KILLED",
    Outcome.pruned: "FINISHED",
    Outcome.diverged: "FAILED",
    Outcome.failed: "FAILED",
}
BATCH = 1000  # the most metrics that MLflow takes at once
DIGEST = 36  # characters that MLflow keeps of a data set's digest


def deliver(folder: RunFolder, store: Store, *, parent: str | None = None, model: bool = True) -> str:
    """Brings MLflow up to what is committed in `folder`.

    Args:
        parent: MLflow run id of the sweep that the run belongs to.
        model: whether the best model goes to MLflow too, once the run is finished.

    Returns:
        The MLflow run's id.
    """
    begun = folder.begun()
    if begun is None:
        raise ValueError(f"{folder.path} holds no run")
    delivered = folder.delivered()
    entry = delivered.of(store.name)
    if entry is not None and not alive(store, entry.run_id):  # somebody deleted it, or mlflow.db
        entry = None
    if entry is None:
        entry = DeliveredRun(store.name, _find_run(folder, begun, store) or _create_run(folder, begun, store))
        store.seen.add(entry.run_id)
        _log_start(begun, store, entry.run_id)
        _close_abandoned(folder, store)
        folder.set_delivered(delivered.having(entry))
    if parent is not None and parent not in entry.sweeps:
        entry = replace(entry, sweeps=[*entry.sweeps, parent])
        _join_sweep(store, entry.run_id, entry.sweeps)
        folder.set_delivered(delivered.having(entry))
    record = folder.record()
    want_model = model and record is not None and record.outcome is Outcome.finished and not entry.model
    if record is not None and entry.ended_ms == record.ended_ms and not want_model:
        return entry.run_id
    if record is None and entry.ended_ms is not None:  # it was killed, and goes on
        store.client.update_run(entry.run_id, status="RUNNING")
        entry = replace(entry, ended_ms=None)
    epochs = folder.history().epochs
    _log_metrics(store, entry.run_id, _points(epochs[entry.epochs :]))
    entry = replace(entry, epochs=max(entry.epochs, len(epochs)))
    if record is not None:
        entry = _log_end(folder, record, store, entry, want_model)
    folder.set_delivered(delivered.having(entry))
    return entry.run_id


def delivered_run(folder: RunFolder, store: Store) -> str | None:
    """The MLflow run that the folder's run has in this store, as far as the folder knows."""
    entry = folder.delivered().of(store.name)
    return entry.run_id if entry is not None else None


def alive(store: Store, run_id: str) -> bool:
    """Whether the store has the run; asked once a process and run."""
    from mlflow.exceptions import MlflowException

    if run_id in store.seen:
        return True
    try:
        active = store.client.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException as e:
        if e.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
    if active:
        store.seen.add(run_id)
    return active


def _find_run(folder: RunFolder, begun: Record, store: Store) -> str | None:
    """A run that was created for this folder's present try just before a crash."""
    wanted = f"tags.run_folder = '{folder.id}' and tags.created_ms = '{begun.created_ms}'"
    found = store.client.search_runs([store.experiment_id], wanted, max_results=1)
    return found[0].info.run_id if found else None


def _create_run(folder: RunFolder, begun: Record, store: Store) -> str:
    own = {
        "kind": "run",
        "fingerprint": begun.fingerprint,
        "run_folder": folder.id,
        "created_ms": begun.created_ms,
        "host": begun.host,
        "command": begun.command,
        "mlflow.source.name": program(begun.command),
        "mlflow.source.type": "LOCAL",
        "mlflow.user": user(),
        **{f"version.{name}": v for name, v in begun.versions.items()},
        **begun.git,
    }
    run = store.client.create_run(
        store.experiment_id,
        start_time=begun.created_ms,
        run_name=begun.name,
        tags=strings(merged(own, begun.config.tracking.tags)),
    )
    return str(run.info.run_id)


def _log_start(begun: Record, store: Store, run_id: str) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param
    from mlflow.exceptions import MlflowException

    store.client.log_batch(run_id, params=[Param(k, v) for k, v in params(begun.config).items()])
    inputs = []
    source = json.dumps({"uri": begun.data_source})
    for split, mlflow_name in (("train", "training"), ("validation", "validation")):
        dataset = Dataset(begun.dataset, begun.data_digests[split][:DIGEST], "local", source)
        inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", mlflow_name)]))
    try:
        store.client.log_inputs(run_id, inputs)
    except MlflowException:  # another process named the same new data set at this moment; now MLflow finds it
        store.client.log_inputs(run_id, inputs)
    with _artifact("config.yaml", OmegaConf.to_yaml(OmegaConf.create(plain(begun.config)))) as path:
        store.client.log_artifact(run_id, str(path))


def _log_end(folder: RunFolder, record: Record, store: Store, entry: DeliveredRun, want_model: bool) -> DeliveredRun:
    """Sends the end of a run; what its store has then."""
    run_id = entry.run_id
    if record.is_result and record.best_epoch is not None:  # a killed run goes on, perhaps to a better one
        model_id = None
        if want_model:
            model_id = log_model(folder.best_weights() or {}, record, store, run_id)
            crown(store, record, run_id, model_id)
            entry = replace(entry, model=True)
        _log_metrics(store, run_id, [*_best_points(folder, record, model_id), *class_points(record)])
    if entry.ended_ms == record.ended_ms:
        return entry
    if record.config.tracking.plots and folder.history().epochs and record.outcome is not Outcome.killed:
        _log_plots(folder, record, store, run_id)
    store.client.log_artifact(run_id, str(folder.path / "record.json"))
    if folder.log_file.exists():
        store.client.log_artifact(run_id, str(folder.log_file))
    tags = {"outcome": record.outcome, "weights_digest": record.weights_digest, "reason": record.reason}
    set_tags(store, run_id, {**{k: v for k, v in tags.items() if v or entry.reason}, **_course_tags(record)})
    assert record.outcome is not None
    store.client.set_terminated(run_id, STATUS[record.outcome], end_time=record.ended_ms)
    return replace(entry, reason=record.reason, ended_ms=record.ended_ms)


def _course_tags(record: Record) -> dict[str, int]:
    """The tags of a run that did not go from its first to its last epoch in one piece."""
    tags = {"resumed": record.resumed} if record.resumed else {}
    return tags | ({"stopped_early": record.epochs} if record.stopped_early else {})


def _log_plots(folder: RunFolder, record: Record, store: Store, run_id: str) -> None:
    from lenet_exp.reports.plots import confusion_figure, curves_figure, png

    title = record.name if record.dataset in record.name else f"{record.dataset}: {record.name}"
    pictures = {"learning_curves.png": png(curves_figure(folder.history().epochs, title))}
    if record.confusion_matrix:
        names = record.config.dataset.class_names
        pictures["confusion_matrix.png"] = png(confusion_figure(record.confusion_matrix, names, title))
    for path in folder.pictures():
        store.client.log_artifact(run_id, str(path))
    for name, content in pictures.items():
        with _artifact(name, content) as path:
            store.client.log_artifact(run_id, str(path))


def _points(epochs: Sequence[EpochResult]) -> Iterator[Metric]:
    from mlflow.entities import Metric

    for e in epochs:
        for name in EPOCH_METRICS:
            yield Metric(name, getattr(e, name), e.time_ms, e.epoch)
        for iteration, loss, time_ms in e.step_losses:
            yield Metric("step_loss", loss, time_ms, iteration)


def _best_points(folder: RunFolder, record: Record, model_id: str | None) -> Iterator[Metric]:
    """The final metrics, and with a model the best epoch's metrics once more, linked to it and to their data."""
    from mlflow.entities import Metric

    def linked(split: str) -> dict[str, str]:
        if model_id is None:
            return {}
        digest = record.data_digests[split][:DIGEST]
        return {"model_id": model_id, "dataset_name": record.dataset, "dataset_digest": digest}

    for name in BEST_METRICS:
        value = getattr(record, name)
        if value is not None:  # records of older releases lack some
            yield Metric(name, value, record.ended_ms, 0, **linked("validation"))
    if model_id is not None and record.best_epoch is not None:
        best = folder.history().epochs[record.best_epoch - 1]
        for name in EPOCH_METRICS[:4]:
            split = "train" if name.startswith("train") else "validation"
            yield Metric(name, getattr(best, name), best.time_ms, best.epoch, **linked(split))


def _log_metrics(store: Store, run_id: str, points: Iterator[Metric] | list[Metric]) -> None:
    waiting = list(points)
    for start in range(0, len(waiting), BATCH):
        store.client.log_batch(run_id, metrics=waiting[start : start + BATCH])


def _close_abandoned(folder: RunFolder, store: Store) -> None:
    """MLflow runs of earlier tries of this run would stay RUNNING for ever."""
    for entry in folder.abandoned():
        if entry.store != store.name or not alive(store, entry.run_id):
            continue
        if store.client.get_run(entry.run_id).info.status == "RUNNING":
            set_tags(store, entry.run_id, {"outcome": Outcome.killed})
            store.client.set_terminated(entry.run_id, "KILLED")


def _join_sweep(store: Store, run_id: str, sweeps: list[str]) -> None:
    """A run belongs to each sweep that asked for it; MLflow nests it under the first."""
    set_tags(store, run_id, {"sweeps": ",".join(sweeps), "mlflow.parentRunId": sweeps[0]})


def set_tags(store: Store, run_id: str, tags: Mapping[str, object]) -> None:
    """Tags of the program's own."""
    from mlflow.entities import RunTag

    store.client.log_batch(run_id, tags=[RunTag(k, v) for k, v in strings(checked(tags)).items()])


def strings(tags: Mapping[str, object]) -> dict[str, str]:
    """REST takes strings only; MLflow's SQL store would take anything, so the mistake would show late."""
    return {str(k): text(v) for k, v in tags.items()}


def program(command: str) -> str:
    """The command of a command line: MLflow shows it in a column, and the whole line stands in the tag `command`."""
    words = command.split()
    if words[:2] == ["python", "-m"]:
        return words[2].replace("lenet_exp.", "lenet-")
    return words[0].strip("'") or "python"  # an interactive one has no name


def user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user id on this machine, as in some containers
        return "unknown"


@contextlib.contextmanager
def _artifact(name: str, content: str | bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        yield path
