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
    assert (record.outcome, record.dataset) == ("finished", dataset)
    assert (config.data_root, config.tracking.uri, config.model_path, record.host) == (
        "data",
        None,
        None,
        "",
    )
    assert "/" not in "".join(record.data_files)
    # Any machine can reproduce the model; `lenet-reproduce run=champion:mnist` takes minutes.
    assert digest_error(json.loads(load_weights(path)[1]["record"])) is None
    assert record.engine == "native"
    assert (
        config.optimizer["lr"]
        == compose([f"experiment={record.command.rpartition('=')[2]}"]).optimizer["lr"]
    )


def test_bundled_model_has_recorded_validation_accuracy(real_data):
    model = load_file(shipped_file("mnist"))
    data = load_training_data(
        compose(["dataset=mnist", f"data_root={real_data}"]), torch.device("cpu")
    )
    right = (
        predict_logits(model.network, data.images[data.val_index]).argmax(1)
        == data.labels[data.val_index]
    )
    # Rounding on another processor changes one or two of 10,000 predictions.
    assert float(right.double().mean()) == pytest.approx(model.record.best_val_accuracy, abs=3e-4)


def test_first_champion_must_beat_bundled_model(main, ready, workdir, monkeypatch):
    """The results are synthetic; the run was trained on digits."""
    assert main(*SMALL, "num_epoch=1", "tracking.plots=false").returncode == 0
    uri = f"sqlite:///{ready / 'mlflow.db'}"
    store, opened = client(ready), open_store(compose([]).tracking)
    (run,) = runs(store)
    mine = (run.info.run_id, run.outputs.model_outputs[0].model_id)
    shipped = load_file(shipped_file("mnist"))
    lesser, better = (
        replace(shipped.record, best_val_accuracy=accuracy) for accuracy in (0.9, 0.9999)
    )
    assert not register_if_best(opened, lesser, *mine)
    (version,) = store.search_model_versions("name = 'lenet5-mnist'")
    assert version.tags["best_val_accuracy"] == str(shipped.record.best_val_accuracy)
    (of_shipped,) = runs(store, "shipped")
    assert version.run_id == of_shipped.info.run_id
    assert of_shipped.info.status == "FINISHED"
    done = main(f"images={draw(7, STYLES['as in MNIST'], workdir / 'seven')}", program="predict")
    assert "seven.png: 7" in done.stdout
    assert "mnist_champion__version_1" in done.stdout
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    try:
        images = np.linspace(-1, 1, 3 * 32 * 32, dtype=np.float32).reshape(3, 1, 32, 32)
        answers = mlflow.pyfunc.load_model("models:/lenet5-mnist@champion").predict(images)
    finally:
        mlflow.set_tracking_uri(None)
    expected = shipped.network(torch.from_numpy(images)).detach().numpy()
    np.testing.assert_allclose(answers, expected, atol=1e-4)

    assert register_if_best(opened, better, *mine)
    assert str(champion(opened.client, "lenet5-mnist").version) == "2"
