"""Weights on disk (safetensors, without pickle), and their digests.

This module imports torch only for tensors.
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

# Key of the metadata with the names of the tensors in their order.
ORDER = "order"


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 digest (hex) of the weights' names, shapes, types, and values.

    It depends on their order in the state dict.
    """
    digest = hashlib.sha256()
    for name, tensor in weights.items():
        header = f"{name} {tuple(tensor.shape)} {tensor.dtype}"
        digest.update(header.encode())
        digest.update(_as_array(tensor).tobytes())
    return digest.hexdigest()


def as_arrays(weights: Mapping[str, Tensor]) -> Arrays:
    """Return weights as contiguous arrays on the CPU."""
    return {name: _as_array(tensor) for name, tensor in weights.items()}


def _as_array(tensor: Tensor) -> NDArray[Any]:
    return tensor.detach().cpu().contiguous().numpy()


def save_weights(path: Path, weights: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Atomically write weights to a safetensors file."""
    save_arrays(path, as_arrays(weights), metadata)


def save_arrays(path: Path, weights: Arrays, metadata: dict[str, str]) -> None:
    """Atomically write arrays to a safetensors file."""
    # The format does not keep the order of the tensors.
    metadata = metadata | {ORDER: json.dumps(list(weights))}
    contiguous = {name: np.asarray(array, order="C") for name, array in weights.items()}
    write_atomic(path, to_bytes(contiguous, metadata))


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a safetensors file; see `load_arrays`."""
    import torch

    arrays, metadata = load_arrays(path)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return tensors, metadata


def load_arrays(path: Path) -> tuple[Arrays, dict[str, str]]:
    """Return the arrays of a safetensors file, and the file's metadata.

    The arrays are in the order in which they were saved.

    Raises:
        OSError: the path is not a regular file, or cannot be read.
        SafetensorError, ValueError: the file is not a valid safetensors file.
    """
    check_regular(path)
    with safe_open(str(path), framework="numpy") as file:
        metadata = dict(file.metadata() or {})
        names = from_json(metadata.pop(ORDER, "null")) or list(file.keys())
        if not isinstance(names, list) or sorted(map(str, names)) != sorted(file.keys()):
            raise ValueError(f"its `{ORDER}` does not match its tensors")
        arrays = {name: file.get_tensor(name) for name in names}
    return arrays, metadata
