"""Collects everything that an upload changes in an MLflow run, to send it in few requests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_exp.config.params import text
from lenet_exp.files import Json
from lenet_exp.tracking.stores.store import Store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

# maximum number of metrics, params, and tags that MLflow accepts in one request
MOST_VALUES = 1000


@dataclass
class RunBatch:
    """Values and files to upload to an MLflow run. Repeating an upload changes nothing.

    Attributes:
        params: values of params by name.
        metrics: points of metrics, with time stamps from the run folder.
        tags: values of tags by name.
        files: contents of artifacts by file name.
    """

    params: dict[str, str] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    tags: dict[str, Json] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def send(self, store: Store, run_id: str) -> None:
        """Upload everything to an MLflow run: the files first, and then the values."""
        from mlflow.entities import Param, RunTag

        log_files(store.client, run_id, self.files)

        params = [Param(name, value) for name, value in self.params.items()]
        tags = [RunTag(name, value) for name, value in strings(self.tags).items()]
        has_values = bool(params or tags or self.metrics)
        space_for_metrics = MOST_VALUES - len(params) - len(tags)
        if has_values:
            first_metrics = self.metrics[:space_for_metrics]
            store.client.log_batch(run_id, metrics=first_metrics, params=params, tags=tags)
        log_metrics(store, run_id, self.metrics[space_for_metrics:])


def log_metrics(store: Store, run_id: str, points: Iterable[Metric]) -> None:
    """Log metrics to an MLflow run, in batches of the maximum size that MLflow accepts."""
    metrics = list(points)
    for start in range(0, len(metrics), MOST_VALUES):
        store.client.log_batch(run_id, metrics=metrics[start : start + MOST_VALUES])


def log_files(client: MlflowClient, run_id: str, files: Mapping[str, bytes]) -> None:
    """Upload files as artifacts of an MLflow run, in one request.

    Args:
        files: content of the files by name.
    """
    if not files:
        return

    with tempfile.TemporaryDirectory() as scratch:
        for name, content in files.items():
            (Path(scratch) / name).write_bytes(content)
        client.log_artifacts(run_id, scratch)


def strings(tags: Mapping[str, Json]) -> dict[str, str]:
    """Convert the values of tags to strings.

    MLflow's REST API accepts only strings, but MLflow's SQL store accepts any type. Without this
    conversion, errors would appear only with a server.
    """
    return {str(name): text(value) for name, value in tags.items()}
