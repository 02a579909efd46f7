"""Rules for the user's own losses, metrics, schedules, and augmentations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from lenet_exp.training.schedule import factor_problem

STEPS = 10  # number of steps for which a schedule is tried


def broken_loss_rule(logits: Tensor, labels: Tensor, loss: nn.Module) -> str:
    """Return the rule that a loss breaks, or an empty string."""
    if any(True for _ in loss.parameters()):
        return "must not have parameters, because they would not be trained"

    losses = loss(logits, labels)
    repeated_losses = loss(logits, labels)
    expected = f"must return one loss per image, shape [{len(labels)}] for {len(labels)} images"
    if not isinstance(losses, Tensor):
        return f"{expected}, not a {type(losses).__name__}"
    if losses.shape != labels.shape:
        return f"{expected}, not shape {list(losses.shape)}"

    is_finite = losses.isfinite()
    if not is_finite.all():
        first_bad_loss = losses[~is_finite][0].item()
        return f"returns {first_bad_loss} for logits from -2 to 2; must be finite"

    if not losses.requires_grad:
        return "has no gradient; compute the losses from the logits with torch operations"
    losses.sum().backward()
    if logits.grad is None:
        return "its gradient must be finite and not 0; it is missing"
    if not logits.grad.isfinite().all() or not logits.grad.any():
        return "its gradient must be finite and not 0; it is not"

    if not torch.equal(losses, repeated_losses):
        return "returns different losses for the same logits; must be deterministic"
    return ""


def broken_metric_rule(labels: Tensor, logits: Tensor, metric: Callable[..., Any]) -> str:
    """Return the rule that a metric breaks, or an empty string."""
    value = float(metric(labels, logits))
    if not math.isfinite(value):
        return f"must return a finite number for (labels, logits), not {value}"
    return ""


def broken_schedule_rule(factor: Callable[[int, int], Any]) -> str:
    """Return the rule that a schedule breaks, or an empty string."""
    values = [float(factor(step, STEPS)) for step in range(STEPS)]
    for step, value in enumerate(values):
        problem = factor_problem(value, step, STEPS)
        if problem:
            return problem

    repeated_values = [float(factor(step, STEPS)) for step in range(STEPS)]
    if values != repeated_values:
        return "returns different values for the same step; must be deterministic"
    return ""


def broken_augmentation_rule(
    images: Tensor, change: Callable[[Tensor, torch.Generator], object]
) -> str:
    """Return the rule that an augmentation breaks, or an empty string."""
    changed = change(images.clone(), torch.Generator().manual_seed(1))
    repeated = change(images.clone(), torch.Generator().manual_seed(1))

    expected = f"must return images with shape {list(images.shape)} and type float32"
    if not isinstance(changed, Tensor):
        return f"{expected} for such images"
    if changed.shape != images.shape or changed.dtype != images.dtype:
        return f"{expected} for such images"
    if not changed.isfinite().all():
        return "returns values that are not finite"

    if not torch.equal(changed, cast(Tensor, repeated)):
        return "returns different images for the same generator state"
    return ""
