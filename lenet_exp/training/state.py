"""State of a run during training: network, optimizer, generators, position, best weights so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from lenet_exp.config.schema import Config, EngineName
from lenet_exp.seeds import generator
from lenet_exp.training.native.initial import initialize
from lenet_exp.training.network import in_training_format, load_given, network_of
from lenet_exp.training.optimizer import build_optimizer, group_rates


@dataclass(frozen=True)
class Best:
    """The epoch with the best value of the metric so far.

    With `training.select=last`, it is the last epoch so far.

    Attributes:
        epoch: number of the epoch, counted from 1.
        val_accuracy: validation accuracy at the end of the epoch, as a fraction.
        weights: weights at the end of the epoch, on the CPU.
        predictions: predicted classes of the validation images, shape (n_val,).
        val_metric: value of the metric; None if the metric is accuracy.
    """

    epoch: int
    val_accuracy: float
    weights: dict[str, Tensor]
    predictions: Tensor
    val_metric: float | None = None

    @property
    def value(self) -> float:
        """The value of the metric."""
        return self.val_accuracy if self.val_metric is None else self.val_metric


@dataclass(frozen=True)
class Position:
    """The position of a run in its training, and the results so far in its current epoch.

    Attributes:
        epoch: number of the current epoch, counted from 1.
        steps: number of completed steps in this epoch.
        losses: mean loss of each completed batch, shape (steps,).
        correct: number of correct predictions so far in this epoch.
        step_losses: losses of single steps; see `EpochResult`.
        seconds: time spent in this epoch so far, in seconds.
        order: state of the order generator at the start of the epoch; None if no step of the epoch
            is complete.
    """

    epoch: int = 1
    steps: int = 0
    losses: Tensor = field(default_factory=lambda: torch.zeros(0))
    correct: int = 0
    step_losses: tuple[tuple[int, float, int], ...] = ()
    seconds: float = 0.0
    order: Tensor | None = None


@dataclass
class TrainingState:
    """The state of a run during training.

    Attributes:
        rates: learning rate of each of the optimizer's parameter groups, before the schedule
            changes it.
        order, noise, distortions: random number generators for the image order, for dropout masks
            and random slopes, and for augmentation.
        average: network with the moving average of the weights; None if `training.ema_decay` is not
            set.
        last_right: which validation images are right after the last epoch so far (see
            `score.packed`); None before the end of the first epoch.
        progress: number of the last epoch (counted from 1) that improved the metric by more than
            `training.min_delta`, and its metric, negative if smaller is better; None before the end
            of the first epoch.
    """

    config: Config
    model: nn.Module
    optimizer: torch.optim.Optimizer
    rates: tuple[float, ...]
    order: torch.Generator
    noise: torch.Generator
    distortions: torch.Generator
    average: nn.Module | None = None
    best: Best | None = None
    last_right: str | None = None
    progress: tuple[int, float] | None = None
    position: Position = field(default_factory=Position)

    @property
    def eval_model(self) -> nn.Module:
        """Network that is validated and saved: `average` if it is set; if not, `model`."""
        return self.average or self.model

    @property
    def stopped_early(self) -> bool:
        """Whether training stopped early.

        Training stops early after `training.patience` epochs in which the metric did not improve,
        unless the last epoch is already complete.
        """
        patience = self.config.training.patience
        if patience is None or self.progress is None:
            return False

        last_epoch = self.position.epoch - 1
        if last_epoch >= self.config.num_epoch:
            return False

        last_improved_epoch, _ = self.progress
        return last_epoch - last_improved_epoch >= patience

    def note_progress(self, epoch: int, score: float) -> None:
        """Update the early-stopping state with an epoch's metric, negative if smaller is better."""
        if self.progress is None:
            self.progress = (epoch, score)
            return

        _, last_improved_score = self.progress
        if score > last_improved_score + self.config.training.min_delta:
            self.progress = (epoch, score)


def new_training_state(
    config: Config, device: torch.device, given: Mapping[str, Tensor] | None = None
) -> TrainingState:
    """Return the state of a run at the start of training.

    The run's random numbers derive from `config.seed`.

    Args:
        given: trained weights to start from; see `load_given`.
    """
    noise = generator(config.seed, "noise", device)
    model = _network(config, device, noise, given)
    average: nn.Module | None = None
    if config.training.ema_decay is not None:
        average = _network(config, device, noise, given)
    optimizer = build_optimizer(config, model.parameters())

    return TrainingState(
        config=config,
        model=model,
        optimizer=optimizer,
        rates=group_rates(optimizer),
        order=generator(config.seed, "order"),
        noise=noise,
        distortions=generator(config.seed, "augmentation", device),
        average=average,
    )


def _network(
    config: Config, device: torch.device, noise: torch.Generator, given: Mapping[str, Tensor] | None
) -> nn.Module:
    model = network_of(config, generator(config.seed, "weights"), noise).to(device)
    if config.engine is EngineName.native:
        initialize(model, config.seed)
    if given is not None:
        load_given(model, given)
    return in_training_format(model)


def decay_at(decay: float, step: int) -> float:
    """Return the effective decay at a step (counted from 1).

    The decay is smaller in early steps, so that the average forgets the initial weights sooner.
    """
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move `average` toward `model` after a step (counted from 1).

    The new average is d * average + (1 - d) * model. The factor d is `decay_at(decay, step)`, as in
    TensorFlow's ExponentialMovingAverage. Buffers are copied.
    """
    move_average = get_ema_multi_avg_fn(decay_at(decay, step))
    move_average(list(average.parameters()), list(model.parameters()), 0)

    for average_buffer, model_buffer in zip(average.buffers(), model.buffers(), strict=True):
        average_buffer.copy_(model_buffer)
