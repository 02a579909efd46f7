"""A small modern network of convolutional blocks.

Its options include batch normalization, depthwise convolutions, and residuals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from lenet_exp.training.activations import ActivationFactory, Dropout
from lenet_exp.training.lenet5 import scaled

POOLINGS = ("max", "average", "stride")
HEADS = ("global_average", "flatten")


class ConvNet(nn.Module):
    """Convolutional blocks that keep or halve the size of their maps, followed by a linear layer.

    The first block is always a full convolution without a shortcut. Maximum pooling comes before
    normalization and activation (as in Jordan 2024, 94% on CIFAR-10 in 3.29 seconds on a single
    GPU), which then have a quarter of the inputs; average pooling comes after the activation.

    Args:
        activation: factory that creates the activations.
        dropout_rate: dropout rate before the linear layer, in [0, 1).
        in_channels: number of image channels.
        num_classes: number of logits.
        image_size: height and width of an image, in pixels.
        channels: number of output channels of each block.
        kernel_size: height and width of the kernels, an odd number.
        downsample: numbers of the blocks, counted from 1, that halve the height and width; None for
            all blocks except the last.
        pooling: how they are halved: `max`, `average`, or `stride` (by the stride of the
            convolution).
        depthwise: whether the convolutions are depthwise ones, each followed by a 1x1 convolution
            (Howard et al. 2017, MobileNets: Efficient convolutional neural networks for mobile
            vision applications).
        batch_norm: whether batch normalization follows each convolution.
        residual: whether each block adds its input before its activation (He et al. 2016, Deep
            residual learning for image recognition), through a 1x1 convolution if the number of
            channels changes.
        head: input of the linear layer: `global_average` (the mean of each map) or `flatten` (all
            values).
        width: factor by which `channels` are multiplied; the products are rounded up.

    Raises:
        ValueError: a value is out of range, or the images are too small for the kernels or the
            number of halvings.
    """

    def __init__(
        self,
        activation: ActivationFactory,
        dropout_rate: float = 0.0,
        *,
        in_channels: int = 1,
        num_classes: int = 10,
        image_size: int = 32,
        channels: Sequence[int] = (8, 16, 16),
        kernel_size: int = 3,
        downsample: Sequence[int] | int | None = None,
        pooling: str = "max",
        depthwise: bool = False,
        batch_norm: bool = True,
        residual: bool = False,
        head: str = "global_average",
        width: float = 1.0,
    ) -> None:
        super().__init__()
        _check_choice("pooling", pooling, POOLINGS)
        _check_choice("head", head, HEADS)
        sizes = scaled("channels", channels, width)
        _check_kernel_size(kernel_size, image_size)
        if depthwise and kernel_size == 1:
            raise ValueError("kernel_size=1: must be at least 3 for depthwise=true")
        halving_blocks = _halving_blocks(downsample, len(sizes), image_size)

        builder = _BlockBuilder(
            activation=activation,
            kernel_size=kernel_size,
            pooling=pooling,
            depthwise=depthwise,
            batch_norm=batch_norm,
            residual=residual,
        )
        self.blocks = nn.Sequential()
        side = image_size  # height and width of the maps
        inputs = in_channels
        for number, outputs in enumerate(sizes, 1):
            halves = number in halving_blocks
            block = builder.block(inputs, outputs, is_first=number == 1, halves=halves)
            self.blocks.append(block)
            inputs = outputs
            if halves:
                # A stride rounds up, 7 to 4; pooling rounds down, 7 to 3.
                side = (side + 1) // 2 if pooling == "stride" else side // 2

        self.average = head == "global_average"
        self.drop = Dropout(dropout_rate)
        features = inputs if self.average else inputs * side**2
        self.fc = nn.Linear(features, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (n, num_classes).

        Args:
            images: pixels in [-1, 1], shape (n, in_channels, image_size, image_size).
        """
        maps = self.blocks(images)
        features = maps.mean((2, 3)) if self.average else maps.flatten(1)
        return cast(Tensor, self.fc(self.drop(features)))


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name}={value}: expected one of: {', '.join(choices)}")


