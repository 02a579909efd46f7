"""Resizing of images for the native engine, with bit-identical results on every CPU.

The exact results of resizing with torch depend on the CPU's capabilities. Here, each pixel is
computed as an explicit sum of products.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from lenet_exp.config.image_shape import STANDARD, ImageShape, Normalization

CHUNK = 128  # number of images resized at a time; this many fit in the CPU's cache


def normalize_exactly(
    images: Tensor, white: int, size: int = ImageShape.size, normalization: Normalization = STANDARD
) -> Tensor:
    """Resize and scale gray images to a float32 tensor of shape (n, 1, size, size).

    The resizing is bilinear with antialiasing. The result equals that of `images.normalize` up to
    rounding.

    Args:
        images: tensor of shape (n, height, width), with values in [0, white].
        white: pixel value of white.
        size: height and width of the result.
        normalization: mean and standard deviation by which pixels are scaled.
    """
    pixels = images.numpy()
    down = _shares(pixels.shape[1], size)
    across = _shares(pixels.shape[2], size)
    (mean,), (sd,) = normalization.mean, normalization.sd
    scale = np.float32(1 / (white * sd))
    shift = np.float32(mean / sd)

    out = np.empty((len(pixels), 1, size, size), dtype=np.float32)
    for start in range(0, len(pixels), CHUNK):
        chunk = pixels[start : start + CHUNK]
        part = chunk.transpose(1, 2, 0).astype(np.float32)  # (height, width, images)
        lines = _sums(part, down)  # (size, width, images)
        resized = _sums(lines.transpose(1, 0, 2), across)  # (size, size, images), transposed
        scaled = resized * scale - shift
        out[start : start + CHUNK, 0] = scaled.transpose(2, 1, 0)
    return torch.from_numpy(out)


def _shares(size: int, side: int) -> list[list[tuple[int, np.float32]]]:
    """Return the contributing input pixels and their weights for each of `side` output pixels.

    The weights are those of a triangle filter. From 4 to 2 pixels, the first output pixel is
    3/7, 3/7, and 1/7 of the first three input pixels.

    Args:
        size: number of input pixels.
    """
    scale = size / side
    width = max(scale, 1.0)  # of the filter on either side
    shares = []
    for i in range(side):
        center = (i + 0.5) * scale
        heights = [(j, 1 - abs(j + 0.5 - center) / width) for j in range(size)]
        positive = [(j, height) for j, height in heights if height > 0]
        # `sum` rounds differently since Python 3.12.
        total = math.fsum(height for _, height in positive)
        shares.append([(j, np.float32(height / total)) for j, height in positive])
    return shares


def _sums(lines: np.ndarray, shares: list[list[tuple[int, np.float32]]]) -> np.ndarray:
    """Return weighted sums of lines of pixels as an array of shape (sums, ...).

    Each sum is added term by term.

    Args:
        lines: array of shape (size, ...).
        shares: index and weight of each term, for each sum.
    """
    out = np.zeros((len(shares), *lines.shape[1:]), dtype=np.float32)
    for total, terms in zip(out, shares, strict=True):
        for j, share in terms:
            total += lines[j] * share
    return out
