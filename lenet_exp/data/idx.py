"""Strict reader for MNIST's IDX file format (LeCun, Cortes, and Burges 1998)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4"}


def parse_idx(content: bytes, dimensions: tuple[int, ...]) -> Tensor:
    """Return the array in an IDX file.

    A tensor of uint8 contains uint8 data. Other integers are converted to int64.

    Args:
        content: uncompressed content of the file.
        dimensions: allowed numbers of dimensions.

    Raises:
        ValueError: the header, the number of dimensions, or the length is invalid.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in TYPES:
        raise ValueError(f"not an IDX file (it starts with {content[:4].hex() or 'nothing'})")

    dtype = np.dtype(TYPES[content[2]])
    rank = content[3]
    if rank not in dimensions:
        allowed = " or ".join(map(str, dimensions))
        raise ValueError(f"it has {rank} dimensions; it must have {allowed}")

    # The header has 4 bytes, followed by 4 bytes for the size of each dimension.
    start = 4 + 4 * rank
    sizes = content[4:start].ljust(4 * rank, b"\0")
    shape = [int(n) for n in np.frombuffer(sizes, ">u4")]
    expected = start + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        problem = "truncated" if len(content) < expected else "too long"
        raise ValueError(f"{problem}: {len(content):,} bytes instead of {expected:,}")

    array = np.frombuffer(content, dtype, offset=start).reshape(shape)
    if dtype == np.uint8:
        return torch.from_numpy(array.copy())
    return torch.from_numpy(array.astype(np.int64))
