"""Weights on disk (safetensors, without pickle), and their digests. This module imports torch only
for tensors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save as to_bytes

from lenet_exp.files import check_regular, from_json, write_atomic

if TYPE_CHECKING:
    from torch import Tensor

Arrays = dict[str, NDArray[Any]]

ORDER = "order"


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 digest (hex) of the weights' names, shapes, types, and values, in
    state-dict order.
    """
    digest = hashlib.sha256()
    for name, tensor in weights.items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def as_arrays(weights: Mapping[str, Tensor]) -> Arrays:
    """Return weights as contiguous arrays on the CPU."""
    return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in weights.items()}


def save_weights(path: Path, weights: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Atomically write weights to a safetensors file."""
    save_arrays(path, as_arrays(weights), metadata)


def save_arrays(path: Path, weights: Arrays, metadata: dict[str, str]) -> None:
    """Atomically write arrays to a safetensors file."""
    metadata = metadata | {ORDER: json.dumps(list(weights))}  # the format does not keep the order
    write_atomic(
        path, to_bytes({name: np.asarray(a, order="C") for name, a in weights.items()}, metadata)
    )


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a safetensors file; see `load_arrays`."""
    import torch

    arrays, metadata = load_arrays(path)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}, metadata


def load_arrays(path: Path) -> tuple[Arrays, dict[str, str]]:
    """Return the arrays of a safetensors file, in the order in which they were saved, and the
    file's metadata.

    Raises:
        OSError: the path is not a regular file, or cannot be read.
        SafetensorError, ValueError: the file is not a valid safetensors file.
    """
    check_regular(path)
    with safe_open(str(path), framework="numpy") as f:
        metadata = dict(f.metadata() or {})
        names = from_json(metadata.pop(ORDER, "null")) or list(f.keys())
        if not isinstance(names, list) or sorted(map(str, names)) != sorted(f.keys()):
            raise ValueError(f"its `{ORDER}` does not match its tensors")
        return {name: f.get_tensor(name) for name in names}, metadata
