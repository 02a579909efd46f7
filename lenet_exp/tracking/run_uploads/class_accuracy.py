"""MLflow metrics `val_accuracy_<class>`: the validation accuracy for each class.

MLflow lists these metrics after `val_accuracy`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lenet_exp.folders.records import Record
from lenet_exp.reports.escape import csv_text
from lenet_exp.training.score import class_accuracies

if TYPE_CHECKING:
    from mlflow.entities import Metric

MOST = 20  # maximum number of metrics; class_accuracy.csv contains all classes
LONGEST = (
    200  # maximum length of a class name; MLflow limits the full metric name to 250 characters
)


def class_points(record: Record) -> Iterator[Metric]:
    """Yield a metric for each class that has validation images: the accuracy for the class at the
    best epoch.

    If there are more than 20 classes, yield the metrics of the 20 classes with the lowest accuracy.
    """
    from mlflow.entities import Metric

    names = metric_names(record.config.dataset.class_names or [])
    for label, accuracy in sorted(_accuracies(record), key=lambda pair: pair[1])[:MOST]:
        yield Metric(f"val_accuracy_{names[label]}", accuracy, record.ended_ms, 0)


def class_table(record: Record) -> str | None:
    """Return a CSV file with the accuracy for each class; None if the metrics contain the
    accuracies of all classes.
    """
    names, found = record.config.dataset.class_names or [], _accuracies(record)
    if len(found) <= MOST:
        return None
    return csv_text(
        [{"class": names[label], "val_accuracy": accuracy} for label, accuracy in found]
    )


def _accuracies(record: Record) -> list[tuple[int, float]]:
    """Return the label and the accuracy of each class that has a name and validation images."""
    found = record.class_accuracies or class_accuracies(record.confusion_matrix or [])
    named = found[: len(record.config.dataset.class_names or [])]
    return [(label, accuracy) for label, accuracy in enumerate(named) if accuracy is not None]


def metric_names(class_names: Sequence[str]) -> list[str]:
    """Convert class names to valid and distinct MLflow metric names: `T-shirt/top` becomes
    `T-shirt_top`.
    """
    names: list[str] = []
    for label, name in enumerate(class_names):
        safe = re.sub(r"[^\w\-. :]", "_", name)[:LONGEST]
        while safe in names:
            safe += f"_{label}"
        names.append(safe)
    return names
