"""Checks a run's record against its history and weights, without training."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lenet_exp.amounts import number_of
from lenet_exp.config.image_shape import ImageShape
from lenet_exp.config.schema import Config
from lenet_exp.data.images import TrainingData
from lenet_exp.folders.records import Record
from lenet_exp.tracking.models.recorded import RecordedRun
from lenet_exp.training.evaluate import predict_logits
from lenet_exp.training.network import in_training_format, rebuild
from lenet_exp.training.score import confusion_matrix
from lenet_exp.training.trained.weights import weights_digest

CLOSE = 1e-4  # fraction of the largest logit; closer logits can swap ranks on a CPU that rounds differently


def contradiction(recorded: RecordedRun, record: Record) -> str:
    """Return a description of a contradiction in a run's record, history, and weights; empty if there is none.

    A contradiction shows that the record, the history, or the weights were changed after the run.
    """
    best, digest, matrix = record.best_epoch, record.weights_digest, record.confusion_matrix
    if digest is not None and recorded.weights is not None:
        found = weights_digest(recorded.weights)
        if found != digest:
            return f"its weights (digest {found[:12]}) do not match its record ({digest[:12]})"
    if matrix is not None and record.best_val_accuracy is not None:
        if record.config.dataset.class_names is None:
            return "its configuration has no class names"
        classes = ImageShape.of(record.config.dataset).num_classes
        if {len(matrix), *map(len, matrix)} != {classes}:
            return f"its confusion matrix is not {classes} x {classes}"
        right, total = sum(row[i] for i, row in enumerate(matrix)), sum(map(sum, matrix))
        if total == 0 or right / total != record.best_val_accuracy:
            return f"its best validation accuracy {record.best_val_accuracy} does not match its confusion matrix"
    if best is None or not recorded.epochs:
        return ""
    if len(recorded.epochs) != record.epochs:
        return f"its record has {number_of(record.epochs, 'epoch')}, but its history has {len(recorded.epochs)}"
    first = max(recorded.epochs, key=lambda e: (record.metric.sign * e.value, -e.epoch))
    if (first.epoch, first.val_accuracy) != (best, record.best_val_accuracy):
        return f"its best epoch is {best} ({record.best_val_accuracy}) in the record, but {first.epoch} in the history"
    if digest is not None and first.weights_digest not in (None, digest):
        return f"its record and its history have different weight digests for epoch {best}"
    return ""


@dataclass(frozen=True)
class RecomputedAccuracy:
    """The validation accuracy of weights, recomputed from the images.

    Attributes:
        accuracy: validation accuracy, as a fraction.
        matrix: confusion matrix; see `confusion_matrix`.
        close: number of images whose top two classes are so close that a different CPU may rank them differently.
    """

    accuracy: float
    matrix: list[list[int]]
    close: int

    def moved_from(self, record: Record) -> int:
        """Return the minimum number of images whose predicted class differs from that of the original run.

        The number is derived from the confusion matrix in the record or, if there is none, from the recorded accuracy.
        """
        if record.confusion_matrix is not None:
            pairs = zip(record.confusion_matrix, self.matrix, strict=True)
            moved = sum(abs(a - b) for was, now in pairs for a, b in zip(was, now, strict=True))
            return (moved + 1) // 2
        n = sum(map(sum, self.matrix))
        return round(abs(self.accuracy - (record.best_val_accuracy or 0.0)) * n)


def recompute_accuracy(config: Config, weights: dict[str, Tensor], data: TrainingData) -> RecomputedAccuracy:
    """Evaluate weights on the validation images with the configuration's network, as in training."""
    network = in_training_format(rebuild(config, weights).to(data.images.device))  # the format that training uses
    logits = predict_logits(network, data.images[data.val_index])
    first, second = logits.topk(2, dim=1).values.unbind(1)
    close = int((first - second <= CLOSE * logits.abs().max()).sum())
    truth, found = data.labels[data.val_index].cpu(), logits.argmax(1)
    matrix = confusion_matrix(truth, found, data.shape.num_classes)
    return RecomputedAccuracy(float((found == truth).double().mean()), matrix, close)
