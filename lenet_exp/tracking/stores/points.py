"""Creates a run's MLflow metrics for its epochs, its steps, and its best epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lenet_exp.folders.records import Record
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.training.epoch import EPOCH_METRICS, MODEL_METRICS, EpochResult

if TYPE_CHECKING:
    from mlflow.entities import Metric

BEST_METRICS = ("best_val_accuracy", "best_epoch", "seconds_to_best")
DIGEST = 36  # number of characters to which MLflow truncates the digest of a dataset


def epoch_points(epochs: Sequence[EpochResult], key: str) -> Iterator[Metric]:
    """Yield the metrics for each epoch and its steps.

    Args:
        key: name of the metric that the run is compared by, such as `val_macro_f1`.
    """
    from mlflow.entities import Metric

    for result in epochs:
        if key not in EPOCH_METRICS:
            yield Metric(key, result.value, result.time_ms, result.epoch)
        for name in EPOCH_METRICS:
            yield Metric(name, getattr(result, name), result.time_ms, result.epoch)
        yield from step_points(result.step_losses)


def step_points(losses: Sequence[tuple[int, float, int]]) -> Iterator[Metric]:
    """Yield a metric for the loss at each step.

    Args:
        losses: tuples of step, loss, and timestamp in milliseconds.
    """
    from mlflow.entities import Metric

    for iteration, loss, time_ms in losses:
        yield Metric("step_loss", loss, time_ms, iteration)


def best_points(folder: RunFolder, record: Record, model_id: str | None) -> Iterator[Metric]:
    """Yield the final metrics of a run.

    If the run has a model, also yield the metrics for the best epoch again, linked to the model and
    the datasets.

    Args:
        folder: folder of the run.
        record: record of the run.
        model_id: ID of the run's model in MLflow; None if it has none.
    """
    from mlflow.entities import Metric

    def linked(split: str) -> dict[str, str]:
        if model_id is None:
            return {}
        digest = record.data_digests[split][:DIGEST]
        return {"model_id": model_id, "dataset_name": record.dataset, "dataset_digest": digest}

    values = {name: getattr(record, name) for name in BEST_METRICS}
    values[f"best_{record.metric.key}"] = record.value
    for name, value in values.items():
        if value is not None:  # records from older releases lack some values
            yield Metric(name, value, record.ended_ms, 0, **linked("validation"))

    epochs = folder.history().epochs
    if model_id is None or record.best_epoch is None:
        return
    if len(epochs) < record.best_epoch:  # a run that was taken over from a shared store has none
        return
    best = epochs[record.best_epoch - 1]
    for name in MODEL_METRICS:
        split = "train" if name.startswith("train") else "validation"
        yield Metric(name, getattr(best, name), best.time_ms, best.epoch, **linked(split))
