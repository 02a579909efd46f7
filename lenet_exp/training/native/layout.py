"""Shapes of the networks that the kernels can train, and the positions of parameters in the kernels' array.

kernels/network.h computes the same positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lenet_exp.training.lenet5 import LeNet5

LANES = 16  # floats in a vector of the kernels
MAPS_AT_ONCE = 6  # conv1's channels are padded to a multiple of this number


@dataclass(frozen=True, kw_only=True)
class NativeShape:
    """The shape of a LeNet, which is a constant of the compiled kernels. The defaults are LeNet-5's."""

    kernel_size: int = 5
    channels1: int = 6
    channels2: int = 16
    units1: int = 120
    units2: int = 84
    classes: int = 10

    @classmethod
    def of(cls, model: nn.Module) -> NativeShape:
        """Return the shape of a network."""
        assert isinstance(model, LeNet5)
        return cls(
            kernel_size=model.conv1.kernel_size[0],
            channels1=model.conv1.out_channels,
            channels2=model.conv2.out_channels,
            units1=model.fc1.out_features,
            units2=model.fc2.out_features,
            classes=model.fc3.out_features,
        )

    @property
    def definition(self) -> str:
        """The shape as a definition for the C++ preprocessor; see kernels/network.h."""
        sizes = (self.kernel_size, self.channels1, self.channels2, self.units1, self.units2, self.classes)
        return f"LENET_SHAPE={','.join(map(str, sizes))}"


@dataclass(frozen=True)
class ParameterSlot:
    """The position of a parameter in the array: the offset of its first float, its shape, and its strides."""

    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def of(self, array: Tensor) -> Tensor:
        """Return a view of this parameter in a flat array."""
        return array.as_strided(self.shape, self.strides, array.storage_offset() + self.offset)


class Layout:
    """Positions of a network's parameters in the kernels' array. Rows and channels are padded with zeros.

    Args:
        shape: shape of the network.
    """

    def __init__(self, shape: NativeShape) -> None:
        self.shape = shape
        self.slots: dict[str, ParameterSlot] = {}
        self._end = 0
        s, k = shape, shape.kernel_size
        maps1, maps2 = _padded(s.channels1, MAPS_AT_ONCE), _padded(s.channels2)
        row1, row2, row3 = map(_padded, (s.units1, s.units2, s.classes))
        side = ((32 - k + 1) // 2 - k + 1) // 2
        flat = s.channels2 * side**2
        self._add("conv1.weight", (s.channels1, 1, k, k), (k * k, k * k, k, 1), _padded(k * k * maps1))
        self._add("conv1.bias", (s.channels1,), (1,), _padded(maps1))
        strides = (1, maps2, k * maps1 * maps2, maps1 * maps2)
        self._add("conv2.weight", (s.channels2, s.channels1, k, k), strides, k * k * maps1 * maps2)
        self._add("conv2.bias", (s.channels2,), (1,), maps2)
        self._add("fc1.weight", (s.units1, flat), (1, row1), maps2 * side**2 * row1)
        self._add("fc1.bias", (s.units1,), (1,), row1)
        self._add("fc2.weight", (s.units2, s.units1), (1, row2), s.units1 * row2)
        self._add("fc2.bias", (s.units2,), (1,), row2)
        self._add("fc3.weight", (s.classes, s.units2), (1, row3), s.units2 * row3)
        self._add("fc3.bias", (s.classes,), (1,), row3)
        for number in range(1, 5):  # only networks with PReLU have slopes
            self._add(f"act{number}.weight", (1,), (1,), 1)
        self.parameters = _padded(self._end)  # number of floats in the array

    def _add(self, name: str, shape: tuple[int, ...], strides: tuple[int, ...], size: int) -> None:
        self.slots[name] = ParameterSlot(self._end, shape, strides)
        self._end += size

    def new_array(self) -> Tensor:
        """Return a new array of zeros, shape (parameters,), which torch aligns to 64 bytes."""
        return torch.zeros(self.parameters)

    @torch.no_grad()
    def copy_parameters(self, model: nn.Module) -> Tensor:
        """Return an array of shape (parameters,) with a copy of a network's parameters."""
        array = self.new_array()
        for name, parameter in model.named_parameters():
            self.slots[name].of(array).copy_(parameter)
        return array

    def move_parameters(self, model: nn.Module) -> Tensor:
        """Move a network's parameters to a new array of shape (parameters,), and return the array.

        The network's parameters become views of the array. When the kernels change the array, they also change the
        network.
        """
        array = self.copy_parameters(model)
        for name, parameter in model.named_parameters():
            parameter.data = self.slots[name].of(array)
        return array


def _padded(n: int, multiple: int = LANES) -> int:
    return -(-n // multiple) * multiple
