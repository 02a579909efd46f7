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
    to, uri = tmp_path_factory.mktemp("model"), f"sqlite:///{tracked.outputs / 'mlflow.db'}"
    where = logged.artifact_location
    return Path(
        artifacts.download_artifacts(artifact_uri=where, dst_path=str(to), tracking_uri=uri)
    )


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
    ((model_id, step),) = [(o.model_id, o.step) for o in tracked.run.outputs.model_outputs]
    assert model_id == logged.model_id
    assert step == tracked.folder.record().best_epoch
    assert logged.params == tracked.run.data.params
    assert logged.tags["fingerprint"] == tracked.run.data.tags["fingerprint"]
    assert logged.tags["weights_digest"] == tracked.run.data.tags["weights_digest"]


def test_logged_model_is_pt2_file_with_signature_and_example(saved):
    assert [path.name for path in (saved / "data").iterdir()] == ["model.pt2"]
    described = Model.load(str(saved))
    (image,) = described.signature.inputs.inputs
    (scores,) = described.signature.outputs.inputs
    assert (image.shape, image.type.name) == ((-1, 1, 32, 32), "float32")
    assert (scores.shape, scores.type.name) == ((-1, 10), "float32")
    assert described.load_input_example(str(saved)).shape == (2, 1, 32, 32)


def test_logged_model_takes_any_batch_size_and_has_logged_accuracy(
    network, tracked, data, monkeypatch
):
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(tracked.outputs))
    ours = lenet_exp.load(f"runs:/{tracked.run.info.run_id}")
    images = data.images[data.val_index]
    with torch.inference_mode():
        for batch in (1, 2, len(images)):
            scores = network(images[:batch])
            torch.testing.assert_close(scores, ours(images[:batch]))
    right = scores.argmax(1) == data.labels[data.val_index]
    assert float(right.double().mean()) == tracked.run.data.metrics["best_val_accuracy"]


def test_logged_model_has_metrics_of_best_epoch_with_datasets(tracked, logged):
    digests = tracked.folder.begun().data_digests
    best = tracked.folder.history().epochs[tracked.folder.record().best_epoch - 1]
    assert {m.key: m.value for m in logged.metrics} == {
        "best_val_accuracy": best.val_accuracy,
        "best_epoch": best.epoch,
        "seconds_to_best": tracked.folder.record().seconds_to_best,
        **{
            name: getattr(best, name)
            for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
        },
    }
    for metric in logged.metrics:
        split = "train" if metric.key.startswith("train_") else "validation"
        assert (metric.dataset_name, metric.dataset_digest) == ("digits", digests[split][:36])


@pytest.mark.parametrize(
    "activation", ["prelu", "rrelu"]
)  # an activation with weights, and one of lenet_exp
def test_exported_network_computes_same_logits(activation, tmp_path):
    images = torch.randn(7, 1, 32, 32, generator=torch.Generator().manual_seed(3))
    config = configure(f"activation={activation}", "regularization.dropout_rate=0.5")
    weights = as_arrays(
        build_network(config.activation, 0.0, weights=torch.Generator().manual_seed(1)).state_dict()
    )
    write_model_files(
        tmp_path / "model", config, export_network(config, weights)[0], "m-1", run_id="run1"
    )
    network = rebuild(config, {k: torch.from_numpy(v) for k, v in weights.items()})
    loaded = torch.export.load(tmp_path / "model" / EXPORTED)
    with torch.inference_mode():
        assert torch.equal(loaded.module()(images), network(images))
    model = Model.load(str(tmp_path / "model"))
    assert (model.model_id, model.run_id) == ("m-1", "run1")


def test_network_that_torch_cannot_export_has_no_archive():
    config = replace(configure(), model={"_target_": "tests.tools.networks.Branch"})
    check_config(config)
    archive, warning = export_network(config, as_arrays(network_of(config).state_dict()))
    assert (archive, "torch.export" in warning) == (b"", True)


def test_only_a_full_disk_delays_the_export(monkeypatch):
    """A network that opens a missing file is uploaded without its export, because it can never be
    exported here.
    """
    config = configure()
    weights = as_arrays(network_of(config).state_dict())

    def fail(number: int) -> None:
        def export_trained(*_: object) -> bytes:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("lenet_exp.training.trained.exported.export_trained", export_trained)

    fail(errno.ENOENT)
    assert export_network(config, weights)[0] == b""
    fail(errno.ENOSPC)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        export_network(config, weights)


def test_model_contains_no_files_of_working_directory(tmp_path, monkeypatch):
    for name in ("uv.lock", "pyproject.toml", ".python-version"):
        (tmp_path / name).write_text("private")
    monkeypatch.chdir(tmp_path)
    config = configure()
    weights = as_arrays(build_network(config.activation, 0.0).state_dict())
    write_model_files(
        tmp_path / "model", config, export_network(config, weights)[0], "m-1", run_id="run1"
    )
    made = {
        str(path.relative_to(tmp_path / "model"))
        for path in (tmp_path / "model").rglob("*")
        if path.is_file()
    }
    described = {"MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt"}
    assert made == described | {EXPORTED, "input_example.json", "serving_input_example.json"}
    assert not (tmp_path / "mlflow.db").exists()
