"""Read MLflow stores for tests."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Run

Point = tuple[int, float, int]  # step, value, milliseconds since 1970


def client(outputs: Path) -> MlflowClient:
    """Return a client of the store in an outputs folder."""
    return MlflowClient(tracking_uri=f"sqlite:///{outputs / 'mlflow.db'}")


def runs(store: MlflowClient, kind: str = "run", experiment: str = "lenet_exp") -> list[Run]:
    """Return all runs (or sweeps, with `kind="sweep"`), oldest first."""
    oldest_first = ["start_time"]
    query = f"tags.kind = '{kind}'"
    ids = [_experiment_id(store, experiment)]
    return list(store.search_runs(ids, query, order_by=oldest_first, max_results=1000))


def models(store: MlflowClient, experiment: str = "lenet_exp") -> list[LoggedModel]:
    return list(store.search_logged_models([_experiment_id(store, experiment)]))


def _experiment_id(store: MlflowClient, name: str) -> str:
    experiment = store.get_experiment_by_name(name)
    assert experiment is not None
    return experiment.experiment_id


def points(store: MlflowClient, run_id: str) -> dict[str, list[Point]]:
    """Return every point of every metric of a run."""
    points_by_metric = {}
    for name in store.get_run(run_id).data.metrics:
        history = store.get_metric_history(run_id, name)
        points_by_metric[name] = sorted((m.step, m.value, m.timestamp) for m in history)
    return points_by_metric


def files(store: MlflowClient, run_id: str) -> set[str]:
    """Return the top-level artifacts of a run."""
    return {artifact.path for artifact in store.list_artifacts(run_id)}


def everything(store: MlflowClient, experiment: str = "lenet_exp") -> dict[str, Any]:
    """Return everything that a store contains about the experiment's runs, for comparison.

    Returns:
        A tuple of values for each run, sweep, and model, keyed by its ID.
    """
    contents: dict[str, Any] = {}
    for run in [*runs(store, "run", experiment), *runs(store, "sweep", experiment)]:
        run_id = run.info.run_id
        model_outputs = run.outputs.model_outputs if run.outputs else []
        contents[run_id] = (
            run.info.status,
            run.info.end_time,
            run.data.tags,
            run.data.params,
            points(store, run_id),
            files(store, run_id),
            sorted(model.model_id for model in model_outputs),
        )
    for model in models(store, experiment):
        contents[model.model_id] = (model.status, model.tags, len(model.metrics or []))
    return contents


def content(store: MlflowClient, experiment: str = "lenet_exp") -> Counter[str]:
    """Return the content of a store as lines, which are equal for two stores with the same uploads.

    The lines omit the store's address, its IDs and registered versions, and add each model's number
    of files.
    """
    lines = []
    for key, values in everything(store, experiment).items():
        for position, value in enumerate(values):
            lines += _lines_of(f"{key} {position}", value)
    for model in models(store, experiment):
        count = len(store.list_logged_model_artifacts(model.model_id))
        lines.append(f"{model.model_id} files {count}")

    # The name of a model contains the ID of its run, so that models are replaced first.
    names = _names_of_ids(store, experiment)
    for mlflow_id, name in reversed(names.items()):
        lines = [line.replace(mlflow_id, name) for line in lines]

    address = r"(?<=experiments/)\d+|(?<=tracking_uri=\")[^\"]+"
    lines = [re.sub(address, "", line) for line in lines if "mlflow.modelVersions" not in line]
    return Counter(lines)


def _lines_of(start: str, value: Any) -> list[str]:
    if isinstance(value, dict):
        return [f"{start} {key}={content}" for key, content in value.items()]
    return [f"{start} {value}"]


def _names_of_ids(store: MlflowClient, experiment: str) -> dict[str, str]:
    """Return a name for the ID of each run, sweep, and model, which is the same in all stores."""
    names = {}
    for run in runs(store, experiment=experiment):
        names[run.info.run_id] = f"<{run.data.tags['run_folder']}>"
    for run in runs(store, "sweep", experiment):
        names[run.info.run_id] = f"<{run.data.tags['sweep']}>"
    for model in models(store, experiment):
        names[model.model_id] = f"<model of {model.source_run_id}>"
    return names


def differences(one: Counter[str], other: Counter[str]) -> list[str]:
    """Return the lines that only one of two stores contains, or contains more often."""
    missing = [f"- {line}" for line in (one - other).elements()]
    surplus = [f"+ {line}" for line in (other - one).elements()]
    return missing + surplus


def champions(store: MlflowClient) -> dict[str, tuple[str, list[str]]]:
    """Return, by registered model, the run of its champion and the runs of all versions."""
    champions_by_model = {}
    for model in store.search_registered_models():
        champion = store.get_model_version_by_alias(model.name, "champion")
        versions = store.search_model_versions(f"name = '{model.name}'")
        run_ids = sorted(version.run_id for version in versions)
        champions_by_model[model.name] = (champion.run_id, run_ids)
    return champions_by_model
