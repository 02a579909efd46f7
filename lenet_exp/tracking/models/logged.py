"""Reads records and weights of trained models from MLflow, without executing the store's code.

`mlflow.pytorch.load_model` is not used, because it unpickles the artifact and imports any module
that the artifact specifies.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_exp.errors import UserError, first_line
from lenet_exp.files import from_json
from lenet_exp.folders.digests import digest_error
from lenet_exp.folders.records import Record, record_from_json
from lenet_exp.tracking.models.model import WEIGHTS
from lenet_exp.training.trained.weights import load_weights

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from torch import Tensor

MAX_BYTES = 64 * 2**20  # maximum size of files that are read into memory

Weights = dict[str, "Tensor"]


def logged_model(client: MlflowClient, uri: str, run: Run) -> tuple[Weights, Record]:
    """Return the weights and the record of the model that an MLflow run logged.

    Raises:
        UserError: the run has no model, the model cannot be read, or the weights digest in the
            model's record differs from that of the run.
        MlflowException: the store does not respond.
    """
    models = run.outputs.model_outputs if run.outputs else []
    if not models:
        outcome = run.data.tags.get("outcome", "unknown")
        raise UserError(f"runs:/{run.info.run_id}: the run has no model (outcome {outcome})")

    model = client.get_logged_model(models[0].model_id)
    return model_at(client, uri, run, model.artifact_location)


def model_at(client: MlflowClient, uri: str, run: Run, location: str) -> tuple[Weights, Record]:
    """Return the weights and the record of a run's model at an artifact location.

    Raises:
        UserError: the model cannot be read, or the weights digest in its record differs from that
            of the run.
        MlflowException: the store does not respond.
    """
    name = f"runs:/{run.info.run_id}"
    with tempfile.TemporaryDirectory() as scratch:
        try:
            record, _ = download_record(client, run.info.run_id)
        except (ValueError, OSError) as e:
            raise UserError(f"{name}: its record.json cannot be read ({first_line(e)})") from e

        digest = run.data.tags.get("weights_digest", record.weights_digest)
        if digest is None or digest != record.weights_digest:
            raise UserError(
                f"{name}: its record.json does not match the weights of the run (digest {digest})"
            )
        return _download_weights(uri, location, Path(scratch), name), record


def download_record(client: MlflowClient, run_id: str) -> tuple[Record, str | None]:
    """Download the record of an MLflow run.

    Returns:
        The record, and the reason why it does not match its digest, or None if it does.

    Raises:
        ValueError: the file is too large or is not a record.
        MlflowException: the run has no record, or the store does not respond.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(client.download_artifacts(run_id, "record.json", scratch))
        _check_size(path.stat().st_size)
        value = from_json(path.read_bytes())
        return record_from_json(value), digest_error(value)


def read_weights(path: Path) -> tuple[Weights, dict[str, str]]:
    """Return the tensors and the metadata in an untrusted safetensors file.

    Raises:
        FileNotFoundError: the file was not found.
        ValueError: the file is too large or is not a safetensors file.
    """
    _check_size(path.stat().st_size)
    try:
        return load_weights(path)
    except Exception as e:  # safetensors raises its own exception for a corrupt file
        raise ValueError(first_line(e)) from e


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES >> 20} MiB")


def _download_weights(uri: str, location: str, scratch: Path, name: str) -> Weights:
    from mlflow import artifacts

    files = artifacts.list_artifacts(artifact_uri=location, tracking_uri=uri)
    weights_file = next((file for file in files if Path(file.path).name == WEIGHTS), None)
    if weights_file is None:
        raise UserError(
            f"{name}: its model has no {WEIGHTS} (release 0.1 saved none); "
            "give its run folder instead"
        )

    try:
        _check_size(weights_file.file_size or 0)
        file = artifacts.download_artifacts(
            f"{location}/{WEIGHTS}", dst_path=str(scratch), tracking_uri=uri
        )
        return read_weights(Path(file))[0]
    except (ValueError, OSError) as e:
        raise UserError(f"{name}: its {WEIGHTS} cannot be read ({first_line(e)})") from e
