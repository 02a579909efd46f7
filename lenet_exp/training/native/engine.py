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
        self, lane: TrainingState, data: TrainingData, steps: int
    ) -> Callable[[Tensor, int], tuple[Tensor, Tensor]]:
        """Return a function that executes one training step of a run; see `TorchEngine.stepper`."""
        self._check(data)
        config, kernels, layout = lane.config, self._kernels, self._kernels.layout
        schedule, average = config.schedule, lane.average
        options, draws_noise = _options(lane), needs_random_numbers(config)
        weights, gradient = layout.move_parameters(lane.model), layout.new_array()
        rule = OptimizerRule(lane.optimizer, lane.model, layout)
        rule.update.clip_norm = config.training.clip_norm or 0.0
        # This variable keeps the array alive for as long as the kernels can write to its address.
        average_weights = None if average is None else layout.move_parameters(average)
        rule.update.average = None if average_weights is None else average_weights.data_ptr()
        changing, augmenting = depends_on_length(schedule), augments(config.augmentation)
        black = float(background(data.normalization)[0, 0, 0])
        changes = augment_options(config.augmentation, options.threads, black)
        everything = torch.arange(min(config.batch_size, len(data.train_index)))
        (group,) = lane.optimizer.param_groups

        def step(batch: Tensor, number: int) -> tuple[Tensor, Tensor]:
            images, labels, index = data.images, data.labels, batch
            if augmenting:
                changes.key1, changes.key2 = _key(lane.distortions)
                images, labels = kernels.augment(changes, images, labels, batch), labels[batch]
                index = everything[: len(batch)]
            if draws_noise:
                options.key1, options.key2 = _key(lane.noise)
            if changing:
                group["lr"] = lane.rates[0] * lr_factor(
                    schedule, number, steps, cosine, power=power
                )
            loss, hits = kernels.gradient(
                options, images, labels, index, weights=weights, gradient=gradient
            )
            update = rule.next_step(group["lr"])
            if average_weights is not None:
                update.average_decay = decay_at(config.training.ema_decay or 0.0, number + 1)
            kernels.update(update, weights, gradient)
            return torch.tensor(loss, dtype=torch.float32), torch.tensor(hits)

        return step

    def evaluate(self, lane: TrainingState, data: TrainingData) -> Evaluation:
        """Evaluate a lane on the validation images."""
        self._check(data)
        options = _options(lane)
        options.training = False
        weights, total, predictions = self._kernels.layout.copy_parameters(lane.eval_model), 0.0, []
        for part in data.val_index.split(EVAL_BATCH):
            loss, classes = self._kernels.evaluate(
                options, data.images, data.labels, part, weights=weights
            )
            total += loss * len(part)
            predictions.append(classes)
        found = torch.cat(predictions)
        logits = F.one_hot(found, self._kernels.layout.shape.classes).float()
        return Evaluation(total / len(data.val_index), found, logits)

    def mean(self, losses: Tensor, shares: Tensor) -> float:
        """Return an epoch's mean loss; see `TorchEngine.mean`.

        The sum is exact, so it does not depend on the order of its terms.
        """
        return math.fsum(
            loss * share for loss, share in zip(losses.tolist(), shares.tolist(), strict=True)
        )

    def _check(self, data: TrainingData) -> None:
        """Check the images' size, labels, and indices. The kernels do not check them."""
        n, shape = len(data.images), self._kernels.layout.shape
        if data.images.shape[1:] != (1, shape.side, shape.side):
            raise ValueError(
                f"images of {tuple(data.images.shape[1:])}: must be (1, {shape.side}, {shape.side})"
            )
        for name, numbers, limit in (
            ("label", data.labels, shape.classes),
            ("index", data.train_index, n),
            ("index", data.val_index, n),
        ):
            if len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < limit:
                raise ValueError(
                    f"{name} {int(numbers.min())} to {int(numbers.max())}: must be from 0 to {limit - 1}"
                )


def _options(lane: TrainingState) -> Options:
    return network_options(
        lane.config, lane.model, lane.config.num_threads or torch.get_num_threads()
    )


def _key(rng: torch.Generator) -> list[int]:
    """Draw the key of one step's random numbers: two 32-bit integers."""
    return [int(n) for n in torch.randint(-(2**31), 2**31, (2,), generator=rng)]
