"""`deliver`: sends what a run folder holds to MLflow. Idempotent: call it again at any time, nothing is doubled.

Every time stamp is read from the folder, where it was stored once: MLflow takes a point resent with its stamp
as the same point.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from lenet_exp.config.params import params, text
from lenet_exp.folders.run_folder import ENDED, RunFolder
from lenet_exp.tracking.champion import crown
from lenet_exp.tracking.class_accuracy import class_points
from lenet_exp.tracking.model import log_model
from lenet_exp.tracking.store import Store

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
STATUS = {"finished": "FINISHED", "killed": "KILLED", "diverged": "FAILED", "failed": "FAILED"}
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
    job = folder.job()
    if job is None:
        raise ValueError(f"{folder.path} holds no run")
    state = folder.delivered() or {"mlflow_runs": []}
    entry = _known_run(state, store)
    if entry is None:
        run_id = _find_run(folder, store) or _create_run(folder, job, store)
        entry = {"store": store.name, "run_id": run_id, "epochs": 0, "ended_ms": None, "model": False, "sweeps": []}
        state["mlflow_runs"].append(entry)
        store.seen.add(run_id)
        _log_start(job, store, run_id)
        _close_abandoned(folder, store)
        folder.set_delivered(state)
    run_id = entry["run_id"]
    if parent is not None and parent not in entry["sweeps"]:
        entry["sweeps"].append(parent)
        _join_sweep(store, run_id, entry["sweeps"])
        folder.set_delivered(state)
    record = folder.record()
    ended_ms = record["ended_ms"] if record is not None else None
    want_model = model and record is not None and record["outcome"] == "finished" and not entry["model"]
    if record is not None and entry["ended_ms"] == ended_ms and not want_model:
        return run_id
    if record is None and entry["ended_ms"] is not None:  # it was killed, and goes on
        store.client.update_run(run_id, status="RUNNING")
        entry["ended_ms"] = None
    epochs = folder.history()["epochs"]
    _log_metrics(store, run_id, _points(epochs[entry["epochs"] :]))
    entry["epochs"] = max(entry["epochs"], len(epochs))
    if record is not None:
        _log_end(folder, job, record, store, entry, model)
    folder.set_delivered(state)
    return run_id


def delivered_run(folder: RunFolder, store: Store) -> str | None:
    """The MLflow run that the folder's run has in this store, as far as the folder knows."""
    entries = (folder.delivered() or {}).get("mlflow_runs", [])
    return next((e["run_id"] for e in entries if e["store"] == store.name), None)


def _known_run(state: dict[str, Any], store: Store) -> dict[str, Any] | None:
    """The entry of this store, if the store still has the run: somebody may have deleted it, or mlflow.db."""
    entry = next((e for e in state["mlflow_runs"] if e["store"] == store.name), None)
    if entry is None or alive(store, entry["run_id"]):
        return entry
    state["mlflow_runs"].remove(entry)
    return None


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


def _find_run(folder: RunFolder, store: Store) -> str | None:
    """A run that was created for this folder's present try just before a crash."""
    created = folder.job()["created_ms"]  # type: ignore[index]
    found = store.client.search_runs(
        [store.experiment_id], f"tags.run_folder = '{folder.id}' and tags.created_ms = '{created}'", max_results=1
    )
    return found[0].info.run_id if found else None


def _create_run(folder: RunFolder, job: dict[str, Any], store: Store) -> str:
    tags = {
        "kind": "run",
        "fingerprint": job["fingerprint"],
        "run_folder": folder.id,
        "created_ms": job["created_ms"],
        "host": job["host"],
        "command": job["command"],
        "mlflow.source.name": program(job["command"]),
        "mlflow.source.type": "LOCAL",
        "mlflow.user": user(),
        **{f"version.{name}": v for name, v in job["versions"].items()},
        **job["git"],
        **job["config"]["tracking"]["tags"],
    }
    run = store.client.create_run(
        store.experiment_id, start_time=job["created_ms"], run_name=job["name"], tags=strings(tags)
    )
    return run.info.run_id


def _log_start(job: dict[str, Any], store: Store, run_id: str) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param
    from mlflow.exceptions import MlflowException

    store.client.log_batch(run_id, params=[Param(k, v) for k, v in params(job["config"]).items()])
    inputs = []
    name, source = job["config"]["dataset"]["name"], json.dumps({"uri": job["data_source"]})
    for split, mlflow_name in (("train", "training"), ("validation", "validation")):
        dataset = Dataset(name, job["data_digests"][split][:DIGEST], "local", source)
        inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", mlflow_name)]))
    try:
        store.client.log_inputs(run_id, inputs)
    except MlflowException:  # another process named the same new data set at this moment; now MLflow finds it
        store.client.log_inputs(run_id, inputs)
    with _artifact("config.yaml", OmegaConf.to_yaml(OmegaConf.create(job["config"]))) as path:
        store.client.log_artifact(run_id, str(path))


