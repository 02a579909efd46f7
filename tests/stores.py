"""Reads MLflow stores as tests want to see them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Run

Point = tuple[int, float, int]  # step, value, milliseconds since 1970


def client(outputs: Path) -> MlflowClient:
    """Of the store in an outputs folder."""
    return MlflowClient(tracking_uri=f"sqlite:///{outputs / 'mlflow.db'}")


def runs(store: MlflowClient, kind: str = "run", experiment: str = "lenet_exp") -> list[Run]:
    """All runs (or sweeps, with `kind="sweep"`), oldest first."""
    found = store.get_experiment_by_name(experiment)
    assert found is not None
    return list(
        store.search_runs([found.experiment_id], f"tags.kind = '{kind}'", order_by=["start_time"], max_results=1000)
    )


def models(store: MlflowClient, experiment: str = "lenet_exp") -> list[LoggedModel]:
    found = store.get_experiment_by_name(experiment)
    assert found is not None
    return list(store.search_logged_models([found.experiment_id]))


def points(store: MlflowClient, run_id: str) -> dict[str, list[Point]]:
    """Every point of every metric of a run."""
    names = store.get_run(run_id).data.metrics
    return {
        name: sorted((m.step, m.value, m.timestamp) for m in store.get_metric_history(run_id, name)) for name in names
    }


def files(store: MlflowClient, run_id: str) -> set[str]:
    """The artifacts at the top of a run."""
    return {artifact.path for artifact in store.list_artifacts(run_id)}


def everything(store: MlflowClient) -> dict[str, Any]:
    """All that a store holds of the experiment's runs, for comparison."""
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
        for run in runs(store, kind)
    } | {model.model_id: (model.status, model.tags, len(model.metrics or [])) for model in models(store)}
