"""Scores a network on the test set: accuracy, results for each class, confusion matrix, and
calibration.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from sklearn.metrics import precision_recall_fscore_support
from torch import Tensor
from torch.nn import functional as F

from lenet_exp.config.image_shape import ImageShape
from lenet_exp.config.schema import Dataset, Reader
from lenet_exp.data.images import pixels_digest
from lenet_exp.data.normalization import normalize
from lenet_exp.data.readers import RawImages
from lenet_exp.errors import ConfigError
from lenet_exp.tracking.models.load import TrainedModel
from lenet_exp.training.evaluate import predict_logits
from lenet_exp.training.score import (
    Calibration,
    ClassScore,
    ReliabilityBin,
    Score,
    confusion_matrix,
)

BINS = 15  # equal-width bins of the highest probability, as in Guo et al. 2017


def dataset_for(model: TrainedModel, dataset: Dataset) -> Dataset:
    """Return a dataset with the flags that determine how its images are read set as for a model's
    training images.

    Raises:
        ConfigError: the images or the classes of the dataset do not fit the model.
    """
    its, shape = model.record.config.dataset if model.record is not None else None, model.shape
    if its is not None:
        dataset = replace(dataset, class_names=dataset.class_names or its.class_names)
        if its.name == dataset.name or dataset.reader in (Reader.pictures, Reader.arrays):
            dataset = replace(dataset, channels=its.channels, image_size=its.image_size)
    found = ImageShape.of(replace(dataset, exact_classes=True))
    if (found.channels, found.size) != (shape.channels, shape.size):
        trained_on = f" (dataset {its.name})" if its is not None else ""
        raise ConfigError(
            f"dataset={dataset.name}: has {found}, but {model.name} was trained on {shape}{trained_on}"
        )
    if found.num_classes > shape.num_classes:
        raise ConfigError(
            f"dataset={dataset.name}: has {found.num_classes} classes, but {model.name} has {shape.num_classes} outputs"
        )
    return dataset


@dataclass(frozen=True)
class TestOutputs:
    """The outputs of a model for a test set.

    Attributes:
        dataset: dataset that fits the model; see `dataset_for`.
        raw: images and labels of the test set.
        logits: tensor of shape (n, classes), float32, on the CPU.
    """

    dataset: Dataset
    raw: RawImages
    logits: Tensor


def logits_of(
    model: TrainedModel, images: Tensor, white: int, batch_size: int, device: torch.device
) -> Tensor:
    """Return the logits, shape (n, classes), of a model for raw images with pixels in [0, white]."""
    scaled = normalize(images, white, model.shape.size, model.normalization).to(device)
    return predict_logits(model.network.to(device), scaled, batch_size)


def score_of(outputs: TestOutputs) -> Score:
    """Return the score of a model from its outputs."""
    raw, logits = outputs.raw, outputs.logits
    predictions, num_classes = logits.argmax(1), logits.shape[1]
    precision, recall, f1, support = precision_recall_fscore_support(
        raw.labels.numpy(), predictions.numpy(), labels=list(range(num_classes)), zero_division=0.0
    )
    classes = [
        ClassScore(
            name, float(precision[i]), float(recall[i]), float(f1[i]), support=int(support[i])
        )
        for i, name in enumerate(outputs.dataset.class_names or [])
    ]
    return Score(
        correct=int((predictions == raw.labels).sum()),
        total=len(raw.labels),
        classes=classes,
        confusion_matrix=confusion_matrix(raw.labels, predictions, num_classes),
        source=raw.source,
        data_digest=pixels_digest(raw.images, raw.labels, raw.white),
        calibration=measure_calibration(logits, raw.labels),
        files=raw.files,
    )


def measure_calibration(logits: Tensor, labels: Tensor) -> Calibration:
    """Compute the expected calibration error, the negative log-likelihood, and the Brier score.

    Args:
        logits: tensor of shape (n, classes).
        labels: true classes, tensor of shape (n,), int64.
    """
    log_p = F.log_softmax(logits.double(), dim=1)
    p = log_p.exp()
    confidence, predicted = p.max(1)
    position = (confidence * BINS).ceil().long().clamp(
        1, BINS
    ) - 1  # bin m is ((m - 1) / BINS, m / BINS]
    images = position.bincount(minlength=BINS)
    total = position.bincount(confidence, BINS)
    correct = position.bincount((predicted == labels).double(), BINS)
    bins = [
        ReliabilityBin(n, float(total[i]) / n, float(correct[i]) / n)
        for i, n in enumerate(images.tolist())
        if n > 0
    ]
    return Calibration(
        ece=float((total - correct).abs().sum()) / len(labels),
        nll=float(F.nll_loss(log_p, labels)),
        brier=float((p - F.one_hot(labels, logits.shape[1])).square().sum(1).mean()),
        bins=bins,
    )
