"""Finds runs in an MLflow store for a comparison, using an MLflow filter."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lenet_exp.addresses import store_name
from lenet_exp.comparison.runs import ComparedRun, Provenance, StoredRuns, flags_and_seed
from lenet_exp.config.metric import Metric
from lenet_exp.errors import ConfigError, StoreError, first_line
from lenet_exp.folders.records import SIZES, TestResult
from lenet_exp.tracking.stores.mlflow_runs import WITHIN
from lenet_exp.tracking.stores.store import answering, connect, pages

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

VERSION = "version."  # prefix of tags that contain the versions of libraries
TEST_ACCURACY = "test_accuracy"  # metric
SPLITS = {"training": "train"}  # maps MLflow's name of a split to the name in records

log = logging.getLogger("lenet_exp")


def runs_of_filter(uri: str, experiment: str, filter_string: str) -> StoredRuns:
    """Return the runs in an experiment that match a filter, and what is known of their sweeps.

    The runs are sorted from oldest to newest. MLflow runs that represent sweeps are excluded.

    Raises:
        ConfigError: MLflow rejects the filter.
        StoreError: the store or experiment was not found.
    """
    client = connect(uri)
    experiment_id = _find_experiment(client, uri, experiment)
    runs = _find_runs(client, experiment_id, filter_string)

    # from newest to oldest
    complete_runs = [run for run in runs if {"dataset", "seed"} <= run.data.params.keys()]
    skipped = len(runs) - len(complete_runs)
    if skipped > 0:
        log.warning("runs skipped because they lack a dataset or a seed: %d", skipped)

    sweeps = _find_sweeps(client, experiment_id, complete_runs)
    store = store_name(uri)
    compared_runs = [_compared(run, client, store) for run in reversed(complete_runs)]
    return StoredRuns(
        runs=compared_runs,
        swept=_swept_flags(sweeps),
        have_added_seeds=any(WITHIN in sweep.data.tags for sweep in sweeps),
    )


def _find_experiment(client: MlflowClient, uri: str, name: str) -> str:
    """Return the ID of an experiment.

    Raises:
        StoreError: the store or experiment was not found.
    """
    with answering(uri):
        experiment = client.get_experiment_by_name(name)
        names = ""
        if experiment is None:
            names = ", ".join(other.name for other in client.search_experiments())
    if experiment is None:
        raise StoreError(
            f"experiment={name}: not found in {store_name(uri)}; expected one of: {names}"
        )
    return experiment.experiment_id


def _find_runs(client: MlflowClient, experiment_id: str, filter_string: str) -> list[Run]:
    """Return the runs that match a filter, without those that represent sweeps.

    Raises:
        ConfigError: MLflow rejects the filter.
    """
    from mlflow.exceptions import MlflowException

    conditions = [filter_string.strip(), "tags.kind = 'run'"]
    query = " and ".join(condition for condition in conditions if condition)
    try:
        return list(pages(client, experiment_id, query))
    except MlflowException as e:
        raise ConfigError(
            f"filter={filter_string}: {first_line(e)}; for example: params.model = 'lenet5' and "
            "params.activation = 'selu'"
        ) from e


def _find_sweeps(client: MlflowClient, experiment_id: str, runs: Sequence[Run]) -> list[Run]:
    """Return the MLflow runs of the sweeps to which some runs belong."""
    sweep_ids: set[str] = set()
    for run in runs:
        sweep_ids.update(run.data.tags.get("sweeps", "").split(","))

    all_sweeps = pages(client, experiment_id, "tags.kind = 'sweep'")
    return [sweep for sweep in all_sweeps if sweep.info.run_id in sweep_ids]


def _swept_flags(sweeps: Sequence[Run]) -> list[str]:
    """Return the flags that sweeps varied, without duplicates."""
    flags: dict[str, None] = {}
    for sweep in sweeps:
        for flag in sweep.data.tags.get("swept", "").split():
            flags[flag.lstrip("+")] = None
    return list(flags)


def _compared(run: Run, client: MlflowClient, store: str) -> ComparedRun:
    """Return a run for a comparison. Its curve is requested from the store when it is needed.

    Args:
        store: name of the store.
    """
    params = run.data.params
    metrics = run.data.metrics
    tags = run.data.tags
    run_id = run.info.run_id
    flags, seed = flags_and_seed(params)
    metric = Metric.of_params(params)

    outcome = tags.get("outcome", "failed")
    if run.info.status == "RUNNING":
        outcome = "running"
    best_epoch = None
    if "best_epoch" in metrics:
        best_epoch = int(metrics["best_epoch"])

    def curve() -> Sequence[float]:
        points = client.get_metric_history(run_id, metric.key)
        return [point.value for point in sorted(points, key=lambda point: point.step)]

    def test_result() -> TestResult | None:
        if TEST_ACCURACY not in metrics:
            return None
        return TestResult(metrics[TEST_ACCURACY], "", None)

    return ComparedRun(
        id=tags.get("run_folder", run_id),
        flags=flags,
        seed=seed,
        outcome=outcome,
        metric=metric,
        best=metrics.get(f"best_{metric.key}"),
        best_epoch=best_epoch,
        seconds_to_best=metrics.get("seconds_to_best"),
        curve=curve,
        test_result=test_result,
        last=lambda: metrics.get(metric.key),
        mlflow_runs=lambda: {store: run_id},
        size=_size(run),
        provenance=_provenance(run),
    )


def _size(run: Run) -> dict[str, int]:
    """Return the size of a run's network, keyed by `SIZES`."""
    sizes = {}
    for name in SIZES:
        text = run.data.params.get(name, "")
        if text.isdigit():
            sizes[name] = int(text)
    return sizes


def _provenance(run: Run) -> Provenance:
    tags = run.data.tags
    versions: dict[str, str] = {}
    for name, value in tags.items():
        if name.startswith(VERSION):
            versions[name.removeprefix(VERSION)] = value

    return Provenance(
        data_digests=_data_digests(run),
        execution=run.data.params,
        versions=versions,
        git={name: tags[name] for name in ("git_commit", "git_dirty") if name in tags},
        host=tags.get("host", ""),
    )


def _data_digests(run: Run) -> dict[str, str]:
    """Return the digests of a run's datasets, keyed by split."""
    dataset_inputs = run.inputs.dataset_inputs if run.inputs else []
    digests: dict[str, str] = {}
    for dataset_input in dataset_inputs:
        for tag in dataset_input.tags:
            split = SPLITS.get(tag.value, tag.value)
            digests[split] = dataset_input.dataset.digest
    return digests
