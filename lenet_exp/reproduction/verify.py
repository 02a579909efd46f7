"""Checks a run's record against its history and weights, without training."""

from __future__ import annotations

from lenet_exp.amounts import number_of
from lenet_exp.config.image_shape import ImageShape
from lenet_exp.folders.records import Record
from lenet_exp.tracking.models.recorded import RecordedRun
from lenet_exp.training.trained.weights import weights_digest


def contradiction(recorded: RecordedRun, record: Record) -> str:
    """Return a description of a contradiction in a run's record, history, and weights.

    The description is empty if there is none. A contradiction shows that the record, the history,
    or the weights were changed after the run.
    """
    digest = record.weights_digest
    if digest is not None and recorded.weights is not None:
        actual_digest = weights_digest(recorded.weights)
        if actual_digest != digest:
            return (
                f"its weights (digest {actual_digest[:12]}) do not match its record ({digest[:12]})"
            )

    problem = _matrix_problem(record)
    if problem:
        return problem
    return _history_problem(recorded, record)


def _matrix_problem(record: Record) -> str:
    """Return what is wrong with the size of a record's confusion matrix; empty if it fits."""
    matrix = record.confusion_matrix
    if matrix is None or record.best_val_accuracy is None:
        return ""
    if record.config.dataset.class_names is None:
        return "its configuration has no class names"

    classes = ImageShape.of(record.config.dataset).num_classes
    if {len(matrix), *map(len, matrix)} != {classes}:
        return f"its confusion matrix is not {classes} x {classes}"
    return ""


def _history_problem(recorded: RecordedRun, record: Record) -> str:
    """Return how a record contradicts its history; empty if it does not, or one is incomplete."""
    best = record.best_epoch
    selected = record.selected(recorded.epochs)
    if best is None or selected is None:
        return ""

    epochs = len(recorded.epochs)
    if epochs != record.epochs:
        return f"its record has {number_of(record.epochs, 'epoch')}, but its history has {epochs}"

    accuracy = record.best_val_accuracy
    if (selected.epoch, selected.val_accuracy) != (best, accuracy):
        return (
            f"its best epoch is {best} ({accuracy}) in the record, "
            f"but {selected.epoch} in the history"
        )

    if record.weights_digest is None:
        return ""
    if selected.weights_digest not in (None, record.weights_digest):
        return f"its record and its history have different weight digests for epoch {best}"
    return ""
