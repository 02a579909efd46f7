"""The record of a run that has ended."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lenet_exp.folders.records import History, Outcome, Record
from lenet_exp.machine import now_ms
from lenet_exp.training.score import class_accuracies, confusion_matrix, packed
from lenet_exp.training.trained.weights import weights_digest

if TYPE_CHECKING:
    from lenet_exp.data.images import TrainingData
    from lenet_exp.training.state import Best

MOST_IN_MATRIX = (
    256  # maximum number of classes for a confusion matrix in a record, which is read often
)


def final_record(
    begun: Record,
    outcome: Outcome,
    history: History,
    *,
    seconds: float,
    reason: str,
    stopped_early: bool = False,
    end_state: str = "",
    best: Best | None = None,
    last_right: str | None = None,
    data: TrainingData | None = None,
) -> Record:
    """Return the record of a run that has just ended; `Record` describes the fields.

    Args:
        begun: record from the start of the run.
        history: history of the run, as stored in its folder.
        end_state: digest of the final training state; empty if it is not kept.
        best: best weights and their validation results; None if they are not available.
        last_right: see `TrainingState`.
        data: training data of the run, for the confusion matrix; None if the data is not available.
    """
    matrix, right, best_epoch = None, None, history.best.epoch if history.best else None
    seconds_to_best = history.seconds_to(best_epoch)
    if best is not None and data is not None:
        labels = data.labels[data.val_index].cpu()
        matrix = confusion_matrix(labels, best.predictions, data.shape.num_classes)
        right = packed(best.predictions == labels)
    large = matrix is not None and len(matrix) > MOST_IN_MATRIX
    return replace(
        begun,
        outcome=outcome,
        reason=reason,
        epochs=len(history.epochs),
        seconds=round(seconds, 3),
        seconds_to_best=None if seconds_to_best is None else round(seconds_to_best, 3),
        resumed=history.resumed,
        stopped_early=stopped_early,
        end_state=end_state,
        best_epoch=best_epoch,
        best_val_accuracy=history.best.val_accuracy if history.best else None,
        best_val_metric=history.best.val_metric if history.best else None,
        weights_digest=weights_digest(best.weights) if best else None,
        confusion_matrix=None if large else matrix,
        class_accuracies=class_accuracies(matrix) if matrix is not None and large else None,
        best_right=right,
        last_right=last_right,
        ended_ms=now_ms(),
    )
