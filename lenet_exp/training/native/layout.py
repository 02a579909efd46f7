"""Where a network's parameters lie in the array that the kernels work on (kernels/network.h)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

PARAMETERS = 66912  # floats of such an array; rows are padded with zeros to whole vectors


@dataclass(frozen=True)
class Place:
    """The place of a parameter in the array: its first float, its shape and its strides."""

    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def of(self, array: Tensor) -> Tensor:
        """The view of it in an array (PARAMETERS,)."""
        return array.as_strided(self.shape, self.strides, array.storage_offset() + self.offset)


# In lenet5.py's order of parameters; PReLU's slopes are there with that activation alone.
PLACES = {
    "conv1.weight": Place(0, (6, 1, 5, 5), (25, 25, 5, 1)),
    "conv1.bias": Place(160, (6,), (1,)),
    "act1.weight": Place(66896, (1,), (1,)),
    "conv2.weight": Place(176, (16, 6, 5, 5), (1, 16, 480, 96)),
    "conv2.bias": Place(2576, (16,), (1,)),
    "act2.weight": Place(66897, (1,), (1,)),
    "fc1.weight": Place(2592, (120, 400), (1, 128)),
    "fc1.bias": Place(53792, (120,), (1,)),
    "act3.weight": Place(66898, (1,), (1,)),
    "fc2.weight": Place(53920, (84, 120), (1, 96)),
    "fc2.bias": Place(65440, (84,), (1,)),
    "act4.weight": Place(66899, (1,), (1,)),
    "fc3.weight": Place(65536, (10, 84), (1, 16)),
    "fc3.bias": Place(66880, (10,), (1,)),
}


def new_array() -> Tensor:
    """Zeros, (PARAMETERS,); torch aligns them to 64 bytes."""
    return torch.zeros(PARAMETERS)


@torch.no_grad()
def copied(model: nn.Module) -> Tensor:
    """An array with a network's parameters."""
    array = new_array()
    for name, parameter in model.named_parameters():
        PLACES[name].of(array).copy_(parameter)
    return array


def moved(model: nn.Module) -> Tensor:
    """Copy the parameters to an array and make them views of it, so that the kernels train the network."""
    array = copied(model)
    for name, parameter in model.named_parameters():
        parameter.data = PLACES[name].of(array)
    return array
