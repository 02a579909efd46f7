"""Which class was taken for which. Without torch: who draws a matrix need not load it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def confusion_matrix(truth: Tensor, predictions: Tensor) -> list[list[int]]:
    """10 x 10 counts: row = true class, column = predicted class."""
    counts = (truth.cpu() * 10 + predictions).bincount(minlength=100)
    return counts.reshape(10, 10).tolist()


def named_matrix(counts: list[list[int]], class_names: Sequence[str]) -> tuple[list[str], list[list[int]]]:
    """The part of a 10 x 10 confusion matrix that has classes, with their names.

    Outputs without a class (of a set with fewer than 10) are kept, as `output 7`, where something was predicted so.
    """
    used = [i for i in range(10) if i < len(class_names) or any(row[i] for row in counts)]
    names = [class_names[i] if i < len(class_names) else f"output {i}" for i in used]
    return names, [[counts[i][j] for j in used] for i in used]
