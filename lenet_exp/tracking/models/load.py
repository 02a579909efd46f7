"""Loads trained networks from run folders, files, and MLflow without executing their code.

Only tensors and JSON are read. Weights are checked against the digest in their record. Python
classes that the record specifies are checked before they are imported (training/trained/trust.py).
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from lenet_exp.addresses import hide_password, missing_database, store_name
from lenet_exp.config.image_shape import LENET5_SHAPE, STANDARD, ImageShape, Normalization
from lenet_exp.config.own_code import unidentified_classes
from lenet_exp.config.schema import Config
from lenet_exp.config.typed_json import read_as
from lenet_exp.errors import UserError, first_line
from lenet_exp.files import user_path
from lenet_exp.folders.find import is_mlflow_run_id, run_uploaded_as
from lenet_exp.folders.records import Record, record_from_json
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.outputs import outputs_dir
from lenet_exp.tracking.models.champion import ALIAS, champion, passed_over
from lenet_exp.tracking.models.code import Source, with_trusted_code
from lenet_exp.tracking.models.logged import Weights, logged_model, model_at, read_weights
from lenet_exp.tracking.models.model import registered_name
from lenet_exp.tracking.models.shipped import shipped_file, shipped_record
from lenet_exp.tracking.stores.store import connect
from lenet_exp.training.network import rebuild
from lenet_exp.training.trained.ancestor import load_ancestor
from lenet_exp.training.trained.trust import Trust, check_network
from lenet_exp.training.trained.weights import weights_digest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

log = logging.getLogger("lenet_exp")


@dataclass(frozen=True)
class TrainedModel:
    """A trained network with its name and its record.

    Attributes:
        network: the network, in evaluation mode on the CPU.
        name: the model's name in messages.
        record: the run's record; None if the model has no record, for example if the original
            script trained it.
        run_id: ID of the MLflow run that produced the model; None if unknown.
        shipped: whether the model is bundled with this package.
    """

    network: nn.Module
    name: str
    record: Record | None = None
    run_id: str | None = None
    shipped: bool = False

    @property
    def shape(self) -> ImageShape:
        """The shape of the network's input and output."""
        if self.record is None:
            return LENET5_SHAPE
        return ImageShape.of(self.record.config.dataset)

    @property
    def normalization(self) -> Normalization:
        """How the pixels of images must be scaled."""
        if self.record is None or self.record.normalization is None:
            return STANDARD
        return self.record.normalization


def load_model(name: str | None, uri: str, dataset: str, trust: Trust = None) -> TrainedModel:
    """Load the model that the `trained_model` flag specifies.

    Args:
        name: value of the flag: a registered name, `name@alias`, an MLflow run ID (with or without
            `runs:/`), a run folder or its ID, or a `.safetensors` or `.pkl` file; None for the
            champion.
        uri: address of the MLflow store.
        dataset: name of the dataset whose champion is loaded if `name` is None.
        trust: classes or modules, separated by commas, that the model may use as its network or
            activation, in addition to classes from PyTorch and this package.

    Raises:
        UserError: the model was not found or is not trusted, or its weights do not match its
            record.
    """
    if name is None:
        return load_champion(dataset, uri, trust)
    if name.startswith("runs:/"):
        return load_run(name.removeprefix("runs:/").strip("/"), uri, trust)

    path = user_path(name)
    for folder in (RunFolder(path.absolute()), RunFolder(outputs_dir() / "runs" / path)):
        if not folder.path.is_dir():
            continue
        record = folder.checked_record()
        if record is None:
            continue
        if not record.is_result:
            raise UserError(
                f"trained_model={name}: the run has no model (outcome {record.outcome})"
            )
        return load_folder(folder, record, uri, trust)

    if is_mlflow_run_id(name):
        return load_run(name, uri, trust)
    if path.suffix == ".safetensors":
        return load_file(path, trust)
    if path.suffix in {".pkl", ".pt", ".pth"}:
        return TrainedModel(load_ancestor(path), path.name)
    if not re.fullmatch(r"[\w.-]+(@[\w.-]+)?", name):
        raise UserError(
            f"trained_model={name}: must be a registered name, name@alias, "
            "runs:/<MLflow run id>, a run folder, or a .safetensors or .pkl file"
        )

    model, _, alias = name.partition("@")
    if not alias:
        alias = ALIAS
    client = connect(uri)
    with store_errors(f"trained_model={model}@{alias}", uri):
        version = client.get_model_version_by_alias(model, alias)
        return _load_version(client, uri, version, alias, trust=trust)


