"""Layers that draw random numbers. They have a `generator`, which the run sets: torch's own use global state."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RReLU(nn.Module):
    """Randomized leaky ReLU (Xu et al. 2015, section 2.3): slopes from U(lower, upper) in training, their mean after.

    Args:
        lower, upper: range of the slopes of negative inputs.
    """

    generator: torch.Generator | None = None

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3) -> None:
        super().__init__()
        if not 0 <= lower <= upper:
            raise ValueError(f"lower={lower}, upper={upper}: must be 0 <= lower <= upper")
        self.lower = lower
        self.upper = upper

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return nn.functional.leaky_relu(x, (self.lower + self.upper) / 2)
        slopes = torch.empty_like(x).uniform_(self.lower, self.upper, generator=self.generator)
        return torch.where(x >= 0, x, x * slopes)


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014), scaled in training so that evaluation is the identity.

    Args:
        rate: share of values set to zero, in [0, 1).
    """

    generator: torch.Generator | None = None

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = torch.empty_like(x).bernoulli_(1 - self.rate, generator=self.generator)
        return x * keep.div_(1 - self.rate)
