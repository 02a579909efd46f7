"""The validation accuracy of each class as metrics: `val_accuracy_<class>`, which MLflow lists after `val_accuracy`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lenet_exp.folders.records import Record

if TYPE_CHECKING:
    from mlflow.entities import Metric

LONGEST = 200  # MLflow allows 250 characters in all


def class_points(record: Record) -> Iterator[Metric]:
    """One point for each class that has validation images, of the best epoch; none without a confusion matrix."""
    from mlflow.entities import Metric

    names = metric_names(record.config.dataset.class_names)
    for label, (name, counts) in enumerate(zip(names, record.confusion_matrix or [], strict=False)):
        if sum(counts):
            yield Metric(f"val_accuracy_{name}", counts[label] / sum(counts), record.ended_ms, 0)


def metric_names(class_names: Sequence[str]) -> list[str]:
    """The class names as MLflow's metrics may be called, all different: `T-shirt/top` is `T-shirt_top`."""
    names: list[str] = []
    for label, name in enumerate(class_names):
        safe = re.sub(r"[^\w\-. :]", "_", name)[:LONGEST]
        if not safe.strip("."):  # `..` would be a path
            safe = f"class {label}"
        while safe in names:
            safe += f"_{label}"
        names.append(safe)
    return names