def load_run(run_id: str, uri: str, trust: Trust = None) -> TrainedModel:
    """Load the model of an MLflow run.

    If the model was not uploaded, the model in the run folder is loaded.

    Raises:
        UserError: there is no model, or it cannot be loaded.
    """
    client = connect(uri)
    name = f"runs:/{run_id}"
    with store_errors(name, uri):
        run = client.get_run(run_id)
        has_model = bool(run.outputs and run.outputs.model_outputs)

    if not has_model:
        folder = run_uploaded_as(run_id)
        result = folder.checked_result() if folder is not None else None
        if folder is not None and result is not None:
            return load_folder(folder, result, uri, trust)

    with store_errors(name, uri):
        weights, record = logged_model(client, uri, run)
    network = _network_of_record(name, record, weights, trust, source=(uri, run_id))
    return TrainedModel(network, name, record, run_id)


def load_champion(dataset: str, uri: str, trust: Trust = None) -> TrainedModel:
    """Load the registered champion for a dataset, or the bundled model if there is no champion."""
    version = find_champion(dataset, uri)
    if version is None:
        return _load_shipped(dataset, uri)
    with store_errors(f"dataset={dataset}", uri):
        return _load_version(connect(uri), uri, version, ALIAS, trust=trust)


def find_champion(dataset: str, uri: str) -> ModelVersion | None:
    """Return the registered champion for a dataset, or None if there is no champion or no store.

    Raises:
        UserError: the store does not respond.
    """
    if missing_database(uri) is not None:
        return None
    client = connect(uri)
    with store_errors(f"dataset={dataset}", uri):
        return champion(client, registered_name(dataset))


