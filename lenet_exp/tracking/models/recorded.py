"""A run as its record tells of it, wherever that lies: in a run folder, in MLflow, in a model file."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lenet_exp.addresses import hide_password, sqlite_path
from lenet_exp.errors import ConfigError, DamagedError, UserError, first_line
from lenet_exp.files import read_json, user_path
from lenet_exp.folders.find import all_runs, find_run, is_mlflow_run_id
from lenet_exp.folders.records import Record, record_of
from lenet_exp.folders.run_folder import RunFolder, run_id
from lenet_exp.folders.seal import broken
from lenet_exp.outputs import outputs_dir
from lenet_exp.tracking.models.champion import ABSENT, ALIAS, registered_name
from lenet_exp.tracking.models.logged import logged_model, read_record, read_weights
from lenet_exp.tracking.models.shipped import shipped_file
from lenet_exp.tracking.stores.points import EPOCH_METRICS
from lenet_exp.tracking.stores.store import answering, connect
from lenet_exp.training.epoch import EpochResult

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

CHAMPION = "champion:"


@dataclass(frozen=True)
class Recorded:
    """What is kept of a run.

    Attributes:
        name: as a person would call it.
        record: None where it has none (yet), or none that can be believed.
        altered: what is not as it was written, in one line that names it; empty where nothing is.
        epochs: from the first; those of a store lack step losses and the weights' digests, a model file's are empty.
        weights: the best ones; None where they can't be had.
        folder: where it lies in one.
        mlflow_runs: its MLflow runs: the addresses of their stores, without passwords, and their ids.
    """

    name: str
    record: Record | None
    altered: str = ""
    epochs: list[EpochResult] = field(default_factory=list)
    weights: dict[str, Tensor] | None = None
    folder: RunFolder | None = None
    mlflow_runs: list[tuple[str, str]] = field(default_factory=list)

    @property
    def is_ours(self) -> bool:
        """Whether it was trained in this outputs folder, so that the user's own configuration named its classes."""
        return self.folder is not None and self.folder.path.parent.parent.resolve() == outputs_dir().resolve()

    @property
    def id(self) -> str:
        """The name of its run folder, wherever that is."""
        if self.folder is not None or self.record is None:
            return self.folder.id if self.folder is not None else ""
        return run_id(self.record.config.tracking.experiment, self.record.fingerprint)


def find_recorded(which: str, uri: str) -> Recorded:
    """The run that a run folder, its id or first digits, an MLflow run id, a `.safetensors` file of `model_path`, or
    `champion:<data set>` names.

    Args:
        uri: of the MLflow store.

    Raises:
        UserError: there is no such run, or the store can't be asked.
    """
    if which.startswith(CHAMPION):
        return _champion(which.removeprefix(CHAMPION), uri)
    if which.startswith("runs:/"):
        return _of_mlflow_id(which.removeprefix("runs:/").strip("/"), uri)
    path = user_path(which)
    if path.suffix == ".safetensors" and path.is_file():
        return _of_file(path, path.name)
    if (path / "record.json").exists():
        return _of_folder(RunFolder(path.absolute()), uri)
    try:
        return _of_folder(find_run(which), uri)
    except ConfigError as e:
        if not is_mlflow_run_id(which):
            raise ConfigError(f"run={e}, an MLflow run id, or {CHAMPION}<data set>") from e
    return _of_mlflow_id(which, uri)


def _of_folder(folder: RunFolder, uri: str) -> Recorded:
    """A folder from elsewhere names stores that are not the user's: of its MLflow runs, those in the user's count."""
    runs = [(entry.store, entry.run_id) for entry in folder.delivered().mlflow_runs]
    found = Recorded(str(folder.path), None, folder=folder, mlflow_runs=runs)
    if not found.is_ours:
        found = replace(found, mlflow_runs=[run for run in runs if run[0] == hide_password(uri)])
    try:
        record = folder.whole_record()
    except DamagedError as e:
        return replace(found, altered=str(e).partition("; ")[0])
    if record is None:
        return found
    altered = folder.damaged_weights()
    weights = folder.best_weights() if altered is None else None
    return replace(found, record=record, epochs=folder.history().epochs, altered=altered or "", weights=weights)


def _of_file(path: Path, name: str) -> Recorded:
    try:
        weights, metadata = read_weights(path)
        value = json.loads(metadata["record"])
        record = record_of(value)
    except Exception as e:  # whatever may stand in a file of that name
        raise UserError(f"{path}: no model file of lenet_exp with a record ({first_line(e)})") from e
    changed = broken(value)
    return Recorded(name, record, f"{path}: its record can't be believed ({changed})" if changed else "", [], weights)


