"""Results of one epoch. This module does not load torch, so that commands that only read runs start fast."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EpochResult:
    """Results of one epoch of one run.

    Accuracies are fractions, and times are in seconds.

    Attributes:
        epoch: number of the epoch, counted from 1.
        train_loss, train_accuracy: running means over the epoch's batches, on augmented images and smoothed labels.
        lr: learning rate of the epoch's last step.
        step_losses: (iteration counted from 1, loss, milliseconds since 1970), every `num_iter_echo` iterations.
        time_ms: end of the epoch, in milliseconds since 1970.
        improved: whether the epoch's validation accuracy is the best so far.
        weights_digest: digest of the validated weights; None in results of older releases.
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
