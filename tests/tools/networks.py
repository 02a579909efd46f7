"""User-defined networks for tests of `model=`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """A small residual network with batch norm."""

    def __init__(
        self, in_channels: int, num_classes: int, activation: Callable[[], nn.Module], maps: int = 4
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, maps, 5, stride=4)
        self.norm = nn.BatchNorm2d(maps)
        self.block = nn.Sequential(
            nn.Conv2d(maps, maps, 3, padding=1), nn.BatchNorm2d(maps), activation()
        )
        self.head = nn.Linear(maps, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.norm(self.stem(images))
        return self.head((x + self.block(x)).mean((2, 3)))


class Strided(nn.Module):
    """A network with a 1x1 convolution of stride 2, like the shortcuts of residual networks."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, 8, 3, padding=1)
        self.shortcut = nn.Conv2d(8, 16, 1, 2, bias=False)
        self.head = nn.Linear(16, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.shortcut(self.stem(images)).relu().mean((2, 3)))


class Noisy(nn.Module):
    """An activation that draws random numbers even in eval mode."""

    generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand(x.shape, generator=self.generator)


class Flat(nn.Module):
    """A linear network with batch norm over single numbers."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(1024, num_classes)
        self.norm = nn.BatchNorm1d(num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.fc(images.flatten(1)))


class Branch(nn.Module):
    """A network with a branch that torch.export refuses."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(1024, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        if float(images.mean()) > -2:
            return self.fc(images.flatten(1))
        return self.fc(-images.flatten(1))
