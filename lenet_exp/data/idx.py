"""Strict reader for MNIST's IDX file format (LeCun, Cortes, and Burges 1998)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4"}


def parse_idx(content: bytes, dimensions: tuple[int, ...]) -> Tensor:
    """Return the array in an IDX file: uint8 data as a uint8 tensor, and other integers as an int64
    tensor.

    Args:
        content: uncompressed content of the file.
        dimensions: allowed numbers of dimensions.

    Raises:
        ValueError: the header, the number of dimensions, or the length is invalid.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in TYPES:
        raise ValueError(f"not an IDX file (it starts with {content[:4].hex() or 'nothing'})")
    kind, rank = np.dtype(TYPES[content[2]]), content[3]
    if rank not in dimensions:
        raise ValueError(
            f"it has {rank} dimensions; it must have {' or '.join(map(str, dimensions))}"
        )
    start = 4 + 4 * rank
    shape = [int(n) for n in np.frombuffer(content[4:start].ljust(4 * rank, b"\0"), ">u4")]
    expected = start + math.prod(shape) * kind.itemsize
    if len(content) != expected:
        what = "truncated" if len(content) < expected else "too long"
        raise ValueError(f"{what}: {len(content):,} bytes instead of {expected:,}")
    array = np.frombuffer(content, kind, offset=start).reshape(shape)
    return torch.from_numpy(
        array.copy() if kind.itemsize == 1 and kind.kind == "u" else array.astype(np.int64)
    )
