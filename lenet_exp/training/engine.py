"""What does a step of a training, and what judges its network: an engine. PyTorch, eager, is the one there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn
from torch.nn import functional as F

from lenet_exp.config.schema import Config, EngineName, Shape
from lenet_exp.data.images import TrainingData
from lenet_exp.training.augmentation import augment, augments
from lenet_exp.training.average import follow
from lenet_exp.training.evaluate import evaluate
from lenet_exp.training.lane import Lane
from lenet_exp.training.schedule import lr_factor

Step = Callable[[Tensor, int], tuple[Tensor, Tensor]]


class Engine(Protocol):
    """Changes a lane's weights, optimizer state and generators, and keeps them where torch has them."""

    def stepper(self, lane: Lane, data: TrainingData, steps: int) -> Step:
        """One step of a lane: a function from a batch's index (n,) and the step (from 0, of `steps` in the whole
        training) to the batch's mean loss and number of hits."""

    def judge(self, lane: Lane, data: TrainingData) -> tuple[float, Tensor]:
        """Mean loss, and the predicted classes (n_val,) on the CPU, of the validation images."""


class TorchEngine:
    """Eager PyTorch, on any device."""

    def stepper(self, lane: Lane, data: TrainingData, steps: int) -> Step:
        """As of `Engine`."""
        model, optimizer, average = lane.model, lane.optimizer, lane.average
        options, augmentation, schedule = lane.config.training, lane.config.augmentation, lane.config.schedule
        peak = lane.lr
        changing, augmenting = schedule.shape is not Shape.constant, augments(augmentation)
        parameters = list(model.parameters())

        def step(batch: Tensor, number: int) -> tuple[Tensor, Tensor]:
            images, labels = data.images[batch], data.labels[batch]
            if augmenting:
                images = augment(images, augmentation, lane.distortions)
            if changing:
                for group in optimizer.param_groups:
                    group["lr"] = peak * lr_factor(schedule, number, steps)
            logits = model(images)
            loss = F.cross_entropy(logits, labels, label_smoothing=options.label_smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if options.clip_norm is not None:
                nn.utils.clip_grad_norm_(parameters, options.clip_norm)
            optimizer.step()
            if average is not None and options.ema_decay is not None:
                follow(average, model, options.ema_decay, number + 1)
            return loss.detach(), (logits.detach().argmax(1) == labels).sum()

        return step

    def judge(self, lane: Lane, data: TrainingData) -> tuple[float, Tensor]:
        """As of `Engine`."""
        return evaluate(lane.judged, data.images, data.labels, data.val_index)


ENGINES: dict[EngineName, type[Engine]] = {EngineName.torch: TorchEngine}


def choose_engine(asked: EngineName) -> EngineName:
    """The engine for an `engine` flag, chosen when a job is made; `auto` is torch."""
    return EngineName.torch if asked is EngineName.auto else asked


def engine_of(config: Config) -> Engine:
    """The engine of a run."""
    return ENGINES[choose_engine(config.engine)]()
