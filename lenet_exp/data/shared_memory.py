"""Tensors in memory that several processes can map.

The kernel frees the memory when the last of these processes ends, even on kill -9.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class SharedTensor:
    """A tensor in shared memory, which a process that inherits its file descriptor can map."""

    descriptor: int
    shape: tuple[int, ...]
    dtype: torch.dtype


def to_shared_memory(tensor: Tensor) -> SharedTensor:
    """Copy a dense tensor, in row-major order, to new shared memory.

    The file descriptor is inheritable.
    """
    content = tensor.contiguous().numpy()
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("lenet_exp", 0)
    else:
        with tempfile.TemporaryFile() as unnamed:
            descriptor = os.dup(unnamed.fileno())

    os.set_inheritable(descriptor, True)
    os.ftruncate(descriptor, content.nbytes)
    with mmap.mmap(descriptor, 0) as memory:
        memory[: content.nbytes] = content.reshape(-1).view(np.uint8).data  # without a copy
    return SharedTensor(descriptor, tuple(tensor.shape), tensor.dtype)


def from_shared_memory(shared: SharedTensor) -> Tensor:
    """Map a shared tensor without copying its data, and return it.

    Changes to the tensor stay in this process.
    """
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    memory = mmap.mmap(shared.descriptor, 0, flags=mmap.MAP_PRIVATE, prot=protection)
    return torch.frombuffer(memory, dtype=shared.dtype).reshape(shared.shape)
