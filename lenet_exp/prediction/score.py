"""Evaluates a network on the test set, and returns the accuracy, the results for each class, and a confusion matrix.

No other module reads test data.
"""

from __future__ import annotations

import torch
from sklearn.metrics import precision_recall_fscore_support
from torch import nn

from lenet_exp.config.schema import Dataset
from lenet_exp.data.images import normalize, pixels_digest
from lenet_exp.data.readers import read_images
from lenet_exp.training.confusion import confusion_matrix
from lenet_exp.training.evaluate import predict_classes
from lenet_exp.training.score import ClassScore, Score


def score_test_set(
    network: nn.Module, dataset: Dataset, data_root: str, batch_size: int, device: torch.device
) -> Score:
    """Evaluate a network on the full test set.

    Args:
        batch_size: number of images per step; the last step can have fewer images.

    Raises:
        DataError: the test set is not available.
    """
    raw = read_images(dataset, data_root, "test")
    images = normalize(raw.images, raw.white).to(device)
    predictions = predict_classes(network.to(device), images, batch_size)
    precision, recall, f1, support = precision_recall_fscore_support(
        raw.labels.numpy(), predictions.numpy(), labels=list(range(10)), zero_division=0.0
    )
    classes = [
        ClassScore(name, float(precision[i]), float(recall[i]), float(f1[i]), int(support[i]))
        for i, name in enumerate(dataset.class_names)
    ]
    correct = int((predictions == raw.labels).sum())
    matrix, digest = confusion_matrix(raw.labels, predictions), pixels_digest(raw.images, raw.labels, raw.white)
    return Score(
        correct=correct,
        total=len(raw.labels),
        classes=classes,
        confusion_matrix=matrix,
        source=raw.source,
        data_digest=digest,
        files=raw.files,
    )
