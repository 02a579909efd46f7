"""Results of one epoch. This module does not import torch, so that commands that only read runs
start fast.
"""

from __future__ import annotations

from dataclasses import dataclass

# The metrics that depend on the model, in the order in which MLflow shows them: its comparison of
# runs initially shows the first metric.
MODEL_METRICS = ("val_accuracy", "val_loss", "train_loss", "train_accuracy")
EPOCH_METRICS = (*MODEL_METRICS, "lr", "epoch_seconds", "images_per_second")


@dataclass(frozen=True)
class EpochResult:
    """Results of one epoch of a run. Accuracies are fractions.

    Attributes:
        epoch: number of the epoch, counted from 1.
        train_loss, train_accuracy: running means over the epoch's training batches, while the
            weights change, with augmentation. The loss uses smoothed labels.
        val_loss, val_accuracy: loss and accuracy on the validation images at the end of the epoch.
        lr: learning rate of the last step in the epoch.
        epoch_seconds: duration of the epoch, in seconds.
        images_per_second: number of training images per second.
        step_losses: losses of single steps, every `num_iter_echo` iterations, as (iteration counted
            from 1, loss, milliseconds since 1970).
        time_ms: time at the end of the epoch, in milliseconds since 1970.
        improved: whether the epoch's value of the metric is the best so far; false with
            `training.select=last`.
        weights_digest: SHA-256 digest of the validated weights; None in results from older
            releases.
        val_metric: value of the metric on the validation images; None if the metric is accuracy.
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
    val_metric: float | None = None

    @property
    def value(self) -> float:
        """The value of the metric."""
        return self.val_accuracy if self.val_metric is None else self.val_metric
