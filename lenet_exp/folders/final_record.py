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

# The maximum number of classes for a confusion matrix in a record, which is read often.
MOST_IN_MATRIX = 256


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
    best_epoch = best_val_accuracy = best_val_metric = None
    if history.best is not None:
        best_epoch = history.best.epoch
        best_val_accuracy = history.best.val_accuracy
        best_val_metric = history.best.val_metric

    seconds_to_best = history.seconds_to(best_epoch)
    if seconds_to_best is not None:
        seconds_to_best = round(seconds_to_best, 3)

    matrix = accuracies = right = None
    if best is not None and data is not None:
        labels = data.labels[data.val_index].cpu()
        matrix = confusion_matrix(labels, best.predictions, data.shape.num_classes)
        right = packed(best.predictions == labels)
    if matrix is not None and len(matrix) > MOST_IN_MATRIX:
        accuracies = class_accuracies(matrix)
        matrix = None

    return replace(
        begun,
        outcome=outcome,
        reason=reason,
        epochs=len(history.epochs),
        seconds=round(seconds, 3),
        seconds_to_best=seconds_to_best,
        resumed=history.resumed,
        stopped_early=stopped_early,
        end_state=end_state,
        best_epoch=best_epoch,
        best_val_accuracy=best_val_accuracy,
        best_val_metric=best_val_metric,
        weights_digest=None if best is None else weights_digest(best.weights),
        confusion_matrix=matrix,
        class_accuracies=accuracies,
        best_right=right,
        last_right=last_right,
        ended_ms=now_ms(),
    )
