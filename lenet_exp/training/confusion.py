"""Confusion matrices. This module does not import torch, because plotting code does not need it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def confusion_matrix(truth: Tensor, predictions: Tensor, num_classes: int = 10) -> list[list[int]]:
    """Return the confusion matrix: image counts by true class (row) and predicted class (column).

    Args:
        truth, predictions: tensors of shape (n,), int64.
        num_classes: number of the network's outputs, which is the number of rows and of columns.
    """
    counts = (truth.cpu() * num_classes + predictions).bincount(minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).tolist()


def class_accuracies(counts: list[list[int]]) -> list[float | None]:
    """Return the accuracy for each class from a confusion matrix; None for a class without images."""
    return [row[label] / sum(row) if sum(row) else None for label, row in enumerate(counts)]


def named_matrix(counts: list[list[int]], class_names: Sequence[str]) -> tuple[list[str], list[list[int]]]:
    """Return the class names and a confusion matrix without the rows and columns of unused outputs.

    If a dataset has fewer classes than the network has outputs, an output without a class is kept only if it was
    predicted at least once. A kept output is named, for example, `output 7`.
    """
    used = [i for i in range(len(counts)) if i < len(class_names) or any(row[i] for row in counts)]
    names = [class_names[i] if i < len(class_names) else f"output {i}" for i in used]
    return names, [[counts[i][j] for j in used] for i in used]
