"""Positions of a network's parameters in the kernels' array (kernels/network.h)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

PARAMETERS = 66912  # number of floats in the array; rows are padded with zeros to whole vectors


@dataclass(frozen=True)
class ParameterSlot:
    """The position of a parameter in the array: the offset of its first float, its shape, and its strides."""

    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def of(self, array: Tensor) -> Tensor:
        """Return a view of this parameter in a flat array of shape (PARAMETERS,)."""
        return array.as_strided(self.shape, self.strides, array.storage_offset() + self.offset)


# Slots in the parameter order of lenet5.py. Only networks with PReLU have the slopes, act1.weight to act4.weight.
SLOTS = {
    "conv1.weight": ParameterSlot(0, (6, 1, 5, 5), (25, 25, 5, 1)),
    "conv1.bias": ParameterSlot(160, (6,), (1,)),
    "act1.weight": ParameterSlot(66896, (1,), (1,)),
    "conv2.weight": ParameterSlot(176, (16, 6, 5, 5), (1, 16, 480, 96)),
    "conv2.bias": ParameterSlot(2576, (16,), (1,)),
    "act2.weight": ParameterSlot(66897, (1,), (1,)),
    "fc1.weight": ParameterSlot(2592, (120, 400), (1, 128)),
    "fc1.bias": ParameterSlot(53792, (120,), (1,)),
    "act3.weight": ParameterSlot(66898, (1,), (1,)),
    "fc2.weight": ParameterSlot(53920, (84, 120), (1, 96)),
    "fc2.bias": ParameterSlot(65440, (84,), (1,)),
    "act4.weight": ParameterSlot(66899, (1,), (1,)),
    "fc3.weight": ParameterSlot(65536, (10, 84), (1, 16)),
    "fc3.bias": ParameterSlot(66880, (10,), (1,)),
}


def new_array() -> Tensor:
    """Return a new array of zeros, shape (PARAMETERS,), which torch aligns to 64 bytes."""
    return torch.zeros(PARAMETERS)


@torch.no_grad()
def copy_parameters(model: nn.Module) -> Tensor:
    """Return an array of shape (PARAMETERS,) with a copy of a network's parameters."""
    array = new_array()
    for name, parameter in model.named_parameters():
        SLOTS[name].of(array).copy_(parameter)
    return array


def move_parameters(model: nn.Module) -> Tensor:
    """Move a network's parameters to a new array of shape (PARAMETERS,), and return the array.

    The network's parameters become views of the array. When the kernels change the array, they also change the network.
    """
    array = copy_parameters(model)
    for name, parameter in model.named_parameters():
        parameter.data = SLOTS[name].of(array)
    return array
