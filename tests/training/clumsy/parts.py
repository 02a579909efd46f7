"""Own losses, optimizers, metrics, schedules, and augmentations: good ones, and one for each rule
to break.
"""

from __future__ import annotations

import random

import torch
from torch import nn
from torch.nn import functional as F


class Hinge(nn.Module):
    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, logits, labels):
        return F.multi_margin_loss(logits, labels, margin=self.margin, reduction="none")


class Mean(Hinge):
    def forward(self, logits, labels):
        return super().forward(logits, labels).mean()


class Number(Hinge):
    def forward(self, logits, labels):
        return 1.0


class Nan(Hinge):
    def forward(self, logits, labels):
        return super().forward(logits, labels) * float("nan")


class NoGradient(Hinge):
    def forward(self, logits, labels):
        return (logits.argmax(1) != labels).float()


class Flat(Hinge):
    def forward(self, logits, labels):
        return 0 * super().forward(logits, labels)


class Learned(Hinge):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))


class Counting(Hinge):
    calls = 0

    def forward(self, logits, labels):
        self.calls += 1
        return super().forward(logits, labels) * self.calls


class Noisy(Hinge):
    def forward(self, logits, labels):
        return super().forward(logits + torch.rand(1), labels)


class OfLast(Hinge):
    """Has a gradient only for images of the last two classes."""

    def forward(self, logits, labels):
        return super().forward(logits, labels) * (labels >= 8)


class Raising(Hinge):
    def forward(self, logits, labels):
        raise RuntimeError("no loss today")


class Grouped(torch.optim.SGD):
    """SGD whose vectors, such as biases, have `mult` times the learning rate of the matrices."""

    def __init__(
        self, params, lr=0.01, mult=1.0, momentum=0.0, dampening=0.0, nesterov=False, maximize=False
    ) -> None:
        parameters = list(params)
        matrices = [p for p in parameters if p.ndim > 1]
        vectors = [p for p in parameters if p.ndim <= 1]
        groups = [{"params": matrices}, {"params": vectors, "lr": mult * lr}]
        super().__init__(groups, lr, momentum, dampening, nesterov=nesterov, maximize=maximize)


def top2(labels, logits, k: int = 2):
    return (logits.topk(k).indices == labels[:, None]).any(1).float().mean().item()


def worst(labels, logits):
    wrong = (logits.argmax(1) != labels).double()
    return max(float(wrong[labels == label].mean()) for label in labels.unique())


def recall_of_last(labels, logits):
    """Undefined without images of the last two classes."""
    last = labels >= 8
    return (logits.argmax(1) == labels)[last].float().mean()


def raising(labels, logits):
    raise KeyError("no metric today")


def nan(labels, logits):
    return float("nan")


def text(labels, logits):
    return "good"


def drawn(labels, logits):
    return random.random()


def triangle(step, steps, peaks: int = 2):
    return 1.01 - abs(2 * (step / steps * peaks % 1) - 1)


def negative(step, steps):
    return 0.5 - step


def falling(step, steps):
    return torch.tensor(1.05 - step / 10)


def none(step, steps):
    return None


def one_argument(step):
    return 1.0


class Noise:
    def __init__(self, strength: float = 0.1) -> None:
        self.strength = strength

    def __call__(self, images, generator):
        return images + self.strength * torch.randn(
            images.shape, generator=generator, device=images.device
        )


def cropped(images, generator):
    return images[:, :, 1:]


def double(images, generator):
    return images.double()


def unseeded(images, generator):
    return images + torch.rand(1)


def infinite(images, generator):
    return images / 0
