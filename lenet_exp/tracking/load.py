"""Networks back from MLflow and from model files. No pickle is loaded; weights are checked against their record."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch

from lenet_exp.errors import StoreError, UserError
from lenet_exp.outputs import outputs_dir
from lenet_exp.tracking.model import rebuild
from lenet_exp.tracking.store import SQLITE, hide_password, import_mlflow
from lenet_exp.training.lenet5 import LeNet5
from lenet_exp.training.weights import load_weights, weights_digest


def load_run(run_id: str, tracking_uri: str | None) -> LeNet5:
    """The logged model of an MLflow run; see `api.load`."""
    mlflow = import_mlflow()
    from mlflow import artifacts, pytorch
    from mlflow.exceptions import MlflowException

    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{outputs_dir() / 'mlflow.db'}"
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists():
        raise StoreError(
            f"{uri.removeprefix(SQLITE)}: no such MLflow database; give tracking_uri or set LENET_EXP_OUTPUTS"
        )
    client = mlflow.MlflowClient(tracking_uri=uri)
    try:
        run = client.get_run(run_id)
        models = run.outputs.model_outputs if run.outputs else []
        if not models:
            raise UserError(f"runs:/{run_id}: the run has no model (outcome {run.data.tags.get('outcome', 'unknown')})")
        location = client.get_logged_model(models[0].model_id).artifact_location
        with tempfile.TemporaryDirectory() as scratch:
            record_path = client.download_artifacts(run_id, "record.json", scratch)
            record = json.loads(Path(record_path).read_text())
            path = artifacts.download_artifacts(artifact_uri=location, dst_path=f"{scratch}/model", tracking_uri=uri)
            with warnings.catch_warnings(action="ignore"):  # torch's, about its own buffers
                exported = pytorch.load_model(Path(path).as_posix())  # refuses archives with pickled code
    except MlflowException as e:
        raise UserError(hide_password(f"runs:/{run_id}: {str(e).splitlines()[0]} (store {uri})")) from e
    return _checked(f"runs:/{run_id}", record, exported.state_dict())


def load_file(path: str) -> LeNet5:
    """A `.safetensors` file of `model_path`; see `api.load`."""
    try:
        weights, metadata = load_weights(Path(path).expanduser())
        record = json.loads(metadata["record"])
    except FileNotFoundError as e:
        raise UserError(f"{path}: no such file") from e
    except Exception as e:  # safetensors raises its own class for a damaged file
        raise UserError(f"{path}: not a model file of lenet_exp ({(str(e).splitlines() or [''])[0]})") from e
    return _checked(path, record, weights)


def _checked(name: str, record: dict[str, Any], weights: dict[str, torch.Tensor]) -> LeNet5:
    network = rebuild(record["config"], weights)
    digest = weights_digest({k: v.detach() for k, v in network.state_dict().items()})
    if record.get("weights_digest") not in {None, digest}:
        raise UserError(f"{name}: its weights are not those of its record (digest {digest[:12]})")
    return network
