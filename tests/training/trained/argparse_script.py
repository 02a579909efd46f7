"""The network of the argparse script, saved as a pickle of the whole module, as the script does."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, nn


class LeNet5(nn.Module):
    """LeNet-5 with the attribute names of the original script."""

    __module__ = "lenet5"  # the module name in the script's pickles

    def __init__(self, activation: Callable[[], nn.Module], dropout: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.activation1 = activation()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.activation2 = activation()
        self.pool2 = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(400, 120)
        self.activation3 = activation()
        self.fc2 = nn.Linear(120, 84)
        self.activation4 = activation()
        self.fc3 = nn.Linear(84, 10)
        self.dropout1 = nn.Dropout(dropout) if dropout else None
        self.dropout2 = nn.Dropout(dropout) if dropout else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(self.activation1(self.conv1(x)))
        x = self.pool2(self.activation2(self.conv2(x))).flatten(1)
        x = self.activation3(self.fc1(x))
        if self.dropout1:
            x = self.dropout1(x)
        x = self.activation4(self.fc2(x))
        if self.dropout2:
            x = self.dropout2(x)
        return self.fc3(x)


def save(network: LeNet5, path: Path) -> None:
    """Write the `.pkl`; the pickle names the class, so its module must exist while saving."""
    module = types.ModuleType(LeNet5.__module__)
    module.LeNet5 = LeNet5  # type: ignore[attr-defined]
    with patch.dict(sys.modules, {LeNet5.__module__: module}):
        torch.save(network, path)
