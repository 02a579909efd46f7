"""Finds the trained weights from which runs start (`init_from`), and checks that they fit."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

from torch import Tensor

from lenet_exp import processes
from lenet_exp.addresses import store_uri
from lenet_exp.config.schema import Config
from lenet_exp.errors import ConfigError, UserError
from lenet_exp.files import user_path
from lenet_exp.folders.find import find_run, is_mlflow_run_id, run_uploaded_as
from lenet_exp.folders.given_weights import frozen_weights, given_weights, read_weights_file
from lenet_exp.folders.records import Record, record_from_json
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.outputs import outputs_dir
from lenet_exp.training.network import load_given, network_of
from lenet_exp.training.trained.weights import load_weights

# weights, and the record of the run that trained them if it is known
TrainedWeights = tuple[dict[str, Tensor], Record | None]
IN_MLFLOW = ("champion:", "runs:/")

log = logging.getLogger("lenet_exp")


def find_weights(which: str, uri: str) -> TrainedWeights:
    """Return trained weights, and the record of their run if it is known.

    Args:
        which: path of a safetensors file, a run in the outputs folder, or a run or champion in
            MLflow.
        uri: address of the MLflow store.

    Raises:
        UserError: the weights were not found or are corrupt.
    """
    path = user_path(which)
    if path.suffix == ".safetensors":
        return read_weights_file(path), None

    folder = _local_run(which)
    if folder is not None:
        return _weights_of(folder)

    if not which.startswith(IN_MLFLOW) and not is_mlflow_run_id(which):
        raise ConfigError(
            f"not found in {outputs_dir() / 'runs'}; must be a run folder, a run ID "
            "(or at least its first 4 characters), an MLflow run ID, a .safetensors file, "
            "or champion:<dataset>"
        )
    return _fetched_weights(which, uri)


def _local_run(which: str) -> RunFolder | None:
    """Return the folder of a run in this machine's folders; None if there is no such folder."""
    path = user_path(which)
    if path.name == "record.json":
        path = path.parent
    if (path / "record.json").exists():
        return RunFolder(path.absolute())

    name = which.removeprefix("runs:/").strip("/")
    if name == which:
        with suppress(ConfigError):
            return find_run(which)

    if not is_mlflow_run_id(name):
        return None
    return run_uploaded_as(name)


def _weights_of(folder: RunFolder) -> TrainedWeights:
    """Return the best weights and the record in a run folder.

    Raises:
        UserError: there are none, or they are corrupt.
    """
    record = folder.checked_record()
    error = folder.weights_error()
    if error is not None:
        raise error

    weights = folder.best_weights()
    if weights is None:
        raise ConfigError("the run has no weights")
    return weights, record


def _fetched_weights(which: str, uri: str) -> TrainedWeights:
    """Return weights and a record from MLflow.

    A child process fetches them, because this process never imports mlflow.

    Raises:
        UserError: they were not found, or the store cannot be reached.
    """
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "weights.safetensors"
        request = {"which": which, "uri": uri, "file": str(file)}

        child = processes.start_module("lenet_exp.tracking.models.fetch")
        assert child.stdin is not None
        assert child.stdout is not None
        with child.stdin, child.stdout:
            child.stdin.write(json.dumps(request).encode() + b"\n")
            child.stdin.flush()
            output = child.stdout.read()
        child.wait()
        if not output:
            raise UserError(f"the process that reads MLflow exited (status {child.returncode})")

        error = json.loads(output)["error"]
        if error:
            raise ConfigError(error)
        weights, metadata = load_weights(file)

    if "record" not in metadata:
        return weights, None
    return weights, record_from_json(json.loads(metadata["record"]))


def with_initial_weights(
    config: Config, validation: str, find: Callable[[str, str], TrainedWeights]
) -> Config:
    """Copy the weights that `init_from` specifies, and store their name and digest.

    Args:
        config: configuration of the run; it is returned as it is if it has no `init_from`.
        validation: digest of the validation images.
        find: `find_weights`, or a function that caches its results.

    Returns:
        The configuration with the name and digest of the weights.

    Raises:
        ConfigError: the weights were not found or do not fit the network.
    """
    if config.init_from is None:
        return config

    which = config.init_from
    if which == "champion":
        which = f"champion:{config.dataset.name}"

    try:
        weights, record = _weights_for(config, which, find)
        random_parts = load_given(network_of(config), weights)
    except UserError as e:
        problem = str(e).removeprefix(f"run={which}: ")
        raise ConfigError(f"init_from={config.init_from}: {problem}") from e

    if random_parts:
        _log_once(
            f"init_from={config.init_from}: {' and '.join(random_parts)} keep random weights: "
            "their shapes differ"
        )
    if _validation_digest(record, config.dataset.name) not in {None, validation}:
        _log_once(
            f"init_from={config.init_from}: trained on another split, so validation accuracies "
            "may be too high"
        )
    copy = not config.sweep.dry_run
    return replace(config, init_from=frozen_weights(which, weights, copy=copy))


def _weights_for(
    config: Config, which: str, find: Callable[[str, str], TrainedWeights]
) -> TrainedWeights:
    """Return the weights of a configuration whose weights are already copied, or find them."""
    weights = given_weights(config, outputs_dir())
    if weights is not None:
        return weights, None
    return find(which, store_uri(config.tracking.uri))


def _validation_digest(record: Record | None, dataset: str) -> str | None:
    """Return the digest of the images that validated a run on a dataset, or None."""
    if record is None or record.dataset != dataset:
        return None
    return record.data_digests.get("validation")


@cache
def _log_once(line: str) -> None:
    log.warning("%s", line)
