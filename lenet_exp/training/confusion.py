"""Confusion matrices. This module does not import torch, because plotting code does not need it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def confusion_matrix(truth: Tensor, predictions: Tensor) -> list[list[int]]:
    """Return the 10 x 10 confusion matrix: image counts by true class (row) and predicted class (column)."""
    counts = (truth.cpu() * 10 + predictions).bincount(minlength=100)
    return counts.reshape(10, 10).tolist()


def named_matrix(counts: list[list[int]], class_names: Sequence[str]) -> tuple[list[str], list[list[int]]]:
    """Return the class names and a 10 x 10 confusion matrix without the rows and columns of unused outputs.

    If a dataset has fewer than 10 classes, an output without a class is kept only if it was predicted at least once. A
    kept output is named, for example, `output 7`.
    """
    used = [i for i in range(10) if i < len(class_names) or any(row[i] for row in counts)]
    names = [class_names[i] if i < len(class_names) else f"output {i}" for i in used]
    return names, [[counts[i][j] for j in used] for i in used]
