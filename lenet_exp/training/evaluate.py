"""Loss and predictions of a network, on images that were not used to train it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EVAL_BATCH = 1000


@torch.inference_mode()
def evaluate(model: nn.Module, images: Tensor, labels: Tensor, index: Tensor) -> tuple[float, Tensor]:
    """Return the mean cross-entropy over `images[index]`, and the predicted classes, shape (n,), on the CPU.

    This function switches the model to eval mode.
    """
    model.eval()
    losses, predictions = [], []
    for part in index.split(EVAL_BATCH):
        logits = model(images[part])
        losses.append(F.cross_entropy(logits, labels[part], reduction="sum"))
        predictions.append(logits.argmax(1))
    return float(torch.stack(losses).sum()) / len(index), torch.cat(predictions).cpu()


@torch.inference_mode()
def predict_logits(model: nn.Module, images: Tensor, batch_size: int = EVAL_BATCH) -> Tensor:
    """Return the logits, shape (n, classes), for images (n, channels, size, size), on the CPU.

    This function switches the model to eval mode.
    """
    model.eval()
    return torch.cat([model(part).cpu() for part in images.split(batch_size)])
