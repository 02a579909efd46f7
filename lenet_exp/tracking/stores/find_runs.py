"""Finds runs in an MLflow store for a comparison, using an MLflow filter."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lenet_exp.addresses import store_name
from lenet_exp.comparison.runs import ComparedRun, Provenance, flags_and_seed
from lenet_exp.config.metric import Metric
from lenet_exp.errors import ConfigError, StoreError, first_line
from lenet_exp.folders.records import TestResult
from lenet_exp.tracking.stores.store import answering, connect, pages

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

VERSION = "version."  # prefix of tags that contain the versions of libraries
TESTED = "test_accuracy"
SPLITS = {"training": "train"}  # maps MLflow's name of a split to the name in records

log = logging.getLogger("lenet_exp")


def runs_of_filter(
    uri: str, experiment: str, filter_string: str
) -> tuple[list[ComparedRun], list[str]]:
    """Return the runs in an experiment that match a filter, and the flags that their sweeps varied.

    The runs are sorted from oldest to newest. MLflow runs that represent sweeps are excluded.

    Raises:
        ConfigError: MLflow rejects the filter.
        StoreError: the store or experiment was not found.
    """
    client = connect(uri)
    from mlflow.exceptions import MlflowException

    with answering(uri):
        found = client.get_experiment_by_name(experiment)
        names = ", ".join(e.name for e in client.search_experiments()) if found is None else ""
    if found is None:
        raise StoreError(
            f"experiment={experiment}: not found in {store_name(uri)}; expected one of: {names}"
        )
    query = " and ".join(filter(None, [filter_string.strip(), "tags.kind = 'run'"]))
    try:
        runs = list(pages(client, found.experiment_id, query))
    except MlflowException as e:
        raise ConfigError(
            f"filter={filter_string}: {first_line(e)}; for example: params.model = 'lenet5' and "
            "params.activation = 'selu'"
        ) from e
    known = [run for run in runs if {"dataset", "seed"} <= run.data.params.keys()]
    if len(known) < len(runs):
        log.warning(
            "runs skipped because they lack a dataset or a seed: %d", len(runs) - len(known)
        )
    sweeps = {sweep for run in known for sweep in run.data.tags.get("sweeps", "").split(",")}
    swept: dict[str, None] = {}
    for parent in pages(client, found.experiment_id, "tags.kind = 'sweep'"):
        if parent.info.run_id in sweeps:
            swept |= dict.fromkeys(
                flag.lstrip("+") for flag in parent.data.tags.get("swept", "").split()
            )
    return [_compared(run, client, store_name(uri)) for run in reversed(known)], list(swept)


def _compared(run: Run, client: MlflowClient, store: str) -> ComparedRun:
    flags, seed = flags_and_seed(run.data.params)
    metrics, run_id, metric = run.data.metrics, run.info.run_id, Metric.of_params(run.data.params)

    def curve() -> Sequence[float]:
        history = client.get_metric_history(run_id, metric.key)
        return [m.value for m in sorted(history, key=lambda m: m.step)]

    return ComparedRun(
        id=run.data.tags.get("run_folder", run_id),
        flags=flags,
        seed=seed,
        outcome="running"
        if run.info.status == "RUNNING"
        else run.data.tags.get("outcome", "failed"),
        metric=metric,
        best=metrics.get(f"best_{metric.key}"),
        best_epoch=int(metrics["best_epoch"]) if "best_epoch" in metrics else None,
        seconds_to_best=metrics.get("seconds_to_best"),
        curve=curve,
        test_result=lambda: TestResult(metrics[TESTED], "", None) if TESTED in metrics else None,
        last=lambda: metrics.get(metric.key),
        mlflow_runs=lambda: {store: run_id},
        parameters=_number(run, "parameters"),
        multiply_adds=_number(run, "multiply_adds"),
        provenance=_provenance(run),
    )


def _number(run: Run, param: str) -> int | None:
    text = run.data.params.get(param, "")
    return int(text) if text.isdigit() else None


def _provenance(run: Run) -> Provenance:
    tags, used = run.data.tags, run.inputs.dataset_inputs if run.inputs else []
    return Provenance(
        data_digests={
            SPLITS.get(t.value, t.value): found.dataset.digest for found in used for t in found.tags
        },
        execution=run.data.params,
        versions={
            key.removeprefix(VERSION): value
            for key, value in tags.items()
            if key.startswith(VERSION)
        },
        git={key: tags[key] for key in ("git_commit", "git_dirty") if key in tags},
        host=tags.get("host", ""),
    )
