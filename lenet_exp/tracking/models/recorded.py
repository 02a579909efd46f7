"""Finds the record of a run in a run folder, in MLflow, or in a model file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from lenet_exp.addresses import store_name
from lenet_exp.errors import ConfigError, DamagedError, UserError, first_line
from lenet_exp.files import user_path
from lenet_exp.folders.digests import digest_error
from lenet_exp.folders.find import find_run, is_mlflow_run_id, run_uploaded_as
from lenet_exp.folders.records import Record, record_from_json
from lenet_exp.folders.run_folder import RunFolder, run_id
from lenet_exp.outputs import outputs_dir
from lenet_exp.tracking.models.champion import ALIAS
from lenet_exp.tracking.models.load import find_champion, store_errors
from lenet_exp.tracking.models.logged import download_record, logged_model, read_weights
from lenet_exp.tracking.models.model import registered_name
from lenet_exp.tracking.models.shipped import shipped_file
from lenet_exp.tracking.stores.store import connect
from lenet_exp.training.epoch import EpochResult
from lenet_exp.training.trained.weights import weights_digest

CHAMPION = "champion:"


@dataclass(frozen=True)
class RecordedRun:
    """A recorded run: its record, results, and weights.

    Attributes:
        name: the run's name in messages.
        record: the run's record; None if the record is missing or invalid.
        altered: line that describes changes made after the run was recorded; empty if nothing was
            changed.
        epochs: the results of all epochs, in order; empty if there is no run folder.
        weights: the best weights; None if they are not available.
        folder: the run folder; None if there is no run folder.
        mlflow_run: address of the store that the record was read from, and the run's MLflow run ID;
            None if the record was read from a file.
    """

    name: str
    record: Record | None
    altered: str = ""
    epochs: list[EpochResult] = field(default_factory=list)
    weights: dict[str, Tensor] | None = None
    folder: RunFolder | None = None
    mlflow_run: tuple[str, str] | None = None

    @property
    def is_ours(self) -> bool:
        """Whether the run is in this outputs folder.

        If so, its Python classes can be trusted, because they come from the user's own
        configuration.
        """
        if self.folder is None:
            return False
        outputs = self.folder.path.parent.parent
        return outputs.resolve() == outputs_dir().resolve()

    @property
    def id(self) -> str:
        """The run ID, which is also the name of the run folder.

        It is empty if the run has neither a folder nor a record.
        """
        if self.folder is not None:
            return self.folder.id
        if self.record is None:
            return ""
        return run_id(self.record.config.tracking.experiment, self.record.fingerprint)


def find_recorded(which: str, uri: str) -> RecordedRun:
    """Find a run and return its record, results, and weights.

    Args:
        which: path of a run folder, a run ID or its first few characters, an MLflow run ID, a
            `.safetensors` file from `model_path`, or `champion:<dataset>`.
        uri: address of the MLflow store.

    Raises:
        UserError: the run was not found, or the store cannot be reached.
    """
    if which.startswith(CHAMPION):
        return _champion(which.removeprefix(CHAMPION), uri)
    if which.startswith("runs:/"):
        return _of_mlflow_id(which.removeprefix("runs:/").strip("/"), uri)

    path = user_path(which)
    if path.suffix == ".safetensors" and path.is_file():
        return _of_file(path, path.name)
    if path.name == "record.json":
        path = path.parent
    if (path / "record.json").exists():
        return _of_folder(RunFolder(path.absolute()))

    try:
        return _of_folder(find_run(which))
    except ConfigError as e:
        if not is_mlflow_run_id(which):
            raise ConfigError(
                f"run={e}, an MLflow run ID, a .safetensors file, or {CHAMPION}<dataset>"
            ) from e
    return _of_mlflow_id(which, uri)


def _of_folder(folder: RunFolder) -> RecordedRun:
    """Return the record, results, and weights in a run folder.

    Raises:
        DamagedError: this user must not read the record or the weights.
    """
    recorded = RecordedRun(str(folder.path), None, folder=folder)
    try:
        record = folder.checked_record()
    except DamagedError as e:
        if e.is_denied:
            raise
        return replace(recorded, altered=e.problem)
    if record is None:
        return recorded

    recorded = replace(recorded, record=record, epochs=folder.history().epochs)
    error = folder.weights_error()
    if error is not None and error.is_denied:
        raise error
    if error is not None:
        return replace(recorded, altered=error.problem)
    return replace(recorded, weights=folder.best_weights())


def _of_file(path: Path, name: str) -> RecordedRun:
    try:
        weights, metadata = read_weights(path)
        if "record" not in metadata:
            raise ValueError(
                "it contains no record; "
                "expected a file that model_path or lenet-export wrote for a run"
            )
        value = json.loads(metadata["record"])
        record = record_from_json(value)
    except Exception as e:  # the file can contain anything
        problem = first_line(e)
        raise UserError(f"{path}: not a lenet_exp model file with a record ({problem})") from e

    changed = digest_error(value)
    altered = f"{path}: its record is corrupt ({changed})" if changed else ""
    return RecordedRun(name, record, altered, [], weights=weights)


def _champion(dataset: str, uri: str) -> RecordedRun:
    version = find_champion(dataset, uri)
    if version is not None:
        recorded = _of_mlflow_id(str(version.run_id), uri)
        name = f"{version.name}@{ALIAS} (version {version.version}), {recorded.name}"
        return replace(recorded, name=name)

    shipped = shipped_file(dataset)
    if shipped is None:
        raise UserError(
            f"run={CHAMPION}{dataset}: no champion in {store_name(uri)}, and none is bundled"
        )
    return _of_file(shipped, f"{registered_name(dataset)} (bundled with lenet_exp)")


def _of_mlflow_id(which: str, uri: str) -> RecordedRun:
    """Return the record, results, and weights of an MLflow run.

    If the run folder from which the MLflow run was uploaded exists on this machine, the folder is
    read instead.
    """
    folder = run_uploaded_as(which)
    if folder is None:
        return _of_store(which, uri)
    return _of_folder(folder)


def _of_store(which: str, uri: str) -> RecordedRun:
    """Return the record, results, and weights that MLflow has of a run."""
    client = connect(uri)
    name = f"runs:/{which}"
    recorded = RecordedRun(name, None, mlflow_run=(uri, which))

    with store_errors(f"run={which}: cannot be read", uri):
        run = client.get_run(which)
        if run.data.tags.get("kind") == "sweep":
            raise UserError(f"run={which}: this is a sweep; set run= to one of its runs")
        if not any(artifact.path == "record.json" for artifact in client.list_artifacts(which)):
            return recorded

        try:
            record, changed = download_record(client, which)
        except ValueError as e:
            changed = first_line(e)
        if changed is not None:
            return replace(recorded, altered=f"{name}: its record.json is corrupt ({changed})")

        recorded = replace(recorded, record=record)
        if not (run.outputs and run.outputs.model_outputs):
            return recorded
        try:
            weights, _ = logged_model(client, uri, run)
        except UserError as e:
            return replace(recorded, altered=str(e))

    if weights_digest(weights) != record.weights_digest:
        altered = f"{name}: the weights of its model do not match its record"
        return replace(recorded, altered=altered)
    return replace(recorded, weights=weights)
