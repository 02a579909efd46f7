"""MLflow metrics `val_accuracy_<class>`: the validation accuracy for each class.

MLflow lists these metrics after `val_accuracy`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lenet_exp.folders.records import Record

if TYPE_CHECKING:
    from mlflow.entities import Metric

LONGEST = 200  # maximum length of a class name; MLflow limits the full metric name to 250 characters


def class_points(record: Record) -> Iterator[Metric]:
    """Yield a metric for each class that has validation images: the accuracy for the class at the best epoch.

    If the record has no confusion matrix, yield nothing.
    """
    from mlflow.entities import Metric

    names = metric_names(record.config.dataset.class_names)
    for label, (name, counts) in enumerate(zip(names, record.confusion_matrix or [], strict=False)):
        if sum(counts):
            yield Metric(f"val_accuracy_{name}", counts[label] / sum(counts), record.ended_ms, 0)


def metric_names(class_names: Sequence[str]) -> list[str]:
    """Convert class names to valid and distinct MLflow metric names: `T-shirt/top` becomes `T-shirt_top`."""
    names: list[str] = []
    for label, name in enumerate(class_names):
        safe = re.sub(r"[^\w\-. :]", "_", name)[:LONGEST]
        if not safe.strip("."):  # MLflow would interpret `..` as a path
            safe = f"class {label}"
        while safe in names:
            safe += f"_{label}"
        names.append(safe)
    return names
