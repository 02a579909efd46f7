"""Copies of the weights from which runs start (`init_from`) in an outputs folder.

The path of a copy is weights/<digest>.safetensors. A frozen configuration contains the name that
the user gave and the digest: `champion:mnist@335b405c32c795a7`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from lenet_exp.config.schema import Config
from lenet_exp.errors import ConfigError, first_line
from lenet_exp.outputs import check_outputs, outputs_dir
from lenet_exp.training.trained.weights import (
    load_arrays,
    load_weights,
    save_weights,
    weights_digest,
)

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = "weights"
DIGITS = 16  # of a digest


def frozen_weights(which: str, weights: dict[str, Tensor], *, copy: bool) -> str:
    """Return the value of `init_from` in a frozen configuration.

    Args:
        which: the user's value of `init_from`.
        copy: whether to copy the weights to the outputs folder, unless it already contains them.
    """
    digest = weights_digest(weights)[:DIGITS]
    path = _path(outputs_dir(), digest)
    name, _ = _split(which)
    if path.exists():
        # a single name for these weights, because comparisons distinguish configurations by it
        _, metadata = load_arrays(path)
        name = metadata.get("name", name)
    elif copy:
        check_outputs(outputs_dir())
        path.parent.mkdir(parents=True, exist_ok=True)
        save_weights(path, weights, {"name": name})
    return f"{name}@{digest}"


def given_weights(config: Config, outputs: Path) -> dict[str, Tensor] | None:
    """Return the weights from which a run starts.

    The result is None if they are random, or if `init_from` has no digest yet.

    Args:
        outputs: outputs folder of the run. If it lacks the weights, as when a run is reproduced,
            the user's outputs folder is searched.

    Raises:
        ConfigError: the weights were not found or are corrupt.
    """
    _, digest = _split(config.init_from or "")
    if not digest:
        return None

    path = _path(outputs, digest)
    path_in_users_outputs = _path(outputs_dir(), digest)
    if not path.exists():
        path = path_in_users_outputs
    if not path.exists():
        raise ConfigError(
            f"{path}: not found; copy this folder from the outputs folder of the original run"
        )

    weights = read_weights_file(path)
    if not weights_digest(weights).startswith(digest):
        raise ConfigError(f"{path} is corrupt; remove it, and set init_from= again")
    return weights


def read_weights_file(path: Path) -> dict[str, Tensor]:
    """Return the tensors in a safetensors file.

    Raises:
        ConfigError: the file was not found or is not a safetensors file.
    """
    try:
        weights, _ = load_weights(path)
    except FileNotFoundError as e:
        raise ConfigError("file not found") from e
    except (OSError, ValueError, TypeError, SafetensorError) as e:  # NumPy has no bfloat16
        raise ConfigError(f"{path}: not a safetensors file ({first_line(e)})") from e
    return weights


def _split(which: str) -> tuple[str, str]:
    """Split a value of `init_from` into the name, without folders, and the digest.

    The digest is empty unless the value is frozen. For example, `models/a@335b405c32c795a7` is
    split into `a` and `335b405c32c795a7`.
    """
    frozen = re.fullmatch(rf"(.*)@([0-9a-f]{{{DIGITS}}})", which)
    if frozen is None:
        path, digest = which, ""
    else:
        path, digest = frozen.groups()
    _, _, name = path.rstrip("/").rpartition("/")
    return name, digest


def _path(outputs: Path, digest: str) -> Path:
    return outputs / FOLDER / f"{digest}.safetensors"
