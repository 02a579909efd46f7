"""Metrics: functions of the labels and logits of the validation images that return a number.

A metric of the user's own is a function, or a class whose instances are called, with the same
arguments.
"""

from __future__ import annotations

import math

from torch import Tensor, float64
from torch.nn import functional as F

from lenet_exp.config.metric import Metric
from lenet_exp.config.schema import Option
from lenet_exp.config.targets import instance
from lenet_exp.training.evaluate import Evaluation

LOSS = "lenet_exp.training.metrics.loss"


def accuracy(labels: Tensor, logits: Tensor) -> float:
    """Return the fraction of correct predictions.

    Args:
        labels: tensor of shape (n,), int64.
        logits: tensor of shape (n, outputs).
    """
    return float((logits.argmax(1) == labels).double().mean())


def loss(labels: Tensor, logits: Tensor) -> float:
    """Return the mean cross-entropy. As the metric of a run, this is the loss that the run's own
    `loss` returns.
    """
    return float(F.cross_entropy(logits, labels))


def balanced_accuracy(labels: Tensor, logits: Tensor) -> float:
    """Return the mean recall of the classes that occur in the labels (Brodersen et al. 2010)."""
    correct, actual, _ = _counts(labels, logits)
    return float((correct / actual)[actual > 0].mean())


def macro_f1(labels: Tensor, logits: Tensor) -> float:
    """Return the mean F1 score of the classes that occur in the labels or predictions, as
    scikit-learn does.
    """
    correct, actual, predicted = _counts(labels, logits)
    return float((2 * correct / (actual + predicted))[actual + predicted > 0].mean())


def measure(option: Option, labels: Tensor, found: Evaluation) -> float:
    """Return the value of a run's metric.

    Args:
        option: content of the metric's option.
        labels: labels of the validation images, shape (n,), int64, on the CPU.
        found: evaluation of the network on these images.

    Raises:
        ValueError: the value is not a finite number.
    """
    value = (
        found.loss
        if option["_target_"] == LOSS
        else float(instance("metric", option)(labels, found.logits))
    )
    if not math.isfinite(value):
        raise ValueError(f"{Metric.of(option).name}: returned {value}; must be a finite number")
    return value


def _counts(labels: Tensor, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the numbers of correct, actual, and predicted images of each class."""
    predictions, classes = logits.argmax(1), logits.shape[1]
    numbers = (labels[predictions == labels], labels, predictions)
    correct, actual, predicted = (n.bincount(minlength=classes).to(float64) for n in numbers)
    return correct, actual, predicted
