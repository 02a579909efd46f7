"""Finds the trained weights from which runs start (`init_from`), and checks that they fit the
network.
"""

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

Found = tuple[dict[str, Tensor], Record | None]
IN_MLFLOW = ("champion:", "runs:/")

log = logging.getLogger("lenet_exp")


def find_weights(which: str, uri: str) -> Found:
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
            f"not found in {outputs_dir() / 'runs'}; must be a run folder, a run ID (or at least its first 4 "
            "characters), an MLflow run ID, a .safetensors file, or champion:<dataset>"
        )
    return _fetched(which, uri)


def _local_run(which: str) -> RunFolder | None:
    """Return the folder of a run in this machine's folders; None if there is no such folder."""
    path = user_path(which)
    path = path.parent if path.name == "record.json" else path
    if (path / "record.json").exists():
        return RunFolder(path.absolute())
    name = which.removeprefix("runs:/").strip("/")
    if name == which:
        with suppress(ConfigError):
            return find_run(which)
    return run_uploaded_as(name) if is_mlflow_run_id(name) else None


def _weights_of(folder: RunFolder) -> Found:
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


def _fetched(which: str, uri: str) -> Found:
    """Return weights and a record from MLflow. A child process fetches them, because this one never
    imports mlflow.

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
    record = record_from_json(json.loads(metadata["record"])) if "record" in metadata else None
    return weights, record


def with_initial_weights(
    config: Config, validation: str, find: Callable[[str, str], Found]
) -> Config:
    """Copy the weights that `init_from` specifies, and return the configuration with their name and
    digest.

    Args:
        validation: digest of the validation images.
        find: `find_weights`, or a function that caches its results.

    Raises:
        ConfigError: the weights were not found or do not fit the network.
    """
    if config.init_from is None:
        return config
    which = (
        f"champion:{config.dataset.name}" if config.init_from == "champion" else config.init_from
    )
    try:
        given = given_weights(config, outputs_dir())
        weights, record = (
            find(which, store_uri(config.tracking.uri)) if given is None else (given, None)
        )
        fresh = load_given(network_of(config), weights)
    except UserError as e:
        raise ConfigError(
            f"init_from={config.init_from}: {str(e).removeprefix(f'run={which}: ')}"
        ) from e
    if fresh:
        _log_once(
            f"init_from={config.init_from}: {' and '.join(fresh)} keep random weights: their shapes differ"
        )
    its = (
        record.data_digests.get("validation")
        if record and record.dataset == config.dataset.name
        else None
    )
    if its not in {None, validation}:
        _log_once(
            f"init_from={config.init_from}: trained on another split, so validation accuracies may be too high"
        )
    return replace(config, init_from=frozen_weights(which, weights, copy=not config.sweep.dry_run))


@cache
def _log_once(line: str) -> None:
    log.warning("%s", line)
