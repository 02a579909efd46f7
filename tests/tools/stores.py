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
    found = store.get_experiment_by_name(experiment)
    assert found is not None
    return list(
        store.search_runs(
            [found.experiment_id],
            f"tags.kind = '{kind}'",
            order_by=["start_time"],
            max_results=1000,
        )
    )


def models(store: MlflowClient, experiment: str = "lenet_exp") -> list[LoggedModel]:
    found = store.get_experiment_by_name(experiment)
    assert found is not None
    return list(store.search_logged_models([found.experiment_id]))


def points(store: MlflowClient, run_id: str) -> dict[str, list[Point]]:
    """Return every point of every metric of a run."""
    names = store.get_run(run_id).data.metrics
    return {
        name: sorted((m.step, m.value, m.timestamp) for m in store.get_metric_history(run_id, name))
        for name in names
    }


def files(store: MlflowClient, run_id: str) -> set[str]:
    """Return the top-level artifacts of a run."""
    return {artifact.path for artifact in store.list_artifacts(run_id)}


def everything(store: MlflowClient, experiment: str = "lenet_exp") -> dict[str, Any]:
    """Return everything that a store contains about the experiment's runs, for comparison."""
    return {
        run.info.run_id: (
            run.info.status,
            run.info.end_time,
            run.data.tags,
            run.data.params,
            points(store, run.info.run_id),
            files(store, run.info.run_id),
            sorted(m.model_id for m in (run.outputs.model_outputs if run.outputs else [])),
        )
        for kind in ("run", "sweep")
        for run in runs(store, kind, experiment)
    } | {
        model.model_id: (model.status, model.tags, len(model.metrics or []))
        for model in models(store, experiment)
    }


def content(store: MlflowClient, experiment: str = "lenet_exp") -> Counter[str]:
    """Return the content of a store as lines, which are equal for two stores with the same uploads.

    The lines omit the store's address, its IDs and registered versions, and add each model's number
    of files.
    """
    ids = {
        run.info.run_id: f"<{run.data.tags['run_folder']}>"
        for run in runs(store, experiment=experiment)
    }
    ids |= {
        run.info.run_id: f"<{run.data.tags['sweep']}>" for run in runs(store, "sweep", experiment)
    }
    lines = []
    for key, parts in everything(store, experiment).items():
        for n, part in enumerate(parts):
            lines += (
                [f"{key} {n} {k}={v}" for k, v in part.items()]
                if isinstance(part, dict)
                else [f"{key} {n} {part}"]
            )
    for model in models(store, experiment):
        lines.append(
            f"{model.model_id} files {len(store.list_logged_model_artifacts(model.model_id))}"
        )
        ids[model.model_id] = f"<model of {model.source_run_id}>"
    for one in reversed(ids):
        lines = [line.replace(one, ids[one]) for line in lines]
    address = r"(?<=experiments/)\d+|(?<=tracking_uri=\")[^\"]+"
    return Counter(
        re.sub(address, "", line) for line in lines if "mlflow.modelVersions" not in line
    )


def differences(one: Counter[str], other: Counter[str]) -> list[str]:
    """Return the lines that only one of two stores contains, or contains more often."""
    return [
        *(f"- {line}" for line in (one - other).elements()),
        *(f"+ {line}" for line in (other - one).elements()),
    ]


def champions(store: MlflowClient) -> dict[str, tuple[str, list[str]]]:
    """Return, by registered model, the run of its champion and the runs of all versions."""
    return {
        model.name: (
            store.get_model_version_by_alias(model.name, "champion").run_id,
            sorted(
                version.run_id for version in store.search_model_versions(f"name = '{model.name}'")
            ),
        )
        for model in store.search_registered_models()
    }
