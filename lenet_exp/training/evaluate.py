"""Loss and predictions of a network on images it does not train on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EVAL_BATCH = 1000


@torch.inference_mode()
def evaluate(model: nn.Module, images: Tensor, labels: Tensor, index: Tensor) -> tuple[float, Tensor]:
    """Mean cross-entropy, and the predicted classes (n,) on the CPU, of `images[index]`; sets eval mode."""
    model.eval()
    losses, predictions = [], []
    for part in index.split(EVAL_BATCH):
        logits = model(images[part])
        losses.append(F.cross_entropy(logits, labels[part], reduction="sum"))
        predictions.append(logits.argmax(1))
    return float(torch.stack(losses).sum()) / len(index), torch.cat(predictions).cpu()


@torch.inference_mode()
def predict_classes(model: nn.Module, images: Tensor, batch_size: int = EVAL_BATCH) -> Tensor:
    """The predicted classes (n,) of images (n, 1, 32, 32), on the CPU; sets eval mode."""
    model.eval()
    return torch.cat([model(part).argmax(1) for part in images.split(batch_size)]).cpu()


def confusion_matrix(truth: Tensor, predictions: Tensor) -> list[list[int]]:
    """10 x 10 counts: row = true class, column = predicted class."""
    counts = torch.bincount(truth.cpu() * 10 + predictions, minlength=100)
    return counts.reshape(10, 10).tolist()


def named_matrix(counts: list[list[int]], class_names: Sequence[str]) -> tuple[list[str], list[list[int]]]:
    """The part of a 10 x 10 confusion matrix that has classes, with their names.

    Outputs without a class (of a set with fewer than 10) are kept, as `output 7`, where something was predicted so.
    """
    used = [i for i in range(10) if i < len(class_names) or any(row[i] for row in counts)]
    names = [class_names[i] if i < len(class_names) else f"output {i}" for i in used]
    return names, [[counts[i][j] for j in used] for i in used]
