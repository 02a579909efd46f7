"""Copies of the weights from which runs start (`init_from`): weights/<digest>.safetensors in an
outputs folder.

A frozen configuration contains the name that the user gave and the digest:
`champion:mnist@335b405c32c795a7`.
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
DIGITS = 16  # of the digest


def frozen_weights(which: str, weights: dict[str, Tensor], *, copy: bool) -> str:
    """Return the value of `init_from` in a frozen configuration.

    Args:
        which: the user's value of `init_from`.
        copy: whether to copy the weights to the outputs folder, unless it already contains them.
    """
    digest = weights_digest(weights)[:DIGITS]
    path, name = _path(outputs_dir(), digest), _split(which)[0]
    if path.exists():  # a single name, because comparisons distinguish configurations by it
        name = load_arrays(path)[1].get("name", name)
    elif copy:
        check_outputs(outputs_dir())
        path.parent.mkdir(parents=True, exist_ok=True)
        save_weights(path, weights, {"name": name})
    return f"{name}@{digest}"


def given_weights(config: Config, outputs: Path) -> dict[str, Tensor] | None:
    """Return the weights from which a run starts; None if they are random, or if `init_from` has no
    digest yet.

    Args:
        outputs: outputs folder of the run. If it lacks the weights, as when a run is reproduced,
            the user's outputs folder is searched.

    Raises:
        ConfigError: the weights were not found or are corrupt.
    """
    digest = _split(config.init_from or "")[1]
    if not digest:
        return None
    paths = [_path(place, digest) for place in (outputs, outputs_dir())]
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        raise ConfigError(
            f"{paths[-1]}: not found; copy this folder from the outputs folder of the original run"
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
        return load_weights(path)[0]
    except FileNotFoundError as e:
        raise ConfigError("file not found") from e
    except (OSError, ValueError, TypeError, SafetensorError) as e:  # NumPy has no bfloat16
        raise ConfigError(f"{path}: not a safetensors file ({first_line(e)})") from e


def _split(which: str) -> tuple[str, str]:
    """Return the name, without folders, and the digest, which is empty unless the value is frozen."""
    found = re.fullmatch(rf"(.*)@([0-9a-f]{{{DIGITS}}})", which)
    name, digest = found.groups() if found else (which, "")
    return name.rstrip("/").rpartition("/")[2], digest


def _path(outputs: Path, digest: str) -> Path:
    return outputs / FOLDER / f"{digest}.safetensors"
