"""The bundled models predict without training and are the first champions."""

from __future__ import annotations

import json
from dataclasses import replace

import mlflow
import numpy as np
import pytest
import torch

from lenet_exp.config.fingerprint import fingerprint
from lenet_exp.data.images import load_training_data
from lenet_exp.folders.digests import digest_error
from lenet_exp.tracking.models.champion import champion, register_if_best
from lenet_exp.tracking.models.load import load_file
from lenet_exp.tracking.models.shipped import shipped_file
from lenet_exp.tracking.stores.store import open_store
from lenet_exp.training.evaluate import predict_logits
from lenet_exp.training.trained.weights import load_weights
from tests.prediction.drawn import STYLES, draw
from tests.tools.commands import SMALL
from tests.tools.configs import compose
from tests.tools.stores import client, runs

SHIPPED = ("mnist", "fashion_mnist")


@pytest.mark.parametrize("dataset", SHIPPED)
def test_bundled_model_has_valid_record_without_machine_names(dataset):
    path = shipped_file(dataset)
    record = load_file(path).record  # checks the digest of the weights
    config = record.config
    assert fingerprint(config, record.data_digests) == record.fingerprint
    assert record.outcome == "finished"
    assert record.dataset == dataset
    assert config.data_root == "data"
    assert config.tracking.uri is None
    assert config.model_path is None
    assert record.host == ""
    assert "/" not in "".join(record.data_files)

    # Any machine can reproduce the model; `lenet-reproduce run=champion:mnist` takes minutes.
    _, metadata = load_weights(path)
    assert digest_error(json.loads(metadata["record"])) is None
    assert record.engine == "native"
    _, _, experiment = record.command.rpartition("=")
    recipe = compose([f"experiment={experiment}"])
    assert config.optimizer["lr"] == recipe.optimizer["lr"]


def test_bundled_model_has_recorded_validation_accuracy(real_data):
    model = load_file(shipped_file("mnist"))
    config = compose(["dataset=mnist", f"data_root={real_data}"])
    data = load_training_data(config, torch.device("cpu"))

    logits = predict_logits(model.network, data.images[data.val_index])

    is_correct = logits.argmax(1) == data.labels[data.val_index]
    accuracy = float(is_correct.double().mean())
    # Rounding on another processor changes one or two of 10,000 predictions.
    assert accuracy == pytest.approx(model.record.best_val_accuracy, abs=3e-4)


def test_first_champion_must_beat_bundled_model(main, ready, workdir, monkeypatch):
    """The results are synthetic; the run was trained on digits."""
    assert main(*SMALL, "num_epoch=1", "tracking.plots=false").returncode == 0
    store = open_store(compose([]).tracking)
    mlflow_client = client(ready)
    (run,) = runs(mlflow_client)
    run_id = run.info.run_id
    model_id = run.outputs.model_outputs[0].model_id
    shipped = load_file(shipped_file("mnist"))
    lesser_record = replace(shipped.record, best_val_accuracy=0.9)
    better_record = replace(shipped.record, best_val_accuracy=0.9999)

    assert not register_if_best(store, lesser_record, run_id, model_id)
    (version,) = mlflow_client.search_model_versions("name = 'lenet5-mnist'")
    assert version.tags["best_val_accuracy"] == str(shipped.record.best_val_accuracy)
    (shipped_run,) = runs(mlflow_client, "shipped")
    assert version.run_id == shipped_run.info.run_id
    assert shipped_run.info.status == "FINISHED"

    image = draw(7, STYLES["as in MNIST"], workdir / "seven")
    done = main(f"images={image}", program="predict")
    assert "seven.png: 7" in done.stdout
    assert "mnist_champion__version_1" in done.stdout

    uri = f"sqlite:///{ready / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    images = np.linspace(-1, 1, 3 * 32 * 32, dtype=np.float32).reshape(3, 1, 32, 32)
    try:
        logits = mlflow.pyfunc.load_model("models:/lenet5-mnist@champion").predict(images)
    finally:
        mlflow.set_tracking_uri(None)
    expected_logits = shipped.network(torch.from_numpy(images)).detach().numpy()
    np.testing.assert_allclose(logits, expected_logits, atol=1e-4)

    assert register_if_best(store, better_record, run_id, model_id)
    assert str(champion(store.client, "lenet5-mnist").version) == "2"
