"""LeNet-5 (LeCun et al. 1998, section II.B) with max-pooling and a configurable activation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lenet_exp.training.activations import ActivationFactory, Dropout

Layer = TypeVar("Layer", bound=nn.Module)


class LeNet5(nn.Module):
    """LeNet-5: conv 6@5x5, max-pool, conv 16@5x5, max-pool, 400-120-84-10; 61,706 parameters (PReLU adds 4).

    Initial weights are drawn from torch's global random state, as PyTorch draws them by default; see network.py.

    Args:
        activation: creates the four activations.
        dropout_rate: rate after fc1 and fc2, in [0, 1).
    """

    def __init__(self, activation: ActivationFactory, dropout_rate: float) -> None:
        super().__init__()
        self.conv1 = _drawn_later(lambda: nn.Conv2d(1, 6, 5))
        self.act1 = activation()
        self.conv2 = _drawn_later(lambda: nn.Conv2d(6, 16, 5))
        self.act2 = activation()
        self.fc1 = _drawn_later(lambda: nn.Linear(400, 120))
        self.act3 = activation()
        self.drop1 = Dropout(dropout_rate)
        self.fc2 = _drawn_later(lambda: nn.Linear(120, 84))
        self.act4 = activation()
        self.drop2 = Dropout(dropout_rate)
        self.fc3 = _drawn_later(lambda: nn.Linear(84, 10))
        self.pool_first = activation.is_monotone()
        for layer in (self.conv1, self.conv2, self.fc1, self.fc2, self.fc3):
            _initialize(layer)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (n, 10) of images (n, 1, 32, 32) in [-1, 1]."""
        x = self._pooled(self.conv1(images), self.act1)
        x = self._pooled(self.conv2(x), self.act2)
        x = self.drop1(self.act3(self.fc1(x.flatten(1))))
        x = self.drop2(self.act4(self.fc2(x)))
        return cast(Tensor, self.fc3(x))

    def _pooled(self, x: Tensor, activation: nn.Module) -> Tensor:
        # Maximum and a monotone function commute; after pooling, the activation does a quarter of the work.
        if self.pool_first:
            return cast(Tensor, activation(F.max_pool2d(x, 2)))
        return F.max_pool2d(activation(x), 2)


def _drawn_later(layer: Callable[[], Layer]) -> Layer:
    """Return a layer whose weights are drawn later, without changing torch's global random state.

    `nn.utils.skip_init` would also work, but it imports sympy.
    """
    with torch.random.fork_rng(devices=[]):
        return layer()


def _initialize(layer: nn.Module) -> None:
    """Draw PyTorch's default weights of convolutions and linear layers: U(-b, b) with b = 1 / sqrt(fan_in)."""
    assert isinstance(layer.weight, Tensor)
    assert isinstance(layer.bias, Tensor)
    bound = layer.weight[0].numel() ** -0.5
    nn.init.uniform_(layer.weight, -bound, bound)
    nn.init.uniform_(layer.bias, -bound, bound)
