"""LeNet-5 (LeCun et al. 1998, section II.B).

Its activation, pooling, and layer sizes are configurable.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lenet_exp.training.activations import ActivationFactory, Dropout

Layer = TypeVar("Layer", bound=nn.Module)

POOLINGS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "max": F.max_pool2d,
    "average": F.avg_pool2d,
}

# Maximum layer sizes, after scaling by `width`.
LARGEST = {"channels": 1024, "units": 16_384}


class LeNet5(nn.Module):
    """LeNet-5: two convolutions, each followed by 2x2 pooling, and three linear layers.

    The default layers are conv 6@5x5, pool, conv 16@5x5, pool, and linear 400-120-84-10, with
    61,706 parameters (PReLU adds 4). Initial weights have PyTorch's default distribution and come
    from torch's global random state; see network.py.

    Args:
        activation: factory that creates the four activations.
        dropout_rate: dropout rate after fc1 and fc2, in [0, 1).
        in_channels: number of image channels.
        num_classes: number of logits.
        image_size: height and width of an image, in pixels.
        channels: number of output channels of each convolution.
        kernel_size: height and width of the kernels; the convolutions have no padding.
        units: number of outputs of each of the first two linear layers.
        pooling: kind of pooling, `max` or `average`.
        width: factor by which `channels` and `units` are multiplied; the products are rounded up.

    Raises:
        ValueError: a size is out of range, or the image is too small for the kernels.
    """

    def __init__(
        self,
        activation: ActivationFactory,
        dropout_rate: float = 0.0,
        *,
        in_channels: int = 1,
        num_classes: int = 10,
        image_size: int = 32,
        channels: Sequence[int] = (6, 16),
        kernel_size: int = 5,
        units: Sequence[int] = (120, 84),
        pooling: str = "max",
        width: float = 1.0,
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ValueError(f"pooling={pooling}: expected one of: {', '.join(POOLINGS)}")

        conv1, conv2 = scaled("channels", channels, width, layers=2)
        fc1, fc2 = scaled("units", units, width, layers=2)
        if not isinstance(kernel_size, int) or kernel_size < 1:
            raise ValueError(f"kernel_size={kernel_size}: must be an integer of at least 1")

        # The height and width of the maps after each pooling.
        side1 = (image_size - kernel_size + 1) // 2
        side2 = (side1 - kernel_size + 1) // 2
        if side2 < 1:
            image_text = f"{image_size}x{image_size} pixels"
            raise ValueError(f"kernel_size={kernel_size}: too large for images of {image_text}")

        self.conv1 = _drawn_later(partial(nn.Conv2d, in_channels, conv1, kernel_size))
        self.act1 = activation()
        self.conv2 = _drawn_later(partial(nn.Conv2d, conv1, conv2, kernel_size))
        self.act2 = activation()
        self.fc1 = _drawn_later(partial(nn.Linear, conv2 * side2**2, fc1))
        self.act3 = activation()
        self.drop1 = Dropout(dropout_rate)
        self.fc2 = _drawn_later(partial(nn.Linear, fc1, fc2))
        self.act4 = activation()
        self.drop2 = Dropout(dropout_rate)
        self.fc3 = _drawn_later(partial(nn.Linear, fc2, num_classes))

        self.pool = POOLINGS[pooling]
        # Max pooling and a monotone activation commute.
        self.pool_first = pooling == "max" and activation.is_monotone()

        for layer in (self.conv1, self.conv2, self.fc1, self.fc2, self.fc3):
            _initialize(layer)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (n, num_classes).

        Args:
            images: tensor of shape (n, in_channels, image_size, image_size), in [-1, 1].
        """
        x = self._pooled(self.conv1(images), self.act1)
        x = self._pooled(self.conv2(x), self.act2)
        x = self.drop1(self.act3(self.fc1(x.flatten(1))))
        x = self.drop2(self.act4(self.fc2(x)))
        return cast(Tensor, self.fc3(x))

    def _pooled(self, x: Tensor, activation: nn.Module) -> Tensor:
        if self.pool_first:
            # After pooling, the activation has a quarter of the inputs.
            return cast(Tensor, activation(self.pool(x, 2)))
        return self.pool(activation(x), 2)


def scaled(name: str, sizes: Sequence[int], width: float, layers: int | None = None) -> list[int]:
    """Return the sizes of layers, multiplied by `width` and rounded up.

    Args:
        name: `channels` or `units`.
        layers: number of layers; None for one or more.

    Raises:
        ValueError: the number of sizes is wrong, or a size or the width is out of range.
    """
    if not 0 < width <= 1024:
        raise ValueError(f"width={width:g}: must be greater than 0 and at most 1024")

    setting = f"{name}={list(sizes)}"
    if not sizes or layers not in (None, len(sizes)):
        count = "one or more" if layers is None else "two"
        raise ValueError(f"{setting}: must be {count} numbers")

    scaled_sizes = [math.ceil(size * width) for size in sizes]
    largest = LARGEST[name]
    if min(sizes) < 1 or max(scaled_sizes) > largest:
        if width != 1:
            setting += f" at width={width:g}"
        raise ValueError(f"{setting}: each number must be from 1 to {largest:,}")
    return scaled_sizes


def _drawn_later(construct: Callable[[], Layer]) -> Layer:
    """Create a layer without changing torch's global random state.

    `_initialize` draws its weights later.

    `nn.utils.skip_init` would also work, but it imports sympy.
    """
    with torch.random.fork_rng(devices=[]):
        return construct()


def _initialize(layer: nn.Module) -> None:
    """Draw a layer's weights and biases as PyTorch does by default.

    They come from U(-b, b) with b = 1 / sqrt(fan_in). Example: fc1 has 400 inputs, and b is 0.05.
    """
    assert isinstance(layer.weight, Tensor)
    assert isinstance(layer.bias, Tensor)
    fan_in = layer.weight[0].numel()
    bound = fan_in**-0.5
    nn.init.uniform_(layer.weight, -bound, bound)
    nn.init.uniform_(layer.bias, -bound, bound)
