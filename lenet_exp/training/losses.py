"""Loss functions: modules that map logits and labels to one loss per image.

A loss of the user's own is a module with the same interface. In addition to its keywords, its
constructor can accept the arguments `label_smoothing` and `class_counts` (number of training images
in each class, shape (classes,), int64).
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lenet_exp.config.class_groups import option_name
from lenet_exp.config.schema import Config
from lenet_exp.config.targets import keywords, option_class
from lenet_exp.errors import ConfigError

BALANCED = "balanced"  # value of `class_weights`


class CrossEntropy(nn.Module):
    """Cross-entropy, with smoothed labels during training (Szegedy et al. 2016, section 7).

    Args:
        class_weights: factor for the loss of each class's images: None for 1, a list, or `balanced`
            for factors that are inversely proportional to the numbers of training images and have
            the mean 1 over these images.
        label_smoothing: fraction of each label that is spread evenly over all classes, in [0, 1).
        class_counts: number of training images in each class, shape (classes,), int64.

    Raises:
        ConfigError: the weights are not positive numbers, one for each class.
    """

    weights: Tensor | None

    def __init__(
        self,
        class_weights: str | Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        class_counts: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.register_buffer("weights", _weights(class_weights, class_counts))

    @property
    def current_smoothing(self) -> float:
        """The label smoothing in the current mode; 0 in evaluation."""
        return self.label_smoothing if self.training else 0.0

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each image, shape (n,)."""
        smoothing = self.current_smoothing
        losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
        if self.weights is not None:
            losses = losses * self.weights[labels]
        return losses


class Focal(nn.Module):
    """Focal loss (Lin et al. 2017, section 3): cross-entropy times (1 - p)^gamma.

    Here, p is the probability of the true class.

    Args:
        gamma: exponent, at least 0.
        class_weights, class_counts: see `CrossEntropy`.
    """

    def __init__(
        self,
        gamma: float = 2.0,
        class_weights: str | Sequence[float] | None = None,
        class_counts: Tensor | None = None,
    ) -> None:
        super().__init__()
        if gamma < 0:
            raise ConfigError(f"loss.gamma={gamma}: must be at least 0")
        self.gamma = gamma
        self.cross_entropy = CrossEntropy(class_weights, class_counts=class_counts)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each image, shape (n,)."""
        p = logits.softmax(1).gather(1, labels[:, None])[:, 0]  # (n,)
        # Where p rounds to 1, the gradient of a power below 1 would be infinite.
        factors = (1 - p).clamp(min=torch.finfo(p.dtype).eps) ** self.gamma
        return factors * cast(Tensor, self.cross_entropy(logits, labels))


def build_loss(config: Config, class_counts: Tensor) -> nn.Module:
    """Return a configuration's loss function, in training mode, on the device of `class_counts`.

    Args:
        class_counts: number of training images in each class, shape (classes,), int64.

    Raises:
        ConfigError: the loss rejects its arguments, or label smoothing is set and the loss does not
            support it.
    """
    cls = option_class("loss", config.loss)
    smoothing = config.training.label_smoothing
    accepted = inspect.signature(cls).parameters
    if smoothing and "label_smoothing" not in accepted:
        raise ConfigError(
            f"training.label_smoothing={smoothing}: must be 0 with loss={option_name(config.loss)}"
        )

    supplied = {"label_smoothing": smoothing, "class_counts": class_counts}
    arguments = {name: value for name, value in supplied.items() if name in accepted}
    arguments |= keywords("loss", config.loss)
    loss = cast(nn.Module, cls(**arguments))
    return loss.to(class_counts.device)


def reduced(loss: nn.Module, logits: Tensor, labels: Tensor, reduction: str) -> Tensor:
    """Return the mean or the sum of a batch's losses.

    Args:
        logits: tensor of shape (n, classes).
        labels: tensor of shape (n,), int64.
        reduction: `mean` or `sum`.
    """
    # One operation, as in earlier releases; two operations could round differently.
    if type(loss) is CrossEntropy and loss.weights is None:
        smoothing = loss.current_smoothing
        return F.cross_entropy(logits, labels, reduction=reduction, label_smoothing=smoothing)

    losses: Tensor = loss(logits, labels)
    return losses.mean() if reduction == "mean" else losses.sum()


def _weights(
    class_weights: str | Sequence[float] | None, class_counts: Tensor | None
) -> Tensor | None:
    """Return the factor for each class's losses, shape (classes,), float32; None for 1.

    Example: with 30 and 10 images, balanced factors are 40 / (2 * 30) = 0.67 and 40 / (2 * 10) = 2.
    """
    if class_weights is None:
        return None

    if class_weights == BALANCED and class_counts is not None:
        # The bound of 1 keeps the factor of a class without images finite.
        divisors = class_counts.count_nonzero() * class_counts.clamp(min=1)
        return (class_counts.sum() / divisors).float()

    numbers = class_weights if isinstance(class_weights, list | tuple) else []
    if not numbers or not all(_is_weight(number) for number in numbers):
        raise ConfigError(
            f"loss.class_weights={class_weights}: must be null, balanced, "
            "or a list of numbers greater than 0"
        )
    if class_counts is not None and len(numbers) != len(class_counts):
        raise ConfigError(
            f"loss.class_weights: has {len(numbers)} weights; "
            f"must be {len(class_counts)}, one for each class"
        )
    return torch.tensor(numbers, dtype=torch.float32)


def _is_weight(value: float) -> bool:
    """Return whether a value is a finite number greater than 0; true and false are not numbers."""
    return type(value) in (int, float) and 0 < value < float("inf")
