"""A small modern network of convolutional blocks, with batch normalization, depthwise convolutions,
and residuals.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
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
        for name, value, known in (("pooling", pooling, POOLINGS), ("head", head, HEADS)):
            if value not in known:
                raise ValueError(f"{name}={value}: expected one of: {', '.join(known)}")
        sizes, images = (
            scaled("channels", channels, width),
            f"images of {image_size}x{image_size} pixels",
        )
        if (
            not isinstance(kernel_size, int)
            or kernel_size % 2 == 0
            or not 1 <= kernel_size <= image_size
        ):
            raise ValueError(
                f"kernel_size={kernel_size}: must be an odd integer of at most {image_size} for {images}"
            )
        if depthwise and kernel_size == 1:
            raise ValueError("kernel_size=1: must be at least 3 for depthwise=true")
        wanted = [downsample] if isinstance(downsample, int) else downsample
        halving = set(range(1, len(sizes)) if wanted is None else wanted)
        if not halving <= set(range(1, len(sizes) + 1)):
            raise ValueError(
                f"downsample={downsample}: must be a list of blocks, from 1 to {len(sizes)}"
            )
        if image_size >> len(halving) == 0:
            raise ValueError(f"downsample={sorted(halving)}: halves {images} too often")
        self.blocks, side, inputs = nn.Sequential(), image_size, in_channels
        for number, outputs in enumerate(sizes, 1):
            halves = number in halving
            stride = 2 if halves and pooling == "stride" else 1
            pool: list[nn.Module] = [nn.MaxPool2d(2)] if halves and pooling == "max" else []
            convolution = partial(_convolution, norm=batch_norm)
            layers = convolution(inputs, outputs, kernel_size, stride=stride, pool=pool)
            if depthwise and number > 1:
                layers = [
                    *convolution(inputs, inputs, kernel_size, stride=stride, groups=inputs),
                    activation(),
                ]
                layers += convolution(inputs, outputs, 1, pool=pool)
            projection = convolution(inputs, outputs, 1) if inputs != outputs else ()
            # A 1x1 convolution with a stride would skip rows, too, but oneDNN crashes in its
            # backward pass.
            pooled = pool or ([nn.MaxPool2d(1, stride)] if stride > 1 else [])
            shortcut = nn.Sequential(*pooled, *projection) if residual and number > 1 else None
            after = [activation(), *([nn.AvgPool2d(2)] if halves and pooling == "average" else [])]
            self.blocks.append(Block(layers, shortcut, after))
            side, inputs = (
                (-(-side // 2) if stride == 2 else side // 2) if halves else side,
                outputs,
            )
        self.average = head == "global_average"
        self.drop = Dropout(dropout_rate)
        self.fc = nn.Linear(inputs if self.average else inputs * side**2, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (n, num_classes) for images (n, in_channels, image_size, image_size) in
        [-1, 1].
        """
        x = self.blocks(images)
        x = x.mean((2, 3)) if self.average else x.flatten(1)
        return cast(Tensor, self.fc(self.drop(x)))


class Block(nn.Module):
    """Convolutions, an optional shortcut that is added to them, and the layers after them."""

    def __init__(
        self, layers: Sequence[nn.Module], shortcut: nn.Module | None, after: Sequence[nn.Module]
    ) -> None:
        super().__init__()
        self.layers, self.shortcut, self.after = (
            nn.Sequential(*layers),
            shortcut,
            nn.Sequential(*after),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the output maps (n, outputs, h', w') for maps (n, inputs, h, w)."""
        y = self.layers(x)
        return cast(Tensor, self.after(y if self.shortcut is None else y + self.shortcut(x)))


def _convolution(
    inputs: int,
    outputs: int,
    kernel_size: int,
    *,
    stride: int = 1,
    groups: int = 1,
    pool: Sequence[nn.Module] = (),
    norm: bool,
) -> list[nn.Module]:
    """Return a convolution that pads the maps to keep their size, followed by pooling and
    normalization.
    """
    convolution = nn.Conv2d(
        inputs, outputs, kernel_size, stride, kernel_size // 2, groups=groups, bias=not norm
    )
    return [convolution, *pool, *([nn.BatchNorm2d(outputs)] if norm else [])]
