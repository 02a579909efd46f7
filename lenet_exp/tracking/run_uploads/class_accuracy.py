"""MLflow metrics `val_accuracy_<class>`: the validation accuracy for each class.

MLflow lists these metrics after `val_accuracy`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lenet_exp.files import Json
from lenet_exp.folders.records import Record
from lenet_exp.reports.escape import csv_text
from lenet_exp.training.score import class_accuracies

if TYPE_CHECKING:
    from mlflow.entities import Metric

MAX_METRICS = 20  # class_accuracy.csv contains all classes
# maximum length of a class name; MLflow limits the full metric name to 250 characters
MAX_NAME_LENGTH = 200


def class_points(record: Record) -> Iterator[Metric]:
    """Yield a metric for each class that has validation images.

    The metric is the accuracy for the class at the best epoch. If there are more than 20 classes,
    yield the metrics of the 20 classes with the lowest accuracy.
    """
    from mlflow.entities import Metric

    names = metric_names(record.config.dataset.class_names or [])
    lowest_first = sorted(_accuracies(record), key=lambda pair: pair[1])
    for label, accuracy in lowest_first[:MAX_METRICS]:
        yield Metric(f"val_accuracy_{names[label]}", accuracy, record.ended_ms, 0)


def class_table(record: Record) -> str | None:
    """Return a CSV file with the accuracy for each class.

    The result is None if the metrics contain the accuracies of all classes.
    """
    accuracies = _accuracies(record)
    if len(accuracies) <= MAX_METRICS:
        return None

    names = record.config.dataset.class_names or []
    rows: list[dict[str, Json]] = []
    for label, accuracy in accuracies:
        rows.append({"class": names[label], "val_accuracy": accuracy})
    return csv_text(rows)


def _accuracies(record: Record) -> list[tuple[int, float]]:
    """Return the label and the accuracy of each class that has a name and validation images."""
    names = record.config.dataset.class_names or []
    accuracies = record.class_accuracies or class_accuracies(record.confusion_matrix or [])
    labelled = enumerate(accuracies[: len(names)])
    return [(label, accuracy) for label, accuracy in labelled if accuracy is not None]


def metric_names(class_names: Sequence[str]) -> list[str]:
    """Convert class names to valid and distinct MLflow metric names.

    For example, `T-shirt/top` becomes `T-shirt_top`. If a name is taken, the class's number is
    appended.
    """
    names: list[str] = []
    for label, class_name in enumerate(class_names):
        name = re.sub(r"[^\w\-. :]", "_", class_name)[:MAX_NAME_LENGTH]
        while name in names:
            name += f"_{label}"
        names.append(name)
    return names
