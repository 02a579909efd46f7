"""Networks without convolutions: LeNet-300-100 (LeCun et al. 1998, section III.C) and a linear
classifier.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

from torch import Tensor, nn

from lenet_exp.training.activations import ActivationFactory, Dropout

LARGEST = 16_384  # maximum number of units in a layer


class FullyConnected(nn.Module):
    """A network of linear layers, with an activation and dropout after each layer except the last.

    Args:
        activation: factory that creates the activations.
        dropout_rate: dropout rate after each hidden layer, in [0, 1).
        in_channels: number of image channels.
        num_classes: number of logits.
        image_size: height and width of an image, in pixels.
        units: number of outputs of each hidden layer.

    Raises:
        ValueError: `units` is empty, or the size of a layer is out of range.
    """

    def __init__(
        self,
        activation: ActivationFactory,
        dropout_rate: float = 0.0,
        *,
        in_channels: int = 1,
        num_classes: int = 10,
        image_size: int = 32,
        units: Sequence[int] = (300, 100),
    ) -> None:
        super().__init__()
        if not units or not all(1 <= size <= LARGEST for size in units):
            raise ValueError(
                f"units={list(units)}: must be one or more integers from 1 to {LARGEST:,}"
            )
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for n, (inputs, outputs) in enumerate(pairwise([in_channels * image_size**2, *units]), 1):
            layers |= {
                f"fc{n}": nn.Linear(inputs, outputs),
                f"act{n}": activation(),
                f"drop{n}": Dropout(dropout_rate),
            }
        layers[f"fc{len(units) + 1}"] = nn.Linear(units[-1], num_classes)
        self.layers = nn.Sequential(layers)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (n, num_classes) for images (n, in_channels, image_size, image_size) in
        [-1, 1].
        """
        return cast(Tensor, self.layers(images.flatten(1)))


class Linear(nn.Module):
    """A linear classifier whose inputs are the pixels.

    Args:
        in_channels: number of image channels.
        num_classes: number of logits.
        image_size: height and width of an image, in pixels.
    """

    def __init__(self, in_channels: int = 1, num_classes: int = 10, image_size: int = 32) -> None:
        super().__init__()
        self.fc = nn.Linear(in_channels * image_size**2, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (n, num_classes) for images (n, in_channels, image_size, image_size) in
        [-1, 1].
        """
        return cast(Tensor, self.fc(images.flatten(1)))
