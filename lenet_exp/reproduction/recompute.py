"""Recomputes the stored results of a run from its stored weights, without training."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lenet_exp.amounts import number_of
from lenet_exp.errors import first_line
from lenet_exp.folders.final_record import MOST_IN_MATRIX
from lenet_exp.folders.records import Record
from lenet_exp.reproduction.repeatable import RepeatableRun, repeatable
from lenet_exp.reproduction.reproduce_result import (
    ReproduceResult,
    ReproduceStatus,
    differs,
    not_comparable,
)
from lenet_exp.stopping import raise_stop
from lenet_exp.tracking.models.recorded import RecordedRun
from lenet_exp.training.engine import engine_of
from lenet_exp.training.evaluate import Evaluation
from lenet_exp.training.metrics import measure
from lenet_exp.training.score import class_accuracies, confusion_matrix, packed, unpacked
from lenet_exp.training.state import TrainingState, new_training_state

CLOSE = 1e-4  # fraction of the largest logit; a CPU that rounds differently can swap closer logits


@dataclass(frozen=True)
class _Recomputed:
    """Validation results of the stored weights.

    Attributes:
        images: number of validation images.
        accuracy: fraction of correct predictions.
        metric: value of the run's metric; None if the metric is accuracy.
        matrix: confusion matrix; see `confusion_matrix`.
        right: which images are classified correctly; see `packed`.
        close: number of images whose two largest logits are so close that another CPU may swap
            them.
    """

    images: int
    accuracy: float
    metric: float | None
    matrix: list[list[int]]
    right: str
    close: int


def recompute(
    recorded: RecordedRun,
    *,
    data_root: str | None = None,
    file: str | None = None,
    trust: str | None = None,
) -> ReproduceResult:
    """Verify the digests of a run, and compare its stored results with those of its stored weights.

    The weights are evaluated on the validation images with the recorded engine, device, and number
    of threads. The accuracy is compared, and the metric, the confusion matrix, and the correct
    images if the record contains them.

    Args:
        recorded: run to check.
        data_root, file, trust: see `repeatable`.

    Raises:
        ConfigError: `trust` contains an invalid name, or `file` cannot be used for this run.
        BaseException: a signal interrupted the evaluation.
    """
    ready = repeatable(recorded, data_root, file, trust)
    if isinstance(ready, ReproduceResult):
        return ready

    record = ready.record
    weights = recorded.weights
    if record.best_val_accuracy is None:
        return not_comparable(f"{record.outcome} before the end of its first epoch")
    if weights is None:
        return not_comparable("its weights are not stored; to retrain the run, omit check=true")

    config = ready.job.config
    state = new_training_state(config, ready.data.images.device)
    try:
        state.eval_model.load_state_dict(weights)
    except RuntimeError as e:
        return differs(f"its weights do not fit the network of its configuration ({first_line(e)})")

    try:
        recomputed = _evaluate(ready, state)
    except BaseException as e:  # the user's own classes can raise any exception
        raise_stop(e)
        return not_comparable(f"its weights cannot be evaluated on this machine ({first_line(e)})")

    return _compare(record, recomputed, ready.excuse)


def _evaluate(ready: RepeatableRun, state: TrainingState) -> _Recomputed:
    """Evaluate the weights of a training state on the validation images, as training does after
    each epoch.
    """
    config = ready.job.config
    data = ready.data
    engine = engine_of(config)
    engine.stepper(state, data, steps=1)  # creates the run's loss function
    evaluation = engine.evaluate(state, data)

    labels = data.labels[data.val_index].cpu()
    right = evaluation.predictions == labels
    metric = None
    if not ready.record.metric.is_accuracy:
        metric = measure(config.metric, labels, evaluation)
    return _Recomputed(
        images=len(labels),
        accuracy=float(right.double().mean()),
        metric=metric,
        matrix=confusion_matrix(labels, evaluation.predictions, data.shape.num_classes),
        right=packed(right),
        close=_close_images(evaluation),
    )


def _close_images(evaluation: Evaluation) -> int:
    """Return for how many images another CPU may swap the two largest logits.

    These are the images of which the two logits are very close.
    """
    logits = evaluation.logits  # (images, classes)
    largest = logits.topk(2, dim=1).values  # (images, 2)
    lead = largest[:, 0] - largest[:, 1]
    return int((lead <= CLOSE * logits.abs().max()).sum())


def _compare(record: Record, recomputed: _Recomputed, excuse: str) -> ReproduceResult:
    """Compare the results in a record with those of its weights.

    Args:
        excuse: reason why results can differ by rounding on this machine; empty if they must be
            identical.
    """
    # Records have the accuracy of each class instead of a large confusion matrix.
    is_large = len(recomputed.matrix) > MOST_IN_MATRIX
    recomputed_classes = class_accuracies(recomputed.matrix) if is_large else None

    # the stored value, and the recomputed one
    metric = f"metric {record.metric.name}"
    values: dict[str, tuple[object, object]] = {
        "accuracy": (record.best_val_accuracy, recomputed.accuracy),
        metric: (record.best_val_metric, recomputed.metric),
        "confusion matrix": (record.confusion_matrix, recomputed.matrix),
        "class accuracies": (record.class_accuracies, recomputed_classes),
        "correct images": (record.best_right, recomputed.right),
    }
    stored = {name: pair for name, pair in values.items() if pair[0] is not None}
    changed = {name: pair for name, pair in stored.items() if pair[0] != pair[1]}

    images = number_of(recomputed.images, "validation image")
    if not changed:
        best = f"best {record.reached} in epoch {record.best_epoch}"
        line = f"identical on {images}: {best} (compared: {', '.join(stored)})"
        return ReproduceResult(ReproduceStatus.identical, line)

    details = []
    for name in ("accuracy", metric):
        if name in changed:
            stored_value, recomputed_value = changed[name]
            details.append(f"{name} {stored_value}, now {recomputed_value}")

    line = f"the stored weights give another result on {images} ({', '.join(changed)})"
    if excuse and _differs_by_rounding(record, recomputed):
        return not_comparable(f"{line}, possibly because of rounding: {excuse}", details)
    return differs(line, details)


def _differs_by_rounding(record: Record, recomputed: _Recomputed) -> bool:
    """Return whether another CPU can explain the differences.

    At most the images with close logits can have other predictions, and the metric can hardly
    differ.
    """
    if not _is_close(record.best_val_metric, recomputed.metric):
        return False
    return _changed_images(record, recomputed) <= recomputed.close


def _is_close(stored_metric: float | None, recomputed_metric: float | None) -> bool:
    """Return whether two values of a metric are close; a missing value fits any other."""
    if stored_metric is None or recomputed_metric is None:
        return True
    return math.isclose(stored_metric, recomputed_metric, rel_tol=1e-3)


def _changed_images(record: Record, recomputed: _Recomputed) -> int:
    """Return the minimum number of images whose prediction differs from the original run's.

    Example:
        An image that moves to another class changes two counts of the confusion matrix. If the
        counts differ by 6 in total, at least 3 images moved.
    """
    accuracy_change = abs((record.best_val_accuracy or 0.0) - recomputed.accuracy)
    counts = [round(accuracy_change * recomputed.images)]

    if record.confusion_matrix is not None:
        differences = np.abs(np.subtract(record.confusion_matrix, recomputed.matrix))
        counts.append(math.ceil(int(differences.sum()) / 2))

    if record.best_right is not None:
        changed = unpacked(record.best_right) != unpacked(recomputed.right)
        counts.append(int(changed.sum()))
    return max(counts)
