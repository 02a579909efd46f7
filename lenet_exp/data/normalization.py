"""Scaling of pixels to a network's input."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from lenet_exp.config.image_shape import STANDARD, ImageShape, Normalization

# Maximum numbers of images and of pixels resized at a time, to limit memory use.
CHUNK = 4096
MOST_PIXELS = 2**24


def background(normalization: Normalization) -> Tensor:
    """Return the value of a black pixel after scaling, shape (channels, 1, 1)."""
    return scale(torch.zeros(len(normalization.mean), 1, 1), normalization)


def scale(pixels: Tensor, normalization: Normalization) -> Tensor:
    """Scale pixels with shape (..., channels, height, width) and values in [0, 1]."""
    return (pixels - _column(normalization.mean)) / _column(normalization.sd)


def unscale(images: Tensor, normalization: Normalization) -> Tensor:
    """Return the pixels, in [0, 1], that `scale` converts to `images`."""
    return (images * _column(normalization.sd) + _column(normalization.mean)).clamp(0, 1)


def measure_normalization(images: Tensor, white: int) -> Normalization:
    """Return the mean and standard deviation of each channel.

    The result is the same on every machine.

    Args:
        images: tensor of shape (n, height, width) or (n, 3, height, width), with values in [0,
            white].
    """
    means = []
    deviations = []
    for channel in _with_channels(images).unbind(1):
        counts = torch.bincount(channel.flatten(), minlength=white + 1).tolist()  # of each value
        # These sums are exact, because they are integers.
        n = sum(counts)
        total = sum(value * count for value, count in enumerate(counts))
        squares = sum(value**2 * count for value, count in enumerate(counts))
        means.append(total / (n * white))
        deviation = math.sqrt(n * squares - total**2) / (n * white)
        deviations.append(deviation or 1.0)
    return Normalization(means, deviations)


def normalize(
    images: Tensor, white: int, size: int = ImageShape.size, normalization: Normalization = STANDARD
) -> Tensor:
    """Resize and scale images to a float32 tensor of shape (n, channels, size, size).

    The resizing is bilinear.

    Args:
        images: tensor of shape (n, height, width) or (n, 3, height, width), with values in [0,
            white].
        white: pixel value of white.
        size: height and width of the result.
    """
    images = _with_channels(images)
    out = torch.empty(len(images), images.shape[1], size, size)
    pixels_per_image = max(images[:1].numel(), 1)
    chunk = max(1, min(CHUNK, MOST_PIXELS // pixels_per_image))
    for start in range(0, len(images), chunk):
        part = images[start : start + chunk].to(torch.float32) / white
        if part.shape[-2:] != (size, size):
            part = F.interpolate(
                part, (size, size), mode="bilinear", antialias=True, align_corners=False
            )
        out[start : start + chunk] = scale(part, normalization)
    return out


def _with_channels(images: Tensor) -> Tensor:
    """Return images with shape (n, channels, height, width)."""
    return images[:, None] if images.ndim == 3 else images


def _column(values: list[float]) -> Tensor:
    """Return one value for each channel, shape (channels, 1, 1)."""
    return torch.tensor(values, dtype=torch.float32)[:, None, None]
