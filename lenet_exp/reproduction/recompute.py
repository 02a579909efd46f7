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
from lenet_exp.training.state import TrainingState, new_lane

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
    lane = new_lane(config, ready.data.images.device)
    try:
        lane.eval_model.load_state_dict(weights)
    except RuntimeError as e:
        return differs(f"its weights do not fit the network of its configuration ({first_line(e)})")

    try:
        now = _evaluated(ready, lane)
    except BaseException as e:  # the user's own classes can raise any exception
        raise_stop(e)
        return not_comparable(f"its weights cannot be evaluated on this machine ({first_line(e)})")

    return _compared(record, now, ready.excuse)


def _evaluated(ready: RepeatableRun, lane: TrainingState) -> _Recomputed:
    """Evaluate the weights of a lane on the validation images, as training does after each epoch."""
    config = ready.job.config
    data = ready.data
    engine = engine_of(config)
    engine.stepper(lane, data, steps=1)  # creates the run's loss function
    evaluation = engine.evaluate(lane, data)

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
    """Return the number of images whose two largest logits are so close that another CPU may swap
    them.
    """
    logits = evaluation.logits  # (images, classes)
    largest = logits.topk(2, dim=1).values
    lead = largest[:, 0] - largest[:, 1]
    return int((lead <= CLOSE * logits.abs().max()).sum())


def _compared(record: Record, now: _Recomputed, excuse: str) -> ReproduceResult:
    """Compare the results in a record with those of its weights.

    Args:
        excuse: reason why results can differ by rounding on this machine; empty if they must be
            identical.
    """
    large = len(now.matrix) > MOST_IN_MATRIX
    metric = f"metric {record.metric.name}"
    values: dict[str, tuple[object, object]] = {
        "accuracy": (record.best_val_accuracy, now.accuracy),
        metric: (record.best_val_metric, now.metric),
        "confusion matrix": (record.confusion_matrix, now.matrix),
        "class accuracies": (
            record.class_accuracies,
            class_accuracies(now.matrix) if large else None,
        ),
        "correct images": (record.best_right, now.right),
    }
    stored = {name: pair for name, pair in values.items() if pair[0] is not None}
    changed = {name: pair for name, pair in stored.items() if pair[0] != pair[1]}

    on = f"on {number_of(now.images, 'validation image')}"
    if not changed:
        best = f"best {record.reached} in epoch {record.best_epoch}"
        line = f"identical {on}: {best} (compared: {', '.join(stored)})"
        return ReproduceResult(ReproduceStatus.identical, line)

    numbers = {name: changed[name] for name in ("accuracy", metric) if name in changed}
    details = [f"{name} {was}, now {again}" for name, (was, again) in numbers.items()]
    line = f"the stored weights give another result {on} ({', '.join(changed)})"
    if excuse and _differs_by_rounding(record, now):
        return not_comparable(f"{line}, possibly because of rounding: {excuse}", details)
    return differs(line, details)


def _differs_by_rounding(record: Record, now: _Recomputed) -> bool:
    """Return whether another CPU can explain the differences.

    At most the images with close logits can have other predictions, and the metric can hardly
    differ.
    """
    stored = record.best_val_metric
    if (
        stored is not None
        and now.metric is not None
        and not math.isclose(stored, now.metric, rel_tol=1e-3)
    ):
        return False
    return _changed_images(record, now) <= now.close


def _changed_images(record: Record, now: _Recomputed) -> int:
    """Return the minimum number of images whose prediction differs from that of the original run."""
    counts = [round(abs((record.best_val_accuracy or 0.0) - now.accuracy) * now.images)]
    if record.confusion_matrix is not None:
        moved = np.abs(np.subtract(record.confusion_matrix, now.matrix)).sum()
        counts.append(-(-int(moved) // 2))
    if record.best_right is not None:
        counts.append(int((unpacked(record.best_right) != unpacked(now.right)).sum()))
    return max(counts)