@contextmanager
def store_errors(what: str, uri: str) -> Iterator[None]:
    """Convert errors from requests to a store to a UserError for the duration of a `with` block.

    Args:
        what: start of the error message.

    Raises:
        UserError: the requested run or model was not found, or the store does not respond.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as e:
        raise UserError(hide_password(f"{what}: {first_line(e)} (store {uri})")) from e


def _load_shipped(dataset: str, uri: str) -> TrainedModel:
    path = shipped_file(dataset)
    if path is None:
        raise UserError(
            f"dataset={dataset}: no lenet5 champion in {hide_password(uri)}; "
            f"run lenet-train dataset={dataset} first, or set trained_model="
        )

    name = f"{registered_name(dataset)} (bundled with lenet_exp)"
    return replace(load_file(path), name=name, shipped=True)


def _load_version(
    client: MlflowClient, uri: str, version: ModelVersion, alias: str, trust: Trust
) -> TrainedModel:
    location = client.get_model_version_download_uri(version.name, version.version)
    run_id = str(version.run_id)
    weights, record = model_at(client, uri, client.get_run(run_id), location)

    if alias == ALIAS:
        warning = passed_over(client, version.name)
        if warning:
            log.warning("%s", warning)

    bundled = shipped_record(record.dataset)
    is_bundled = bundled is not None and bundled.weights_digest == record.weights_digest
    origin = ", bundled with lenet_exp" if is_bundled else ""
    name = f"{version.name}@{alias} (version {version.version}{origin})"
    network = _network_of_record(name, record, weights, trust, source=(uri, run_id))
    return TrainedModel(network, name, record, version.run_id, shipped=is_bundled)


def load_folder(folder: RunFolder, record: Record, uri: str, trust: Trust = None) -> TrainedModel:
    """Load the best model from a run folder.

    Args:
        record: the run's record.
        uri: address of the MLflow store, which determines `TrainedModel.run_id`.

    Raises:
        UserError: the model's weights are missing or corrupt, or the model is not trusted.
    """
    weights = folder.best_weights()
    name = f"{record.name or 'run'} ({folder.id[:8]})"
    if weights is None:
        raise UserError(f"{name}: {_why_no_weights(folder)}")

    run_id = folder.delivered().run_id(store_name(uri))
    outputs = folder.path.absolute().parent.parent
    network = _network_of_record(name, record, weights, trust, source=outputs)
    return TrainedModel(network, name, record, run_id)


def _why_no_weights(folder: RunFolder) -> str:
    """Return why the best weights in a run folder cannot be loaded, and what to do about it."""
    best = folder.history().best
    if best is None:
        return "has no weights, because it has no complete epoch"

    error = folder.weights_error()
    if error is not None and error.is_denied:
        return str(error)
    if error is not None:
        return f"{error.problem}; rerun lenet-train with the same flags"

    weights = folder.path / best.weights
    state = "are corrupt" if weights.exists() else "were not found"
    return f"its weights {weights} {state}; rerun lenet-train with the same flags"


def load_file(path: Path, trust: Trust = None) -> TrainedModel:
    """Load a `.safetensors` file that was saved by `model_path` or lenet-export.

    A file that was exported from a model without a record also has no record.

    Raises:
        UserError: the file was not found, is not a model file, or is not trusted.
    """
    try:
        weights, metadata = read_weights(path)
        if "record" in metadata:
            record = record_from_json(json.loads(metadata["record"]))
        elif "network" in metadata:
            record = None
            description = json.loads(metadata["network"])
            config = read_as(Config, description["config"])
            digest = description.get("weights_digest")
        else:
            raise ValueError(
                "it contains no record; expected a file that model_path or lenet-export wrote"
            )
    except FileNotFoundError as e:
        raise UserError(f"{path}: model file not found") from e
    except Exception as e:  # the file can contain anything
        raise UserError(f"{path}: not a lenet_exp model file ({first_line(e)})") from e

    if record is None:
        network = _checked_network(str(path), config, digest, weights, trust=trust)
    else:
        network = _network_of_record(str(path), record, weights, trust)
    return TrainedModel(network, path.name, record)


def _check_normalization(name: str, record: Record) -> None:
    """Check the mean and standard deviation in a record.

    Raises:
        UserError: they do not fit the images.
    """
    shape = ImageShape.of(record.config.dataset)
    if not _fits(record.normalization, shape):
        raise UserError(f"{name}: the mean and standard deviation in its record do not fit {shape}")


def _fits(normalization: Normalization | None, shape: ImageShape) -> bool:
    """Return whether a mean and standard deviation for each channel can be those of images.

    Images of the standard shape have none of their own.
    """
    if normalization is None:
        return shape.is_standard
    if shape.is_standard:
        return False

    mean = normalization.mean
    sd = normalization.sd
    if not len(mean) == len(sd) == shape.channels:
        return False
    if not all(map(math.isfinite, [*mean, *sd])):
        return False
    return min(sd, default=0.0) > 0


def _network_of_record(
    name: str, record: Record, weights: Weights, trust: Trust, source: Source = None
) -> nn.Module:
    config = with_trusted_code(name, record.config, trust, source)
    network = _checked_network(name, config, record.weights_digest, weights, trust=trust)
    _check_normalization(name, record)
    for target in unidentified_classes(record.config):
        log.warning(
            "%s: release 0.2 did not store the code of %s; your version of it is used", name, target
        )
    return network


def _checked_network(
    name: str, config: Config, expected_digest: str | None, weights: Weights, trust: Trust
) -> nn.Module:
    """Rebuild a network from its configuration and weights, and check the weights.

    Args:
        name: the model's name in messages.
        config: a configuration that contains at least the settings of the network.
        expected_digest: digest of the weights; None if unknown.
        weights: weights of the network.
        trust: see `load_model`.
    """
    try:
        check_network(name, config, trust)
        network = rebuild(config, weights)
    except UserError:
        raise
    except Exception as e:  # custom classes can raise anything
        raise UserError(f"{name}: its weights do not fit its record ({first_line(e)})") from e

    tensors = {key: tensor.detach() for key, tensor in network.state_dict().items()}
    digest = weights_digest(tensors)
    if expected_digest is not None and expected_digest != digest:
        raise UserError(f"{name}: its weights do not match its record (digest {digest[:12]})")
    return network