def _log_end(
    folder: RunFolder, job: dict[str, Any], record: dict[str, Any], store: Store, entry: dict[str, Any], model: bool
) -> None:
    run_id, outcome = entry["run_id"], record["outcome"]
    if outcome in ENDED and record["best_epoch"] is not None:  # a killed run goes on, perhaps to a better one
        model_id = None
        if model and outcome == "finished" and not entry["model"]:
            model_id = log_model(folder.best_weights() or {}, job, record, store, run_id)
            crown(store, job, record, run_id, model_id)
            entry["model"] = True
        _log_metrics(store, run_id, [*_best_points(folder, job, record, model_id), *class_points(job, record)])
    if entry["ended_ms"] == record["ended_ms"]:
        return
    if job["config"]["tracking"]["plots"] and folder.history()["epochs"] and outcome != "killed":
        _log_plots(folder, job, record, store, run_id)
    store.client.log_artifact(run_id, str(folder.path / "record.json"))
    if folder.log_file.exists():
        store.client.log_artifact(run_id, str(folder.log_file))
    tags = {"outcome": outcome, "weights_digest": record["weights_digest"], "reason": record["reason"]}
    set_tags(store, run_id, {k: v for k, v in tags.items() if v or entry.get("reason")} | _course_tags(record))
    entry["reason"] = record["reason"]
    store.client.set_terminated(run_id, STATUS[outcome], end_time=record["ended_ms"])
    entry["ended_ms"] = record["ended_ms"]


def _course_tags(record: dict[str, Any]) -> dict[str, Any]:
    """The tags of a run that did not go from its first to its last epoch in one piece."""
    tags = {"resumed": record["resumed"]} if record.get("resumed") else {}
    return tags | ({"stopped_early": record["epochs"]} if record.get("stopped_early") else {})


def _log_plots(folder: RunFolder, job: dict[str, Any], record: dict[str, Any], store: Store, run_id: str) -> None:
    from lenet_exp.reports.plots import confusion_figure, curves_figure, png

    name, dataset = job["name"], job["config"]["dataset"]["name"]
    title = name if dataset in name else f"{dataset}: {name}"
    pictures = {"learning_curves.png": png(curves_figure(folder.history()["epochs"], title))}
    if record["confusion_matrix"]:
        names = job["config"]["dataset"]["class_names"]
        pictures["confusion_matrix.png"] = png(confusion_figure(record["confusion_matrix"], names, title))
    for path in folder.pictures():
        store.client.log_artifact(run_id, str(path))
    for name, content in pictures.items():
        with _artifact(name, content) as path:
            store.client.log_artifact(run_id, str(path))


def _points(epochs: Sequence[dict[str, Any]]) -> Iterator[Metric]:
    from mlflow.entities import Metric

    for e in epochs:
        for name in EPOCH_METRICS:
            yield Metric(name, e[name], e["time_ms"], e["epoch"])
        for iteration, loss, time_ms in e["step_losses"]:
            yield Metric("step_loss", loss, time_ms, iteration)


def _best_points(
    folder: RunFolder, job: dict[str, Any], record: dict[str, Any], model_id: str | None
) -> Iterator[Metric]:
    """The final metrics, and with a model the best epoch's metrics once more, linked to it and to their data."""
    from mlflow.entities import Metric

    def linked(split: str) -> dict[str, Any]:
        if model_id is None:
            return {}
        name, digest = job["config"]["dataset"]["name"], job["data_digests"][split][:DIGEST]
        return {"model_id": model_id, "dataset_name": name, "dataset_digest": digest}

    for name in BEST_METRICS:
        if record.get(name) is not None:  # records of older releases lack some
            yield Metric(name, record[name], record["ended_ms"], 0, **linked("validation"))
    if model_id is not None:
        best = folder.history()["epochs"][record["best_epoch"] - 1]
        for name in EPOCH_METRICS[:4]:
            split = "train" if name.startswith("train") else "validation"
            yield Metric(name, best[name], best["time_ms"], best["epoch"], **linked(split))


def _log_metrics(store: Store, run_id: str, points: Iterator[Metric] | list[Metric]) -> None:
    waiting = list(points)
    for start in range(0, len(waiting), BATCH):
        store.client.log_batch(run_id, metrics=waiting[start : start + BATCH])


def _close_abandoned(folder: RunFolder, store: Store) -> None:
    """MLflow runs of earlier tries of this run would stay RUNNING for ever."""
    for entry in folder.abandoned():
        if entry["store"] != store.name or not alive(store, entry["run_id"]):
            continue
        if store.client.get_run(entry["run_id"]).info.status == "RUNNING":
            set_tags(store, entry["run_id"], {"outcome": "killed"})
            store.client.set_terminated(entry["run_id"], "KILLED")


def _join_sweep(store: Store, run_id: str, sweeps: list[str]) -> None:
    """A run belongs to each sweep that asked for it; MLflow nests it under the first."""
    set_tags(store, run_id, {"sweeps": ",".join(sweeps), "mlflow.parentRunId": sweeps[0]})


def set_tags(store: Store, run_id: str, tags: dict[str, Any]) -> None:
    from mlflow.entities import RunTag

    store.client.log_batch(run_id, tags=[RunTag(k, v) for k, v in strings(tags).items()])


def strings(tags: dict[str, Any]) -> dict[str, str]:
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
