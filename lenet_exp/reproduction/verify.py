"""Checks a run's record against its history and weights, without training."""

from __future__ import annotations

from lenet_exp.amounts import number_of
from lenet_exp.config.image_shape import ImageShape
from lenet_exp.folders.records import Record
from lenet_exp.tracking.models.recorded import RecordedRun
from lenet_exp.training.trained.weights import weights_digest


def contradiction(recorded: RecordedRun, record: Record) -> str:
    """Return a description of a contradiction in a run's record, history, and weights; empty if
    there is none.

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
    first = record.selected(recorded.epochs)
    if best is None or first is None:
        return ""
    if len(recorded.epochs) != record.epochs:
        return f"its record has {number_of(record.epochs, 'epoch')}, but its history has {len(recorded.epochs)}"
    if (first.epoch, first.val_accuracy) != (best, record.best_val_accuracy):
        return f"its best epoch is {best} ({record.best_val_accuracy}) in the record, but {first.epoch} in the history"
    if digest is not None and first.weights_digest not in (None, digest):
        return f"its record and its history have different weight digests for epoch {best}"
    return ""
