"""Creates a run's MLflow metrics for its epochs, its steps, and its best epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lenet_exp.folders.records import Record
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.training.epoch import EpochResult

if TYPE_CHECKING:
    from mlflow.entities import Metric

EPOCH_METRICS = (
    # the first metric, because MLflow's comparison of runs initially shows the first metric
    "val_accuracy",
    "val_loss",
    "train_loss",
    "train_accuracy",
    "lr",
    "epoch_seconds",
    "images_per_second",
)
BEST_METRICS = ("best_val_accuracy", "best_epoch", "seconds_to_best")
DIGEST = 36  # number of characters to which MLflow truncates the digest of a dataset


def epoch_points(epochs: Sequence[EpochResult], key: str) -> Iterator[Metric]:
    """Yield the metrics for each epoch and its steps.

    Args:
        key: name of the metric that the run is compared by, such as `val_macro_f1`.
    """
    from mlflow.entities import Metric

    for e in epochs:
        if key not in EPOCH_METRICS:
            yield Metric(key, e.value, e.time_ms, e.epoch)
        for name in EPOCH_METRICS:
            yield Metric(name, getattr(e, name), e.time_ms, e.epoch)
        yield from step_points(e.step_losses)


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
    """
    from mlflow.entities import Metric

    def linked(split: str) -> dict[str, str]:
        if model_id is None:
            return {}
        digest = record.data_digests[split][:DIGEST]
        return {"model_id": model_id, "dataset_name": record.dataset, "dataset_digest": digest}

    values = {name: getattr(record, name) for name in BEST_METRICS} | {
        f"best_{record.metric.key}": record.value
    }
    for name, value in values.items():
        if value is not None:  # records from older releases lack some values
            yield Metric(name, value, record.ended_ms, 0, **linked("validation"))
    epochs = folder.history().epochs  # none in a run that was taken over from a shared store
    if model_id is not None and record.best_epoch is not None and len(epochs) >= record.best_epoch:
        best = epochs[record.best_epoch - 1]
        for name in EPOCH_METRICS[:4]:
            split = "train" if name.startswith("train") else "validation"
            yield Metric(name, getattr(best, name), best.time_ms, best.epoch, **linked(split))
