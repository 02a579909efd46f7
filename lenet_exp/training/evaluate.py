"""Loss and predictions of a network, on images that were not used to train it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lenet_exp.training.losses import CrossEntropy, reduced

EVAL_BATCH = 1000


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of a network.

    Attributes:
        loss: mean loss.
        predictions: predicted classes, shape (n,), int64, on the CPU.
        logits: logits, shape (n, outputs), on the CPU; those of the native engine are 1 for the
            predicted class and 0 for the others.
    """

    loss: float
    predictions: Tensor
    logits: Tensor


@torch.inference_mode()
def evaluate(
    model: nn.Module, images: Tensor, labels: Tensor, index: Tensor, loss: nn.Module | None = None
) -> Evaluation:
    """Evaluate a network on `images[index]`.

    This function switches the model and the loss, by default cross-entropy, to eval mode.
    """
    model.eval()
    loss = (loss or CrossEntropy()).eval()
    losses, outputs = [], []
    for part in index.split(EVAL_BATCH):
        logits = model(images[part])
        losses.append(reduced(loss, logits, labels[part], "sum"))
        outputs.append(logits)
    logits = torch.cat(outputs)
    return Evaluation(
        float(torch.stack(losses).sum()) / len(index), logits.argmax(1).cpu(), logits.cpu()
    )


@torch.inference_mode()
def predict_logits(model: nn.Module, images: Tensor, batch_size: int = EVAL_BATCH) -> Tensor:
    """Return the logits, shape (n, classes), for images (n, channels, size, size), on the CPU.

    This function switches the model to eval mode.
    """
    model.eval()
    return torch.cat([model(part).cpu() for part in images.split(batch_size)])