def _champion(dataset: str, uri: str) -> Recorded:
    from mlflow.exceptions import MlflowException

    shipped, database = shipped_file(dataset), sqlite_path(uri)
    if database is None or database.exists():
        client = connect(uri)
        try:
            version = client.get_model_version_by_alias(registered_name(dataset), ALIAS)
        except MlflowException as e:
            if e.error_code not in ABSENT:
                raise UserError(hide_password(f"run={CHAMPION}{dataset}: {first_line(e)} (store {uri})")) from e
        else:
            found = _of_mlflow_id(str(version.run_id), uri)
            return replace(found, name=f"{version.name}@{ALIAS} (version {version.version}), {found.name}")
    if shipped is None:
        raise UserError(f"run={CHAMPION}{dataset}: no champion in {hide_password(uri)}, and none is shipped")
    return _of_file(shipped, f"{registered_name(dataset)} (shipped with lenet_exp)")


def _of_mlflow_id(which: str, uri: str) -> Recorded:
    """By the run folder that has this MLflow run, else by what the store keeps of it."""
    for folder in all_runs(outputs_dir()):
        if any(entry.run_id == which for entry in folder.delivered().mlflow_runs):
            return _of_folder(folder, uri)
    from mlflow.exceptions import MlflowException

    client = connect(uri)
    with answering(uri):
        try:
            run = client.get_run(which)
        except MlflowException as e:
            if e.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise UserError(
                f"run={which}: no run folder in {outputs_dir()}/runs and no MLflow run in {hide_password(uri)}"
            ) from e
        if run.data.tags.get("kind") == "sweep":
            raise UserError(f"run={which}: a sweep; allowed is one of its runs")
        return _of_store(client, uri, run)


def _of_store(client: MlflowClient, uri: str, run: Run) -> Recorded:
    name = f"runs:/{run.info.run_id}"
    found = Recorded(name, None, mlflow_runs=[(hide_password(uri), run.info.run_id)])
    if not any(artifact.path == "record.json" for artifact in client.list_artifacts(run.info.run_id)):
        return found
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(client.download_artifacts(run.info.run_id, "record.json", scratch))
        try:
            record, changed = read_record(path), broken(read_json(path))
        except ValueError as e:
            return replace(found, altered=f"{name}: its record.json can't be read ({first_line(e)})")
    if changed is not None:
        return replace(found, altered=f"{name}: its record.json can't be believed ({changed})")
    wrong = _other_in_mlflow(run, record)
    if wrong:
        return replace(found, record=record, altered=f"{name}: {wrong}")
    weights = None
    if run.outputs and run.outputs.model_outputs:
        try:
            weights, _ = logged_model(client, uri, run)
        except UserError as e:
            return replace(found, record=record, altered=str(e))
    return replace(found, record=record, epochs=_epochs(client, run), weights=weights)


def _other_in_mlflow(run: Run, record: Record) -> str:
    """What MLflow shows of a run and its record does not say."""
    shown = {**run.data.tags, **run.data.metrics}
    names = ("fingerprint", "weights_digest", "best_val_accuracy", "best_epoch")
    wrong = [f"{name} {shown[name]}" for name in names if name in shown and shown[name] != getattr(record, name)]
    return f"MLflow shows {', '.join(wrong)}, and its record.json another" if wrong else ""


def _epochs(client: MlflowClient, run: Run) -> list[EpochResult]:
    """From the points of the run's metrics, which are doubles, bit for bit."""
    columns: dict[int, dict[str, float]] = {}
    ended: dict[int, int] = {}
    for name in EPOCH_METRICS if "val_accuracy" in run.data.metrics else ():
        for point in client.get_metric_history(run.info.run_id, name):
            columns.setdefault(point.step, {})[name] = point.value
            ended[point.step] = point.timestamp
    return list(_whole(columns, ended))


def _whole(columns: dict[int, dict[str, float]], ended: dict[int, int]) -> Iterable[EpochResult]:
    for epoch, values in sorted(columns.items()):
        if len(values) == len(EPOCH_METRICS):
            kept: dict[str, Any] = {**values, "epoch": epoch, "time_ms": ended[epoch]}
            yield EpochResult(step_losses=[], improved=False, **kept)
