"""Results of one epoch. This module does without torch, so commands that only read runs start fast."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EpochResult:
    """Results of one epoch of one lane.

    Accuracies are fractions, times seconds. `train_*` are running means over the epoch's batches, of what is minimized
    (augmented images, smoothed labels); `lr` is that of the epoch's last step. `step_losses` holds
    (iteration from 1, loss, milliseconds since 1970) every `num_iter_echo` iterations; `time_ms` is the epoch's end.
    `weights_digest` is of the weights that were validated; older releases did not keep it.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    lr: float
    epoch_seconds: float
    images_per_second: float
    step_losses: list[tuple[int, float, int]]
    time_ms: int
    improved: bool
    weights_digest: str | None = None
