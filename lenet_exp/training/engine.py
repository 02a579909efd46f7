"""Engines, which execute training steps and evaluate networks: eager PyTorch and native kernels."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Generator, Tensor, nn

from lenet_exp.config.schema import Config, EngineName
from lenet_exp.config.targets import instance
from lenet_exp.data.images import TrainingData
from lenet_exp.data.normalization import background
from lenet_exp.errors import ConfigError
from lenet_exp.machine import cpu_count
from lenet_exp.training.augmentation import augment, augments
from lenet_exp.training.evaluate import Evaluation, evaluate
from lenet_exp.training.losses import build_loss, reduced
from lenet_exp.training.native.build import BuildError, build
from lenet_exp.training.native.engine import NativeEngine
from lenet_exp.training.native.layout import NativeShape
from lenet_exp.training.native.library import describe_kernels, kernels, why_no_kernels
from lenet_exp.training.native.options import native_shape, why_unsupported
from lenet_exp.training.schedule import depends_on_length, lr_factor, own_factor
from lenet_exp.training.state import TrainingState, update_average

Step = Callable[[Tensor, int], tuple[Tensor, Tensor]]


class TorchEngine:
    """Engine that uses eager PyTorch, on any device.

    All engines keep weights, optimizer state, and generators in torch objects.
    """

    _loss: nn.Module | None = None  # as of the last `stepper`

    def stepper(self, state: TrainingState, data: TrainingData, steps: int) -> Step:
        """Return a function that executes one training step of a run.

        The function accepts the image indices of a batch, shape (n,), and the number of the step,
        counted from 0. It returns the batch's mean loss and the number of correct predictions in
        it.

        Args:
            state: training state of the run.
            data: training data on the device of the network.
            steps: total number of steps in the run.
        """
        model = state.model
        optimizer = state.optimizer
        average = state.average
        parameters = list(model.parameters())
        options = state.config.training

        schedule = state.config.schedule
        rate_changes = depends_on_length(schedule)
        lr_fraction: Callable[[int, int], float]
        if schedule.own:
            lr_fraction = own_factor(schedule.own)
        else:
            lr_fraction = partial(lr_factor, schedule)

        augmentation = state.config.augmentation
        is_augmented = augments(augmentation)
        own_augmentation: Callable[[Tensor, Generator], Tensor] | None = None
        if augmentation.own:
            own_augmentation = instance("augmentation.own", augmentation.own)

        classes = len(data.class_names)
        class_counts = data.labels[data.train_index].bincount(minlength=classes)  # (classes,)
        loss_function = build_loss(state.config, class_counts)
        self._loss = loss_function
        black = background(data.normalization).to(data.images.device)  # (channels, 1, 1)

        def step(batch: Tensor, number: int) -> tuple[Tensor, Tensor]:
            images = data.images[batch]  # (n, channels, side, side)
            labels = data.labels[batch]  # (n,)
            if is_augmented:
                images = augment(images, augmentation, state.distortions, black)
            if own_augmentation is not None:
                images = own_augmentation(images, state.distortions)

            if rate_changes:
                fraction = lr_fraction(number, steps)
                for group, rate in zip(optimizer.param_groups, state.rates, strict=True):
                    group["lr"] = rate * fraction

            logits = model(images)  # (n, outputs)
            loss = reduced(loss_function.train(), logits, labels, "mean")  # shape ()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if options.clip_norm is not None:
                nn.utils.clip_grad_norm_(parameters, options.clip_norm)
            optimizer.step()

            if average is not None and options.ema_decay is not None:
                update_average(average, model, options.ema_decay, number + 1)
            correct = (logits.detach().argmax(1) == labels).sum()  # shape ()
            return loss.detach(), correct

        return step

    def evaluate(self, state: TrainingState, data: TrainingData) -> Evaluation:
        """Evaluate a state's weights on the validation images."""
        return evaluate(state.eval_model, data.images, data.labels, data.val_index, loss=self._loss)

    def mean(self, losses: Tensor, shares: Tensor) -> float:
        """Return an epoch's mean loss.

        Args:
            losses: mean loss of each batch, shape (steps,).
            shares: fraction of the training images in each batch, shape (steps,).
        """
        return float(losses @ shares)


Engine = TorchEngine | NativeEngine

ASKED_FOR = "asked for"


@dataclass(frozen=True)
class EngineChoice:
    """The chosen engine and the reason for the choice.

    Attributes:
        engine: chosen engine.
        why: reason for the choice, as a short phrase.
    """

    engine: EngineName
    why: str

    @property
    def words(self) -> str:
        """Description of the choice for the user."""
        if self.engine is EngineName.native:
            return f"native, compiled for {describe_kernels()}"
        if self.why == ASKED_FOR:
            return self.engine.value
        return f"{self.engine.value}, because {self.why}"


def choose_engine(config: Config) -> EngineChoice:
    """Choose the engine for a job, and build the kernels if needed.

    The engine is chosen when a job is created. The choice never depends on timing.

    Raises:
        ConfigError: `engine=native` is set, but the native engine cannot train the configuration on
            this machine.
    """
    if config.engine is EngineName.torch:
        return EngineChoice(EngineName.torch, ASKED_FOR)

    is_asked_for = config.engine is EngineName.native
    why_not = why_not_native(config)
    if why_not is None:
        why = ASKED_FOR if is_asked_for else "it supports all flags of this run"
        return EngineChoice(EngineName.native, why)
    if is_asked_for:
        raise ConfigError(f"engine=native: {why_not}; set engine=auto or engine=torch")

    if why_unsupported(config):
        return EngineChoice(EngineName.torch, why_not)
    faster = "the native engine would be several times faster"
    return EngineChoice(EngineName.torch, f"{why_not}; {faster}")


def why_not_native(config: Config) -> str | None:
    """Return why the native engine cannot train a configuration here, or None if it can."""
    return why_unsupported(config) or why_no_kernels() or None


def engine_of(config: Config) -> Engine:
    """Return an instance of a configuration's engine.

    Args:
        config: configuration with the engine already chosen.

    Raises:
        ConfigError: the engine is not available in this release or on this machine. It is not
            replaced by a different engine, because the results would not be identical.
    """
    if config.engine is EngineName.torch:
        return TorchEngine()

    choose_engine(config)  # raises an error if the native engine cannot be used
    kernels_or_reason = kernels(native_shape(config))
    if isinstance(kernels_or_reason, str):
        raise ConfigError(f"engine=native: {kernels_or_reason}; set engine=torch")
    return NativeEngine(kernels_or_reason)


def native_shapes(configs: Iterable[Config]) -> list[NativeShape]:
    """Return the distinct shapes of the networks that the native engine trains, in order.

    Args:
        configs: configurations with the engine already chosen.
    """
    shapes = [native_shape(config) for config in configs if config.engine is EngineName.native]
    return list(dict.fromkeys(shapes))


def compile_ahead(shapes: Sequence[NativeShape]) -> None:
    """Compile the kernels for shapes in the background, so that few workers need to wait for them.

    Args:
        shapes: shapes in the order in which they are compiled.
    """
    remaining_shapes = iter(shapes)  # shared by the threads

    def build_next() -> None:
        for shape in remaining_shapes:
            # The job that needs the kernels reports why they cannot be built.
            with contextlib.suppress(BuildError):
                build(None, shape)

    for _ in range(min(len(shapes), cpu_count())):
        threading.Thread(target=build_next, daemon=True).start()
