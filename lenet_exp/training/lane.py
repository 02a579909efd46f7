"""One run inside a training: its network, optimizer, generators, where it stands, and the best weights so far."""

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


@dataclass(frozen=True)
class Position:
    """Where a training stands: in `epoch` (from 1), after `steps` of its steps, and what those gave.

    Attributes:
        losses: (steps,) mean loss of each batch.
        correct: hits among the images so far.
        step_losses: as in `EpochResult`.
        seconds: spent in this epoch.
        order: state of the order generator at the epoch's start; None at the start of an epoch.
    """

    epoch: int = 1
    steps: int = 0
    losses: Tensor = field(default_factory=lambda: torch.zeros(0))
    correct: int = 0
    step_losses: tuple[tuple[int, float, int], ...] = ()
    seconds: float = 0.0
    order: Tensor | None = None


@dataclass
class Lane:
    """A run's state in training. `order` draws the order of the images, `noise` dropout masks and random slopes."""

    config: Config
    model: LeNet5
    optimizer: torch.optim.Optimizer
    order: torch.Generator
    noise: torch.Generator
    best: Best | None = None
    position: Position = field(default_factory=Position)


def new_lane(config: Config, device: torch.device) -> Lane:
    """The lane at the start of training; everything random in it comes from `config.seed`."""
    noise = generator(config.seed, "noise", device)
    model = LeNet5(
        config.activation,
        config.regularization.dropout_rate,
        weights=generator(config.seed, "weights"),
        noise=noise,
    ).to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    return Lane(config, model, build_optimizer(config, model.parameters()), generator(config.seed, "order"), noise)
