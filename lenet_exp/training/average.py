"""Exponential moving average of a network's weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


def decay_at(decay: float, step: int) -> float:
    """Return the effective decay at a step (counted from 1).

    The decay is smaller in early steps, so that the average forgets the initial weights sooner.
    """
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move `average` toward `model` after a step (counted from 1): average = d * average + (1 - d) * model.

    The factor d is `decay_at(decay, step)`, as in TensorFlow's ExponentialMovingAverage. Buffers are copied.
    """
    get_ema_multi_avg_fn(decay_at(decay, step))(list(average.parameters()), list(model.parameters()), 0)
    for kept, new in zip(average.buffers(), model.buffers(), strict=True):
        kept.copy_(new)
