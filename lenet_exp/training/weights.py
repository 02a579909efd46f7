"""Weights on disk (safetensors, no pickle) and their digest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from lenet_exp.files import check_regular, from_json, write_atomic

ORDER = "order"


def weights_digest(weights: dict[str, Tensor]) -> str:
    """SHA-256 (hex) over names, shapes and bytes, in state-dict order."""
    digest = hashlib.sha256()
    for name, tensor in weights.items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save_weights(path: Path, weights: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Writes a safetensors file that appears whole or not at all."""
    metadata = metadata | {ORDER: json.dumps(list(weights))}  # the format has an order of its own
    write_atomic(path, to_bytes({name: t.contiguous() for name, t in weights.items()}, metadata))


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors, in the order they were saved in, and the metadata of a safetensors file.

    Raises:
        OSError: it is no regular file, or can't be read.
        SafetensorError, ValueError: it is no such file.
    """
    check_regular(path)
    with safe_open(str(path), framework="pt") as f:
        metadata = dict(f.metadata() or {})
        names = from_json(metadata.pop(ORDER, "null")) or list(f.keys())
        if not isinstance(names, list) or sorted(map(str, names)) != sorted(f.keys()):
            raise ValueError(f"its `{ORDER}` names other tensors than it has")
        return {name: f.get_tensor(name) for name in names}, metadata
