"""Logs test results to the MLflow run of a model or of a sweep."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lenet_exp.addresses import hide_password, missing_database, store_name, store_uri
from lenet_exp.config.schema import PredictConfig
from lenet_exp.errors import first_line
from lenet_exp.folders.records import Record
from lenet_exp.folders.run_folder import run_id as folder_id
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.machine import now_ms
from lenet_exp.tracking.models.load import TrainedModel
from lenet_exp.tracking.stores.batch import log_files
from lenet_exp.tracking.stores.refused import why_refused
from lenet_exp.tracking.stores.store import connect
from lenet_exp.training.score import Score

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger("lenet_exp")


@dataclass(frozen=True)
class LoggedTest:
    """A test result that was logged to MLflow.

    Attributes:
        run_id: ID of the MLflow run that contains the result.
        times: number of times that the run's model has been evaluated on the test set.
    """

    run_id: str
    times: int


def log_test_result(
    config: PredictConfig, model: TrainedModel, score: Score, pictures: Mapping[str, bytes]
) -> LoggedTest | None:
    """Log test metrics and pictures to the MLflow run of the model.

    The tag `test_opened` records how many times the model has been evaluated on the test set, and
    the tag `test_digest` records the digest of the test set. test_score.json contains the digests
    of the files. If the model was trained on a different dataset, nothing is logged, because the
    result would look like a result on the model's own dataset.

    Args:
        pictures: content of picture files by name.

    Returns:
        The logged result; None if nothing was logged.
    """
    if model.record is None or model.record.dataset != config.dataset.name:
        return None

    uri = store_uri(config.tracking.uri)
    if model.run_id is None and missing_database(uri) is not None:
        return None

    with or_warned(uri):
        client = connect(uri)
        run = model.run_id or _find_run(client, model.record)
        if run is None:
            return None

        _log_test(client, run, score.metrics, pictures)
        client.log_dict(run, score.as_json(), "test_score.json")
        evaluations = client.get_metric_history(run, "test_accuracy")  # a point for each evaluation
        times = len(evaluations)
        client.set_tag(run, "test_opened", str(times))
        client.set_tag(run, "test_digest", str(score.data_digest))
        return LoggedTest(run, times)
    return None


def log_sweep_test(
    sweep: SweepFolder,
    uri: str | None,
    result: list[Any],
    leader: str | None,
    metrics: Mapping[str, float],
    pictures: Mapping[str, bytes],
) -> str | None:
    """Log the test results of a sweep's leader to the MLflow run of the sweep.

    Args:
        uri: address of the store; None for the store to which the sweep was uploaded.
        result: all results, for test_result.json.
        leader: name of the leader; None if the sweep has several datasets and therefore several
            leaders.
        metrics: test metrics of the leader.
        pictures: content of the leader's picture files by name.

    Returns:
        The ID of the sweep's MLflow run; None if there is no such run or the upload failed.
    """
    address = store_uri(uri or sweep.started().tracking_uri, sweep.outputs)
    run = sweep.delivered().run_id(store_name(address))
    if run is None:
        return None

    with or_warned(address):
        client = connect(address)
        client.log_text(run, json.dumps(result, indent=1), "test_result.json")
        if leader is not None:
            _log_test(client, run, metrics, pictures)
            client.set_tag(run, "test_of", leader)
        return run
    return None


def _log_test(
    client: MlflowClient, run: str, metrics: Mapping[str, float], pictures: Mapping[str, bytes]
) -> None:
    from mlflow.entities import Metric

    time_ms = now_ms()
    points = [Metric(name, value, time_ms, 0) for name, value in metrics.items()]
    client.log_batch(run, metrics=points)
    log_files(client, run, {f"test_{name}": content for name, content in pictures.items()})


@contextmanager
def or_warned(uri: str) -> Iterator[None]:
    """Convert errors from a store to warnings, so that results are still shown."""
    try:
        yield
    except Exception as e:
        reason = why_refused(uri, e) or first_line(e)
        log.warning("not logged to MLflow (%s): %s", hide_password(uri), reason)


def _find_run(client: MlflowClient, record: Record) -> str | None:
    """Return the ID of the MLflow run that was uploaded from a model's run folder, if any."""
    folder = folder_id(record.config.tracking.experiment, record.fingerprint)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, f"tags.run_folder = '{folder}'", max_results=1)
    return runs[0].info.run_id if runs else None
