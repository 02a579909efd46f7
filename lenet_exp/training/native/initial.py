"""Initial weights and input images in arithmetic that gives the same bits on every CPU.

torch's `uniform_` and its resizing do not (they depend on ATEN_CPU_CAPABILITY); its `rand` and single sums and
products of tensors do.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from lenet_exp.seeds import generator
from lenet_exp.training.lenet5 import LeNet5

SIDE = 32


@torch.no_grad()
def initialise(model: LeNet5, seed: int) -> None:
    """Draws the weights anew: those that `LeNet5` draws from the seed, but for the last bits."""
    weights = generator(seed, "weights")
    for layer in (model.conv1, model.conv2, model.fc1, model.fc2, model.fc3):
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        assert layer.bias is not None
        bound = 1 / math.sqrt(layer.weight[0].numel())  # a power would be rounded as the C library likes
        for parameter in (layer.weight, layer.bias):
            parameter.copy_((2 * torch.rand(parameter.shape, generator=weights) - 1) * bound)


def normalise(images: Tensor, white: int) -> Tensor:
    """(n, height, width) in [0, white] -> (n, 1, 32, 32) float32 in [-1, 1]: bilinear with antialiasing, as
    `data.images.normalise`, but for the last bits."""
    pixels = images.numpy()
    out = np.empty((len(pixels), 1, SIDE, SIDE), dtype=np.float32)
    down, across = _weights(pixels.shape[1]), _weights(pixels.shape[2])
    scale = np.float32(2 / white)
    for start in range(0, len(pixels), 1024):
        part = pixels[start : start + 1024].astype(np.float32)
        out[start : start + 1024, 0] = _sums(_sums(part, down, 1), across, 2) * scale - np.float32(1)
    return torch.from_numpy(out)


def _weights(size: int) -> list[list[tuple[int, float]]]:
    """For each of 32 pixels of a line: which of `size` pixels it is made of, and their shares (a triangle's)."""
    scale = size / SIDE
    width = max(scale, 1.0)
    found = []
    for i in range(SIDE):
        center = (i + 0.5) * scale
        heights = [(j, 1 - abs(j + 0.5 - center) / width) for j in range(size)]
        above = [(j, height) for j, height in heights if height > 0]
        total = sum(height for _, height in above)
        found.append([(j, height / total) for j, height in above])
    return found


def _sums(images: np.ndarray, weights: list[list[tuple[int, float]]], axis: int) -> np.ndarray:
    """The weighted sums of pixels along an axis, term by term."""
    lines = []
    for shares in weights:
        line = np.zeros(1, dtype=np.float32)
        for j, share in shares:
            line = line + images.take(j, axis=axis) * np.float32(share)
        lines.append(line)
    return np.stack(lines, axis=axis)
