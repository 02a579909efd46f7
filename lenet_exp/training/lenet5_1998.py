"""LeNet-5 as published (LeCun et al. 1998, section II.B), with a linear output layer instead of RBF
units.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Table I: the maps of S2 that each map of C3 is connected to.
SEES = (
    (0, 1, 2),
    (1, 2, 3),
    (2, 3, 4),
    (3, 4, 5),
    (0, 4, 5),
    (0, 1, 5),
    (0, 1, 2, 3),
    (1, 2, 3, 4),
    (2, 3, 4, 5),
    (0, 3, 4, 5),
    (0, 1, 4, 5),
    (0, 1, 2, 5),
    (0, 1, 3, 4),
    (1, 2, 4, 5),
    (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)


class LeNet5Published(nn.Module):
    """LeNet-5 with the published layers. Layers C1 to F6 have 60,000 parameters, as in the paper.

    The layers are C1 6@5x5, S2, C3 16@5x5 (sparse), S4, C5 120, F6 84, and the output.

    Args:
        in_channels: number of image channels; must be 1.
        num_classes: number of logits.
        image_size: height and width of an image, in pixels; must be 32.

    Raises:
        ValueError: `in_channels` is not 1, or `image_size` is not 32.
    """

    def __init__(self, in_channels: int = 1, num_classes: int = 10, image_size: int = 32) -> None:
        super().__init__()
        if (in_channels, image_size) != (1, 32):
            raise ValueError(
                f"images with {in_channels} channels and {image_size}x{image_size} pixels: must have 1 channel "
                "and 32x32 pixels"
            )
        self.c1 = nn.Conv2d(1, 6, 5)
        self.s2 = Subsampling(6)
        self.c3 = SparseConv2d()
        self.s4 = Subsampling(16)
        self.c5 = nn.Conv2d(16, 120, 5)
        self.f6 = nn.Linear(120, 84)
        self.output = nn.Linear(84, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (n, num_classes) for images (n, 1, 32, 32) normalized to [-1, 1]."""
        x = self.s2(squash(self.c1(images)))
        x = self.s4(squash(self.c3(x)))
        x = squash(self.c5(x)).flatten(1)
        logits: Tensor = self.output(squash(self.f6(x)))
        return logits


class Subsampling(nn.Module):
    """Subsampling layer: 2x2 sums with a trainable coefficient and bias per map, followed by
    `squash`.
    """

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.full((maps, 1, 1), 0.25))
        self.bias = nn.Parameter(torch.zeros(maps, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Subsample maps (n, maps, 2h, 2w) into maps (n, maps, h, w)."""
        return squash(4 * F.avg_pool2d(x, 2) * self.coefficient + self.bias)


class SparseConv2d(nn.Module):
    """Layer C3: 16 maps, each connected to some of the six S2 maps by 5x5 kernels; 1,516
    parameters.
    """

    see: Tensor

    def __init__(self) -> None:
        super().__init__()
        see = torch.zeros(len(SEES), 6, dtype=torch.bool)
        for row, maps in zip(see, SEES, strict=True):
            row[list(maps)] = True
        self.register_buffer("see", see, persistent=False)
        fan_in = 25 * see.sum(1)
        bound = fan_in.rsqrt()
        self.weight = nn.Parameter(
            (2 * torch.rand(int(see.sum()), 5, 5) - 1)
            * bound.repeat_interleave(see.sum(1))[:, None, None]
        )
        self.bias = nn.Parameter((2 * torch.rand(len(SEES)) - 1) * bound)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve maps (n, 6, h, w) into maps (n, 16, h - 4, w - 4)."""
        kernels = x.new_zeros(len(SEES), 6, 5, 5).masked_scatter(
            self.see[:, :, None, None], self.weight
        )
        return F.conv2d(x, kernels, self.bias)


def squash(x: Tensor) -> Tensor:
    """Return the scaled hyperbolic tangent 1.7159 tanh(2x/3) (appendix A)."""
    return 1.7159 * torch.tanh(x * (2 / 3))
