"""Initial weights that are bit-identical on every CPU.

The exact results of torch's `uniform_` depend on ATEN_CPU_CAPABILITY. The results of `torch.rand`,
and of single sums and products, do not.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from lenet_exp.seeds import generator


@torch.no_grad()
def initialize(model: nn.Module, seed: int) -> None:
    """Draw a network's initial weights.

    They equal those that torch draws with this seed, except for rounding.
    """
    weights = generator(seed, "weights")
    for layer in model.modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        assert layer.bias is not None

        fan_in = layer.weight[0].numel()
        bound = 1 / math.sqrt(fan_in)  # the rounding of a power depends on the C library
        for parameter in (layer.weight, layer.bias):
            uniform = torch.rand(parameter.shape, generator=weights)  # in [0, 1)
            parameter.copy_((2 * uniform - 1) * bound)
