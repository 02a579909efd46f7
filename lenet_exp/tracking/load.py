"""Networks back from wherever a trained model may lie. No pickle is run; weights are checked against their record."""

from __future__ import annotations

import json
import re
import tempfile
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lenet_exp.addresses import SQLITE, hide_password
from lenet_exp.config.plain import from_plain
from lenet_exp.config.schema import Config
from lenet_exp.errors import UserError, first_line
from lenet_exp.files import user_path
from lenet_exp.folders.records import Record, record_of
from lenet_exp.tracking.champion import ALIAS, registered_name
from lenet_exp.tracking.model import rebuild
from lenet_exp.tracking.shipped import shipped_file
from lenet_exp.tracking.store import connect
from lenet_exp.training.ancestor import load_ancestor
from lenet_exp.training.lenet5 import LeNet5
from lenet_exp.training.weights import load_weights, weights_digest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


@dataclass(frozen=True)
class TrainedModel:
    """A network in eval mode on the CPU, the name a person gave it, and what is known of its training.

    Attributes:
        record: the run's record; None for a model of the ancestor.
        run_id: the MLflow run that it belongs to, where that is known.
    """

    network: LeNet5
    name: str
    record: Record | None = None
    run_id: str | None = None


def load_model(name: str | None, uri: str, dataset: str) -> TrainedModel:
    """The model that `trained_model` names.

    Args:
        name: `runs:/<id>`, a `.safetensors` or `.pkl` file, a registered name, `name@alias`, or None for the champion
            of the data set.
        uri: of the MLflow store.

    Raises:
        UserError: there is no such model, it can't be trusted, or its weights are not those of its record.
    """
    if name is None:
        return load_champion(dataset, uri)
    if name.startswith("runs:/"):
        return load_run(name.removeprefix("runs:/").strip("/"), uri)
    path = user_path(name)
    if path.suffix == ".safetensors":
        return load_file(path)
    if path.suffix in {".pkl", ".pt", ".pth"}:
        return TrainedModel(load_ancestor(path), path.name)
    if not re.fullmatch(r"[\w.-]+(@[\w.-]+)?", name):
        raise UserError(
            f"trained_model={name}: allowed is a registered name, name@alias, runs:/<MLflow run id>, a .safetensors or "
            "a .pkl file"
        )
    model, _, alias = name.partition("@")
    return load_registered(model, alias or ALIAS, uri)


def load_run(run_id: str, uri: str) -> TrainedModel:
    """The logged model of an MLflow run."""
    from mlflow.exceptions import MlflowException

    client = connect(uri)
    try:
        run = client.get_run(run_id)
        models = run.outputs.model_outputs if run.outputs else []
        if not models:
            raise UserError(f"runs:/{run_id}: the run has no model (outcome {run.data.tags.get('outcome', 'unknown')})")
        location = client.get_logged_model(models[0].model_id).artifact_location
        weights, record = _load_logged(client, uri, run_id, location)
    except MlflowException as e:
        raise UserError(hide_password(f"runs:/{run_id}: {first_line(e)} (store {uri})")) from e
    return TrainedModel(_of_record(f"runs:/{run_id}", record, weights), f"runs:/{run_id}", record, run_id)


def load_registered(name: str, alias: str, uri: str) -> TrainedModel:
    """The version of a registered model that an alias points to."""
    from mlflow.exceptions import MlflowException

    client = connect(uri)
    try:
        return _load_version(client, uri, client.get_model_version_by_alias(name, alias), alias)
    except MlflowException as e:
        raise UserError(hide_password(f"trained_model={name}@{alias}: {first_line(e)} (store {uri})")) from e


def load_champion(dataset: str, uri: str) -> TrainedModel:
    """The champion of a data set: the registered one, else the model that the package ships."""
    from mlflow.exceptions import MlflowException

    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists():
        return _load_shipped(dataset, uri)
    client = connect(uri)
    try:
        version = client.get_model_version_by_alias(registered_name(dataset), ALIAS)
    except MlflowException as e:
        if e.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            raise UserError(hide_password(f"dataset={dataset}: {first_line(e)} (store {uri})")) from e
        return _load_shipped(dataset, uri)
    return _load_version(client, uri, version, ALIAS)


def _load_shipped(dataset: str, uri: str) -> TrainedModel:
    path = shipped_file(dataset)
    if path is None:
        raise UserError(
            f"dataset={dataset}: no champion in {hide_password(uri)}; train one (lenet-train dataset={dataset}), or "
            "name a model with trained_model="
        )
    return replace(load_file(path), name=f"{registered_name(dataset)} (shipped with lenet_exp)")


def _load_version(client: MlflowClient, uri: str, version: ModelVersion, alias: str) -> TrainedModel:
    location = client.get_model_version_download_uri(version.name, version.version)
    weights, record = _load_logged(client, uri, str(version.run_id), location)
    label = f"{version.name}@{alias} (version {version.version})"
    return TrainedModel(_of_record(label, record, weights), label, record, version.run_id)


def load_file(path: Path) -> TrainedModel:
    """A `.safetensors` file of `model_path` or of lenet-export; one made of a model without a record has none."""
    try:
        weights, metadata = load_weights(path)
        record = record_of(json.loads(metadata["record"])) if "record" in metadata else None
        known = json.loads(metadata["network"]) if record is None else {}
        config = from_plain(known["config"]) if record is None else record.config
    except FileNotFoundError as e:
        raise UserError(f"{path}: no such file") from e
    except Exception as e:  # safetensors raises its own class for a damaged file
        raise UserError(f"{path}: not a model file of lenet_exp ({first_line(e)})") from e
    if record is not None:
        return TrainedModel(_of_record(str(path), record, weights), path.name, record)
    return TrainedModel(_checked(str(path), config, known.get("weights_digest"), weights), path.name)


def _load_logged(client: MlflowClient, uri: str, run_id: str, location: str) -> tuple[dict[str, torch.Tensor], Record]:
    """Weights of the logged model at an artifact location and the record of its run."""
    from mlflow import artifacts, pytorch

    with tempfile.TemporaryDirectory() as scratch:
        kept = Path(client.download_artifacts(run_id, "record.json", scratch)).read_text()
        try:
            record = record_of(json.loads(kept))
        except ValueError as e:
            raise UserError(f"runs:/{run_id}: its record.json can't be read ({first_line(e)})") from e
        path = artifacts.download_artifacts(artifact_uri=location, dst_path=f"{scratch}/model", tracking_uri=uri)
        with warnings.catch_warnings(action="ignore"):  # torch's, about its own buffers
            exported = pytorch.load_model(Path(path).as_posix())  # refuses archives with pickled code
    return exported.state_dict(), record


def _of_record(name: str, record: Record, weights: dict[str, torch.Tensor]) -> LeNet5:
    return _checked(name, record.config, record.weights_digest, weights)


def _checked(name: str, config: Config, known: str | None, weights: dict[str, torch.Tensor]) -> LeNet5:
    """Args:
    config: of the network at least.
    known: the weights' digest; None where it is not known.
    """
    try:
        network = rebuild(config, weights)
    except (KeyError, RuntimeError) as e:
        raise UserError(f"{name}: its weights don't fit its record ({first_line(e)})") from e
    digest = weights_digest({k: v.detach() for k, v in network.state_dict().items()})
    if known not in {None, digest}:
        raise UserError(f"{name}: its weights are not those of its record (digest {digest[:12]})")
    return network
