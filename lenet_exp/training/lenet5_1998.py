"""LeNet-5 as published (LeCun et al. 1998, section II.B).

Its output layer is linear, instead of RBF units.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Table I: the maps of S2 that each map of C3 is connected to.
CONNECTIONS = (
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
                f"images with {in_channels} channels and {image_size}x{image_size} pixels: "
                "must have 1 channel and 32x32 pixels"
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
        x = self.s2(squash(self.c1(images)))  # (n, 6, 14, 14)
        x = self.s4(squash(self.c3(x)))  # (n, 16, 5, 5)
        x = squash(self.c5(x)).flatten(1)  # (n, 120)
        logits: Tensor = self.output(squash(self.f6(x)))
        return logits


class Subsampling(nn.Module):
    """Subsampling layer.

    It computes sums of 2x2 pixels with a trainable coefficient and bias per map, then `squash`.
    """

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.full((maps, 1, 1), 0.25))
        self.bias = nn.Parameter(torch.zeros(maps, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Subsample maps (n, maps, 2h, 2w) into maps (n, maps, h, w)."""
        sums = 4 * F.avg_pool2d(x, 2)
        return squash(sums * self.coefficient + self.bias)


class SparseConv2d(nn.Module):
    """Layer C3: 16 maps, each connected to some of the six S2 maps by 5x5 kernels.

    It has 60 kernels with 25 weights and 16 biases: 1,516 parameters. Each weight and bias is drawn
    from U(-b, b) with b = 1 / sqrt(fan_in), where a map with three S2 maps has a fan-in of 75.
    """

    see: Tensor

    def __init__(self) -> None:
        super().__init__()
        # (16, 6), true where a map is connected to an S2 map.
        is_connected = torch.zeros(len(CONNECTIONS), 6, dtype=torch.bool)
        for row, maps in zip(is_connected, CONNECTIONS, strict=True):
            row[list(maps)] = True
        self.register_buffer("see", is_connected, persistent=False)

        kernels_of_map = is_connected.sum(1)  # (16,)
        fan_in = 25 * kernels_of_map
        bound = fan_in.rsqrt()

        kernel_count = int(is_connected.sum())
        weight_draws = 2 * torch.rand(kernel_count, 5, 5) - 1
        kernel_bound = bound.repeat_interleave(kernels_of_map)  # (60,)
        self.weight = nn.Parameter(weight_draws * kernel_bound[:, None, None])
        bias_draws = 2 * torch.rand(len(CONNECTIONS)) - 1
        self.bias = nn.Parameter(bias_draws * bound)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve maps (n, 6, h, w) into maps (n, 16, h - 4, w - 4)."""
        # The kernels of missing connections stay 0.
        zeros = x.new_zeros(len(CONNECTIONS), 6, 5, 5)
        kernels = zeros.masked_scatter(self.see[:, :, None, None], self.weight)
        return F.conv2d(x, kernels, self.bias)


def squash(x: Tensor) -> Tensor:
    """Return the scaled hyperbolic tangent 1.7159 tanh(2x/3) (appendix A)."""
    return 1.7159 * torch.tanh(x * (2 / 3))
