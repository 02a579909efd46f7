"""Shapes of networks that the kernels can train, and positions of parameters in their array.

kernels/network.h computes the same positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from lenet_exp.training.fully_connected import FullyConnected, Linear
from lenet_exp.training.lenet5 import POOLINGS, LeNet5

LANES = 16  # floats in a vector of the kernels
MOST_LAYERS = 8  # linear layers


@dataclass(frozen=True, kw_only=True)
class NativeShape:
    """The shape of a network, which is a constant of the compiled kernels.

    The defaults are LeNet-5's.

    Attributes:
        side: height and width of an image.
        kernel_size: height and width of the kernels of both convolutions.
        channels: output channels of the convolutions; empty if the network has only linear layers.
        average: whether the pooling is average pooling instead of max-pooling.
        units: outputs of the hidden linear layers.
        classes: number of logits.
    """

    side: int = 32
    kernel_size: int = 5
    channels: tuple[int, ...] = (6, 16)
    average: bool = False
    units: tuple[int, ...] = (120, 84)
    classes: int = 10

    @classmethod
    def of(cls, model: nn.Module, side: int) -> NativeShape:
        """Return the shape of a `LeNet5`, `FullyConnected`, or `Linear` network.

        Args:
            model: the network.
            side: height and width of an image, in pixels.
        """
        assert isinstance(model, LeNet5 | FullyConnected | Linear)
        linear_layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
        *hidden, last = [layer.out_features for layer in linear_layers]
        if not isinstance(model, LeNet5):
            return cls(side=side, kernel_size=0, channels=(), units=tuple(hidden), classes=last)

        return cls(
            side=side,
            kernel_size=model.conv1.kernel_size[0],
            channels=(model.conv1.out_channels, model.conv2.out_channels),
            average=model.pool is POOLINGS["average"],
            units=tuple(hidden),
            classes=last,
        )

    @property
    def activations(self) -> int:
        """The number of activations: one after each layer except the last."""
        return len(self.channels) + len(self.units)

    @property
    def definitions(self) -> tuple[str, ...]:
        """The shape as macros for the compiler; see kernels/network.h.

        LeNet-5's shape is defined there. For LeNet-300-100, the macro is
        `LENET_SHAPE=32,{},{300,100,10}`.
        """
        if self == LENET5:
            return ()

        convolutions: tuple[int, ...] = ()
        if self.channels:
            convolutions = (self.kernel_size, *self.channels, int(self.average))
        layers = (*self.units, self.classes)
        return (f"LENET_SHAPE={self.side},{_in_braces(convolutions)},{_in_braces(layers)}",)


def _in_braces(numbers: tuple[int, ...]) -> str:
    return f"{{{','.join(map(str, numbers))}}}"


LENET5 = NativeShape()


@dataclass(frozen=True)
class ParameterSlot:
    """The position of a parameter in the kernels' array.

    Attributes:
        offset: offset of the parameter's first float in the array.
        shape, strides: shape and strides of the parameter.
    """

    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def of(self, array: Tensor) -> Tensor:
        """Return a view of this parameter in a flat array."""
        return array.as_strided(self.shape, self.strides, array.storage_offset() + self.offset)


class Layout:
    """Positions of a network's parameters in the kernels' array.

    Rows and channels are padded with zeros.

    Args:
        shape: shape of the network.
    """

    def __init__(self, shape: NativeShape) -> None:
        self.shape = shape
        self.slots: dict[str, ParameterSlot] = {}
        self._end = 0
        # Number of inputs of the first linear layer, without and with the padding of channels.
        flat = shape.side**2
        padded_flat = shape.side**2
        if shape.channels:
            _, channels2 = shape.channels
            pixels = _pixels_after_convolutions(shape)
            flat = channels2 * pixels
            padded_flat = _padded(channels2) * pixels
            self._add_convolutions(shape)

        is_fully_connected = bool(shape.units) and not shape.channels
        prefix = "layers." if is_fully_connected else ""
        sizes = (flat, *shape.units, shape.classes)
        for number, (inputs, outputs) in enumerate(pairwise(sizes), 1):
            name = f"{prefix}fc{number if shape.units else ''}"
            rows = padded_flat if number == 1 else inputs
            row = _padded(outputs)
            self._add(f"{name}.weight", (outputs, inputs), (1, row), rows * row)
            self._add(f"{name}.bias", (outputs,), (1,), row)

        for number in range(1, shape.activations + 1):  # only networks with PReLU have slopes
            self._add(f"{prefix}act{number}.weight", (1,), (1,), 1)

        self.parameters = _padded(self._end)  # number of floats in the array

    def _add_convolutions(self, shape: NativeShape) -> None:
        k = shape.kernel_size
        channels1, channels2 = shape.channels
        maps1 = _padded(channels1, 3 if channels1 <= 3 else 6)
        maps2 = _padded(channels2)

        strides = (k * k, k * k, k, 1)
        self._add("conv1.weight", (channels1, 1, k, k), strides, _padded(k * k * maps1))
        self._add("conv1.bias", (channels1,), (1,), _padded(maps1))

        strides = (1, maps2, k * maps1 * maps2, maps1 * maps2)
        self._add("conv2.weight", (channels2, channels1, k, k), strides, k * k * maps1 * maps2)
        self._add("conv2.bias", (channels2,), (1,), maps2)

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

        The network's parameters become views of the array. When the kernels change the array, they
        also change the network.
        """
        array = self.copy_parameters(model)
        for name, parameter in model.named_parameters():
            parameter.data = self.slots[name].of(array)
        return array


def _pixels_after_convolutions(shape: NativeShape) -> int:
    """Return the number of pixels of a map after both convolutions, each followed by pooling."""
    side = (shape.side - shape.kernel_size + 1) // 2
    side = (side - shape.kernel_size + 1) // 2
    return side**2


def _padded(n: int, multiple: int = LANES) -> int:
    return -(-n // multiple) * multiple
