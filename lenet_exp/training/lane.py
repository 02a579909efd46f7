"""One run inside a training: its network, optimizer, generators and the best weights so far."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from lenet_exp.config.schema import Config
from lenet_exp.training.lenet5 import LeNet5
from lenet_exp.training.optimizer import build_optimizer
from lenet_exp.training.seeds import generator


@dataclass(frozen=True)
class Best:
    """The epoch (from 1) with the best validation accuracy, its weights on the CPU and its predictions (n_val,)."""

    epoch: int
    val_accuracy: float
    weights: dict[str, Tensor]
    predictions: Tensor


@dataclass
class Lane:
    """A run's state in training."""

    config: Config
    model: LeNet5
    optimizer: torch.optim.Optimizer
    order: torch.Generator
    best: Best | None = field(default=None)


def new_lane(config: Config, device: torch.device) -> Lane:
    """The lane at the start of training; everything random in it comes from `config.seed`."""
    model = LeNet5(
        config.activation,
        config.regularization.dropout_rate,
        weights=generator(config.seed, "weights"),
        noise=generator(config.seed, "noise", device),
    ).to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    return Lane(config, model, build_optimizer(config, model.parameters()), generator(config.seed, "order"))