def _check_kernel_size(kernel_size: int, image_size: int) -> None:
    is_odd = isinstance(kernel_size, int) and kernel_size % 2 == 1
    if not is_odd or not 1 <= kernel_size <= image_size:
        raise ValueError(
            f"kernel_size={kernel_size}: must be an odd integer of at most {image_size} "
            f"for images of {image_size}x{image_size} pixels"
        )


def _halving_blocks(
    downsample: Sequence[int] | int | None, blocks: int, image_size: int
) -> set[int]:
    """Return the numbers of the blocks that halve the height and width; see `ConvNet`.

    Args:
        blocks: number of blocks.

    Raises:
        ValueError: there is no such block, or the images are too small.
    """
    if downsample is None:
        numbers = set(range(1, blocks))
    elif isinstance(downsample, int):
        numbers = {downsample}
    else:
        numbers = set(downsample)

    if not numbers <= set(range(1, blocks + 1)):
        raise ValueError(f"downsample={downsample}: must be a list of blocks, from 1 to {blocks}")
    if image_size >> len(numbers) == 0:
        raise ValueError(
            f"downsample={sorted(numbers)}: halves images of {image_size}x{image_size} pixels "
            "too often"
        )
    return numbers


class Block(nn.Module):
    """Convolutions, an optional shortcut that is added to them, and the layers after them."""

    def __init__(
        self, layers: Sequence[nn.Module], shortcut: nn.Module | None, after: Sequence[nn.Module]
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.shortcut = shortcut
        self.after = nn.Sequential(*after)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the output maps (n, outputs, h', w') for maps (n, inputs, h, w)."""
        outputs = self.layers(maps)
        if self.shortcut is not None:
            outputs = outputs + self.shortcut(maps)
        return cast(Tensor, self.after(outputs))


@dataclass(frozen=True, kw_only=True)
class _BlockBuilder:
    """Builds the blocks of a network. For the attributes, see the arguments of `ConvNet`."""

    activation: ActivationFactory
    kernel_size: int
    pooling: str
    depthwise: bool
    batch_norm: bool
    residual: bool

    def block(self, inputs: int, outputs: int, *, is_first: bool, halves: bool) -> Block:
        """Return a block with random weights.

        Each layer draws its weights when it is created. All layers are created in a fixed order,
        also those that are not used, because the weights of a seed must not change.

        Args:
            inputs, outputs: numbers of channels.
            halves: whether the block halves the height and width.
        """
        stride = 1
        pool: list[nn.Module] = []
        if halves and self.pooling == "stride":
            stride = 2
        if halves and self.pooling == "max":
            pool = [nn.MaxPool2d(2)]

        layers = self._convolution(inputs, outputs, self.kernel_size, stride=stride, pool=pool)
        if self.depthwise and not is_first:
            layers = [
                *self._convolution(inputs, inputs, self.kernel_size, stride=stride, groups=inputs),
                self.activation(),
                *self._convolution(inputs, outputs, 1, pool=pool),
            ]

        projection: list[nn.Module] = []
        if inputs != outputs:
            projection = self._convolution(inputs, outputs, 1)
        shortcut = None
        if self.residual and not is_first:
            shortcut = nn.Sequential(*_shortcut_pool(pool, stride), *projection)

        after = [self.activation()]
        if halves and self.pooling == "average":
            after.append(nn.AvgPool2d(2))
        return Block(layers, shortcut, after)

    def _convolution(
        self,
        inputs: int,
        outputs: int,
        kernel_size: int,
        *,
        stride: int = 1,
        groups: int = 1,
        pool: Sequence[nn.Module] = (),
    ) -> list[nn.Module]:
        """Return a convolution, followed by pooling and normalization.

        The convolution pads the maps, so that it keeps their size if its stride is 1.
        """
        convolution = nn.Conv2d(
            inputs,
            outputs,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            groups=groups,
            bias=not self.batch_norm,
        )
        layers = [convolution, *pool]
        if self.batch_norm:
            layers.append(nn.BatchNorm2d(outputs))
        return layers


def _shortcut_pool(pool: list[nn.Module], stride: int) -> list[nn.Module]:
    """Return layers that shrink the input of a block as much as the block's convolutions do."""
    if pool:
        return pool
    if stride > 1:
        # A 1x1 convolution with a stride would skip rows, too, but oneDNN crashes in its backward
        # pass.
        return [nn.MaxPool2d(1, stride)]
    return []
