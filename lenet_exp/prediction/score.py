"""Scores a network on the test set.

A score has the accuracy, results for each class, the confusion matrix, and the calibration.
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
    """Return a dataset whose images are read like a model's training images.

    Raises:
        ConfigError: the images or the classes of the dataset do not fit the model.
    """
    trained_on = ""
    if model.record is not None:
        training_dataset = model.record.config.dataset
        trained_on = f" (dataset {training_dataset.name})"
        dataset = _read_like(training_dataset, dataset)

    model_shape = model.shape
    shape = ImageShape.of(replace(dataset, exact_classes=True))
    if (shape.channels, shape.size) != (model_shape.channels, model_shape.size):
        raise ConfigError(
            f"dataset={dataset.name}: has {shape}, "
            f"but {model.name} was trained on {model_shape}{trained_on}"
        )
    if shape.num_classes > model_shape.num_classes:
        raise ConfigError(
            f"dataset={dataset.name}: has {shape.num_classes} classes, "
            f"but {model.name} has {model_shape.num_classes} outputs"
        )
    return dataset


def _read_like(training_dataset: Dataset, dataset: Dataset) -> Dataset:
    """Return a dataset with the class names and, if possible, the image shape of another one."""
    class_names = dataset.class_names or training_dataset.class_names
    dataset = replace(dataset, class_names=class_names)

    is_same = training_dataset.name == dataset.name
    has_any_shape = dataset.reader in (Reader.pictures, Reader.arrays)
    if not is_same and not has_any_shape:
        return dataset
    return replace(
        dataset, channels=training_dataset.channels, image_size=training_dataset.image_size
    )


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
    """Return the logits of a model for raw images, shape (n, classes).

    Args:
        model: the model.
        images: raw images with pixels in [0, white].
        white: largest possible pixel.
        batch_size: number of images in a batch.
        device: device for the evaluation.
    """
    scaled = normalize(images, white, model.shape.size, model.normalization).to(device)
    return predict_logits(model.network.to(device), scaled, batch_size)


def score_of(outputs: TestOutputs) -> Score:
    """Return the score of a model from its outputs."""
    raw = outputs.raw
    logits = outputs.logits  # (n, classes)
    predictions = logits.argmax(1)
    num_classes = logits.shape[1]

    # each of shape (classes,)
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
    log_p = F.log_softmax(logits.double(), dim=1)  # (n, classes)
    p = log_p.exp()
    confidence, predicted = p.max(1)  # (n,)

    # Bin m, counted from 1, is ((m - 1) / BINS, m / BINS].
    number = (confidence * BINS).ceil().long().clamp(1, BINS)
    position = number - 1
    # (BINS,)
    images = position.bincount(minlength=BINS)
    total = position.bincount(confidence, BINS)
    correct = position.bincount((predicted == labels).double(), BINS)
    bins = []
    for i, n in enumerate(images.tolist()):
        if n > 0:
            bins.append(ReliabilityBin(n, float(total[i]) / n, float(correct[i]) / n))

    truth = F.one_hot(labels, logits.shape[1])  # (n, classes)
    return Calibration(
        ece=float((total - correct).abs().sum()) / len(labels),
        nll=float(F.nll_loss(log_p, labels)),
        brier=float((p - truth).square().sum(1).mean()),
        bins=bins,
    )
