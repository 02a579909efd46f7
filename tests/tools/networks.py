"""User-defined networks for tests of `model=`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """A small residual network with batch norm."""

    def __init__(self, in_channels: int, num_classes: int, activation: Callable[[], nn.Module], maps: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, maps, 5, stride=4)
        self.norm = nn.BatchNorm2d(maps)
        self.block = nn.Sequential(nn.Conv2d(maps, maps, 3, padding=1), nn.BatchNorm2d(maps), activation())
        self.head = nn.Linear(maps, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.norm(self.stem(images))
        return self.head((x + self.block(x)).mean((2, 3)))


class Strided(nn.Module):
    """A network with a 1x1 convolution of stride 2, like the shortcuts of residual networks."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.stem, self.shortcut = nn.Conv2d(in_channels, 8, 3, padding=1), nn.Conv2d(8, 16, 1, 2, bias=False)
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
        self.fc, self.norm = nn.Linear(1024, num_classes), nn.BatchNorm1d(num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.fc(images.flatten(1)))


class Wrong(nn.Module):
    """A network with one of several mistakes."""

    def __init__(self, num_classes: int, mistake: str = "none") -> None:
        super().__init__()
        self.mistake = mistake
        self.fc = nn.Linear(1024, num_classes + (mistake == "shape"))
        self.idle = nn.Linear(2, 2) if mistake == "idle" else nn.Identity()
        self.drop = nn.Dropout() if mistake == "dropout" else nn.Identity()
        if mistake == "constructor":
            raise RuntimeError("broken")

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(1)
        if self.mistake == "global":
            x = x + torch.rand(1)
        if self.mistake == "branch" and float(x.mean()) < -2:  # valid, but torch.export refuses the branch
            x = -x
        if self.mistake == "error":
            x = x[:, :3]
        if self.mistake == "view":
            x = images.repeat(1, 2, 1, 1).contiguous(memory_format=torch.channels_last).view(len(images), -1)[:, :1024]
        if self.mistake == "eval" and not self.training:
            raise ValueError("no eval")
        return (self.fc(x), x) if self.mistake == "pair" else self.fc(self.drop(x))  # type: ignore[return-value]

    def get_extra_state(self) -> object:
        return {"a": 1} if self.mistake == "state" else torch.zeros(1)

    def set_extra_state(self, state: object) -> None:
        pass
