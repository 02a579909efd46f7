"""Finds the trained weights from which runs start (`init_from`), and checks that they fit the network."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import cache

from torch import Tensor

from lenet_exp.addresses import store_uri
from lenet_exp.config.schema import Config
from lenet_exp.errors import ConfigError, UserError
from lenet_exp.files import user_path
from lenet_exp.folders.given_weights import frozen_weights, given_weights, read_weights_file
from lenet_exp.folders.records import Record
from lenet_exp.outputs import outputs_dir
from lenet_exp.training.network import load_given, network_of

Found = tuple[dict[str, Tensor], Record | None]

log = logging.getLogger("lenet_exp")


def find_weights(which: str, uri: str) -> Found:
    """Return trained weights, and the record of their run if it is known.

    Args:
        which: path of a safetensors file, or a run; see `recorded.find_recorded`.
        uri: address of the MLflow store.

    Raises:
        UserError: the weights were not found or are corrupt.
    """
    path = user_path(which)
    if path.suffix == ".safetensors":
        return read_weights_file(path), None
    from lenet_exp.tracking.models.recorded import find_recorded

    found = find_recorded(which, uri)
    if found.altered or found.weights is None:
        raise ConfigError(found.altered or "the run has no weights")
    return found.weights, found.record


def with_initial_weights(config: Config, validation: str, find: Callable[[str, str], Found]) -> Config:
    """Copy the weights that `init_from` specifies, and return the configuration with their name and digest.

    Args:
        validation: digest of the validation images.
        find: `find_weights`, or a function that caches its results.

    Raises:
        ConfigError: the weights were not found or do not fit the network.
    """
    if config.init_from is None:
        return config
    which = f"champion:{config.dataset.name}" if config.init_from == "champion" else config.init_from
    try:
        given = given_weights(config, outputs_dir())
        weights, record = find(which, store_uri(config.tracking.uri)) if given is None else (given, None)
        fresh = load_given(network_of(config), weights)
    except UserError as e:
        raise ConfigError(f"init_from={config.init_from}: {str(e).removeprefix(f'run={which}: ')}") from e
    if fresh:
        _log_once(f"init_from={config.init_from}: {' and '.join(fresh)} keep random weights: their shapes differ")
    its = record.data_digests.get("validation") if record and record.dataset == config.dataset.name else None
    if its not in {None, validation}:
        _log_once(f"init_from={config.init_from}: trained on another split, so validation accuracies may be too high")
    return replace(config, init_from=frozen_weights(which, weights, copy=not config.sweep.dry_run))


@cache
def _log_once(line: str) -> None:
    log.warning("%s", line)
