"""Calibration of a model's probabilities: expected calibration error, negative log-likelihood, and Brier score."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from lenet_exp.training.score import Calibration, ReliabilityBin

BINS = 15  # equal-width bins of the highest probability, as in Guo et al. 2017


@dataclass(frozen=True)
class Temperature:
    """A temperature by which logits are divided, and the number of validation images on which it was fitted."""

    value: float = 1.0
    val_images: int = 0


def measure_calibration(logits: Tensor, labels: Tensor, temperature: Temperature = Temperature()) -> Calibration:
    """Compute the expected calibration error, the negative log-likelihood, and the Brier score.

    Args:
        logits: tensor of shape (n, classes), before scaling.
        labels: true classes, tensor of shape (n,), int64.
    """
    log_p = F.log_softmax(logits.double() / temperature.value, dim=1)
    p = log_p.exp()
    confidence, predicted = p.max(1)
    position = (confidence * BINS).ceil().long().clamp(1, BINS) - 1  # bin m is ((m - 1) / BINS, m / BINS]
    images = position.bincount(minlength=BINS)
    total = position.bincount(confidence, BINS)
    correct = position.bincount((predicted == labels).double(), BINS)
    bins = [
        ReliabilityBin(n, float(total[i]) / n, float(correct[i]) / n) for i, n in enumerate(images.tolist()) if n > 0
    ]
    return Calibration(
        ece=float((total - correct).abs().sum()) / len(labels),
        nll=float(F.nll_loss(log_p, labels)),
        brier=float((p - F.one_hot(labels, logits.shape[1])).square().sum(1).mean()),
        bins=bins,
        temperature=temperature.value,
        val_images=temperature.val_images,
    )
