"""The native engine, which trains on the CPU with the kernels and has the methods of `TorchEngine`.

The parameters, average, and optimizer state of a run remain torch tensors. During training, these
tensors are views of the kernels' arrays. Therefore, they are up to date after each step, and
checkpoints are written as with `TorchEngine`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from lenet_exp.data.images import TrainingData
from lenet_exp.data.normalization import background
from lenet_exp.training.augmentation import augments
from lenet_exp.training.evaluate import EVAL_BATCH, Evaluation
from lenet_exp.training.native.arithmetic import cosine, power
from lenet_exp.training.native.library import Kernels, Options
from lenet_exp.training.native.options import augment_options, needs_random_numbers, network_options
from lenet_exp.training.native.rule import OptimizerRule
from lenet_exp.training.schedule import depends_on_length, lr_factor
from lenet_exp.training.state import TrainingState, decay_at


class NativeEngine:
    """Engine for configurations that the kernels support; see `options.why_unsupported`.

    Args:
        kernels: kernels of this machine; see `library.kernels`.
    """

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels

    def stepper(
        self, state: TrainingState, data: TrainingData, steps: int
    ) -> Callable[[Tensor, int], tuple[Tensor, Tensor]]:
        """Return a function that executes one training step of a run; see `TorchEngine.stepper`."""
        self._check(data)
        config = state.config
        kernels = self._kernels
        layout = kernels.layout
        options = _network_options(state)
        draws_noise = needs_random_numbers(config)

        weights = layout.move_parameters(state.model)  # (parameters,)
        gradient = layout.new_array()  # (parameters,)
        rule = OptimizerRule(state.optimizer, state.model, layout)
        rule.update.clip_norm = config.training.clip_norm or 0.0
        (group,) = state.optimizer.param_groups

        # This variable keeps the array alive for as long as the kernels can write to its address.
        average_weights: Tensor | None = None  # (parameters,)
        if state.average is not None:
            average_weights = layout.move_parameters(state.average)
            rule.update.average = average_weights.data_ptr()

        schedule = config.schedule
        rate_changes = depends_on_length(schedule)
        is_augmented = augments(config.augmentation)
        black = float(background(data.normalization)[0, 0, 0])
        augmentation = augment_options(config.augmentation, options.threads, black)
        # Indices of the images of an augmented batch, which are in an array of their own.
        batch_indices = torch.arange(min(config.batch_size, len(data.train_index)))

        def step(batch: Tensor, number: int) -> tuple[Tensor, Tensor]:
            images = data.images  # (n, 1, side, side)
            labels = data.labels  # (n,)
            index = batch  # (count,)
            if is_augmented:
                augmentation.key1, augmentation.key2 = _key(state.distortions)
                images = kernels.augment(augmentation, images, labels, batch)
                labels = labels[batch]
                index = batch_indices[: len(batch)]
            if draws_noise:
                options.key1, options.key2 = _key(state.noise)

            if rate_changes:
                fraction = lr_factor(schedule, number, steps, cosine, power=power)
                group["lr"] = state.rates[0] * fraction

            loss, correct = kernels.gradient(
                options, images, labels, index, weights=weights, gradient=gradient
            )
            update = rule.next_step(group["lr"])
            if average_weights is not None:
                update.average_decay = decay_at(config.training.ema_decay or 0.0, number + 1)
            kernels.update(update, weights, gradient)
            return torch.tensor(loss, dtype=torch.float32), torch.tensor(correct)

        return step

    def evaluate(self, state: TrainingState, data: TrainingData) -> Evaluation:
        """Evaluate a state's weights on the validation images."""
        self._check(data)
        options = _network_options(state)
        options.training = False
        layout = self._kernels.layout
        weights = layout.copy_parameters(state.eval_model)  # (parameters,)

        loss_sum = 0.0
        predictions_of_parts = []
        for part in data.val_index.split(EVAL_BATCH):
            mean_loss, predictions = self._kernels.evaluate(
                options, data.images, data.labels, part, weights=weights
            )
            loss_sum += mean_loss * len(part)
            predictions_of_parts.append(predictions)

        predictions = torch.cat(predictions_of_parts)  # (n_val,)
        logits = F.one_hot(predictions, layout.shape.classes).float()  # (n_val, classes)
        return Evaluation(loss_sum / len(data.val_index), predictions, logits)

    def mean(self, losses: Tensor, shares: Tensor) -> float:
        """Return an epoch's mean loss; see `TorchEngine.mean`.

        The sum is exact, so it does not depend on the order of its terms.
        """
        losses_and_shares = zip(losses.tolist(), shares.tolist(), strict=True)
        return math.fsum(loss * share for loss, share in losses_and_shares)

    def _check(self, data: TrainingData) -> None:
        """Check the images' size, labels, and indices. The kernels do not check them."""
        shape = self._kernels.layout.shape
        image_shape = tuple(data.images.shape[1:])
        if image_shape != (1, shape.side, shape.side):
            raise ValueError(f"images of {image_shape}: must be (1, {shape.side}, {shape.side})")

        _check_range("label", data.labels, shape.classes)
        _check_range("index", data.train_index, len(data.images))
        _check_range("index", data.val_index, len(data.images))


def _check_range(name: str, numbers: Tensor, limit: int) -> None:
    """Check that all numbers are from 0 to limit - 1."""
    if len(numbers) == 0:
        return

    smallest = int(numbers.min())
    largest = int(numbers.max())
    if not 0 <= smallest <= largest < limit:
        raise ValueError(f"{name} {smallest} to {largest}: must be from 0 to {limit - 1}")


def _network_options(state: TrainingState) -> Options:
    threads = state.config.num_threads or torch.get_num_threads()
    return network_options(state.config, state.model, threads)


def _key(rng: torch.Generator) -> list[int]:
    """Draw the key of one step's random numbers: two 32-bit integers."""
    return [int(n) for n in torch.randint(-(2**31), 2**31, (2,), generator=rng)]
