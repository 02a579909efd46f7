"""The best model of a run as an MLflow logged model."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mlflow import artifacts, pytorch
from mlflow.entities import LoggedModel
from mlflow.models import Model

import lenet_exp
from lenet_exp.data.images import TrainingData, load_training_data
from lenet_exp.tracking.models.exporter import export_network
from lenet_exp.tracking.models.model import EXPORTED, write_model_files
from lenet_exp.training.check import check_config
from lenet_exp.training.network import build_network, network_of, rebuild
from lenet_exp.training.trained.weights import as_arrays
from tests.tools.stores import models
from tests.tracking.conftest import Tracked
from tests.training.small import configure


@pytest.fixture(scope="module")
def logged(tracked: Tracked) -> LoggedModel:
    (model,) = models(tracked.store)
    return model


@pytest.fixture(scope="module")
def saved(tracked: Tracked, logged: LoggedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the model as downloaded from MLflow."""
    folder = artifacts.download_artifacts(
        artifact_uri=logged.artifact_location,
        dst_path=str(tmp_path_factory.mktemp("model")),
        tracking_uri=f"sqlite:///{tracked.outputs / 'mlflow.db'}",
    )
    return Path(folder)


@pytest.fixture
def network(saved: Path, monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """Return the network as MLflow loads it without pickle."""
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    return pytorch.load_model(str(saved))


@pytest.fixture(scope="module")
def data(tracked: Tracked) -> TrainingData:
    return load_training_data(tracked.folder.begun().config, torch.device("cpu"))


def test_logged_model_is_ready_and_linked_to_run(tracked, logged):
    assert logged.name == "lenet5-digits"
    assert str(logged.status) == "READY"
    assert logged.source_run_id == tracked.run.info.run_id
    (output,) = tracked.run.outputs.model_outputs
    assert output.model_id == logged.model_id
    assert output.step == tracked.folder.record().best_epoch
    assert logged.params == tracked.run.data.params
    assert logged.tags["fingerprint"] == tracked.run.data.tags["fingerprint"]
    assert logged.tags["weights_digest"] == tracked.run.data.tags["weights_digest"]


def test_logged_model_is_pt2_file_with_signature_and_example(saved):
    assert [path.name for path in (saved / "data").iterdir()] == ["model.pt2"]
    model = Model.load(str(saved))
    (image,) = model.signature.inputs.inputs
    assert image.shape == (-1, 1, 32, 32)
    assert image.type.name == "float32"
    (scores,) = model.signature.outputs.inputs
    assert scores.shape == (-1, 10)
    assert scores.type.name == "float32"
    assert model.load_input_example(str(saved)).shape == (2, 1, 32, 32)


def test_logged_model_takes_any_batch_size_and_has_logged_accuracy(
    network, tracked, data, monkeypatch
):
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(tracked.outputs))
    network_of_run = lenet_exp.load(f"runs:/{tracked.run.info.run_id}")
    images = data.images[data.val_index]
    with torch.inference_mode():
        for batch_size in (1, 2, len(images)):
            batch = images[:batch_size]
            scores = network(batch)
            torch.testing.assert_close(scores, network_of_run(batch))

    is_correct = scores.argmax(1) == data.labels[data.val_index]
    accuracy = float(is_correct.double().mean())
    assert accuracy == tracked.run.data.metrics["best_val_accuracy"]


def test_logged_model_has_metrics_of_best_epoch_with_datasets(tracked, logged):
    record = tracked.folder.record()
    best = tracked.folder.history().epochs[record.best_epoch - 1]
    assert {metric.key: metric.value for metric in logged.metrics} == {
        "best_val_accuracy": best.val_accuracy,
        "best_epoch": best.epoch,
        "seconds_to_best": record.seconds_to_best,
        "train_loss": best.train_loss,
        "train_accuracy": best.train_accuracy,
        "val_loss": best.val_loss,
        "val_accuracy": best.val_accuracy,
    }

    digests = tracked.folder.begun().data_digests
    for metric in logged.metrics:
        split = "train" if metric.key.startswith("train_") else "validation"
        assert metric.dataset_name == "digits"
        assert metric.dataset_digest == digests[split][:36]


# an activation with weights, and one of lenet_exp
@pytest.mark.parametrize("activation", ["prelu", "rrelu"])
def test_exported_network_computes_same_logits(activation, tmp_path):
    config = configure(f"activation={activation}", "regularization.dropout_rate=0.5")
    original = build_network(config.activation, 0.0, weights=torch.Generator().manual_seed(1))
    weights = as_arrays(original.state_dict())

    archive, _ = export_network(config, weights)
    write_model_files(tmp_path / "model", config, archive, "m-1", run_id="run1")

    images = torch.randn(7, 1, 32, 32, generator=torch.Generator().manual_seed(3))
    tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
    network = rebuild(config, tensors)
    exported = torch.export.load(tmp_path / "model" / EXPORTED)
    with torch.inference_mode():
        assert torch.equal(exported.module()(images), network(images))
    model = Model.load(str(tmp_path / "model"))
    assert model.model_id == "m-1"
    assert model.run_id == "run1"


def test_network_that_torch_cannot_export_has_no_archive():
    config = replace(configure(), model={"_target_": "tests.tools.networks.Branch"})
    check_config(config)
    weights = as_arrays(network_of(config).state_dict())
    archive, warning = export_network(config, weights)
    assert archive == b""
    assert "torch.export" in warning


def test_only_a_full_disk_delays_the_export(monkeypatch):
    """A network that opens a missing file is uploaded without its export, because it can never be
    exported here.
    """
    config = configure()
    weights = as_arrays(network_of(config).state_dict())

    def let_export_fail(error_number: int) -> None:
        def export_trained(*_: object) -> bytes:
            raise OSError(error_number, os.strerror(error_number))

        monkeypatch.setattr("lenet_exp.training.trained.exported.export_trained", export_trained)

    let_export_fail(errno.ENOENT)
    archive, _ = export_network(config, weights)
    assert archive == b""

    let_export_fail(errno.ENOSPC)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        export_network(config, weights)


def test_model_contains_no_files_of_working_directory(tmp_path, monkeypatch):
    for name in ("uv.lock", "pyproject.toml", ".python-version"):
        (tmp_path / name).write_text("private")
    monkeypatch.chdir(tmp_path)
    config = configure()
    weights = as_arrays(build_network(config.activation, 0.0).state_dict())
    archive, _ = export_network(config, weights)
    folder = tmp_path / "model"

    write_model_files(folder, config, archive, "m-1", run_id="run1")

    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    descriptions = {"MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt"}
    examples = {"input_example.json", "serving_input_example.json"}
    assert files == {EXPORTED} | descriptions | examples
    assert not (tmp_path / "mlflow.db").exists()
