"""The models that the package ships: they answer without training, and are the first champions to beat."""

from __future__ import annotations

import json
from dataclasses import replace

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from PIL import Image, ImageDraw

from lenet_exp.api import compose
from lenet_exp.config.fingerprint import fingerprint
from lenet_exp.data.images import load_training_data
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.seal import broken
from lenet_exp.tracking.champion import champion, crown
from lenet_exp.tracking.load import load_champion, load_file
from lenet_exp.tracking.shipped import shipped_file
from lenet_exp.tracking.store import open_store
from lenet_exp.training.evaluate import predict_classes
from lenet_exp.training.weights import load_weights

SHIPPED = ("mnist", "fashion_mnist")


@pytest.mark.parametrize("dataset", SHIPPED)
def test_its_record_is_that_of_its_weights_and_names_no_machine(dataset):
    path = shipped_file(dataset)
    record = load_file(path).record  # the digest of the weights is checked there
    config = record.config
    assert fingerprint(config, record.data_digests) == record.fingerprint
    assert (record.outcome, record.dataset) == ("finished", dataset)
    assert (config.data_root, config.tracking.uri, config.model_path, record.host) == ("data", None, None, "")
    assert "/" not in "".join(record.data_files)


@pytest.mark.parametrize("dataset", SHIPPED)
def test_any_machine_can_train_it_again(dataset):
    """The whole of it, `lenet-reproduce run=champion:mnist`, takes minutes."""
    _, metadata = load_weights(shipped_file(dataset))
    assert broken(json.loads(metadata["record"])) is None
    record = load_file(shipped_file(dataset)).record
    assert record.engine == "native"
    assert record.config.optimizer["lr"] == compose([f"experiment={record.command.rpartition('=')[2]}"]).optimizer["lr"]


@pytest.mark.parametrize("dataset", SHIPPED)
def test_its_validation_accuracy_is_what_its_record_says(dataset, real_data):
    model = load_file(shipped_file(dataset))
    config = compose([f"dataset={dataset}", f"data_root={real_data}"])
    data = load_training_data(config, torch.device("cpu"))
    right = predict_classes(model.network, data.images[data.val_index]) == data.labels[data.val_index]
    # Another processor rounds in another way: an image or two of 10,000.
    assert float(right.double().mean()) == pytest.approx(model.record.best_val_accuracy, abs=3e-4)


@pytest.mark.parametrize("dataset", SHIPPED)
def test_it_is_the_champion_where_nothing_was_trained(dataset, outputs):
    model = load_champion(dataset, f"sqlite:///{outputs / 'mlflow.db'}")
    assert model.name == f"lenet5-{dataset} (shipped with lenet_exp)"
    assert not outputs.exists()


def test_the_first_run_has_to_beat_it(main, ready, real_data, monkeypatch):
    ended = main("dataset=mnist", f"data_root={real_data}", "num_epoch=1", "batch_size=1000", "tracking.plots=false")
    assert ended.returncode == 0, ended.stderr
    uri = f"sqlite:///{ready / 'mlflow.db'}"
    client = MlflowClient(uri)
    (version,) = client.search_model_versions("name = 'lenet5-mnist'")
    shipped = load_file(shipped_file("mnist"))
    assert version.tags["best_val_accuracy"] == str(shipped.record.best_val_accuracy)
    experiment = client.get_experiment_by_name("lenet_exp").experiment_id
    (run,) = client.search_runs([experiment], "tags.kind = 'run'")
    (of_shipped,) = client.search_runs([experiment], "tags.kind = 'shipped'")
    assert version.run_id == of_shipped.info.run_id
    assert of_shipped.info.status == "FINISHED"
    said = main("dataset=mnist", f"data_root={real_data}", program="predict").stdout
    assert "lenet5-mnist@champion (version 1, shipped with lenet_exp) on mnist's test set" in said
    assert "no run of yours is better by validation; lenet-predict sweep=last takes" in said
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    try:
        images = np.linspace(-1, 1, 3 * 32 * 32, dtype=np.float32).reshape(3, 1, 32, 32)
        answers = mlflow.pyfunc.load_model("models:/lenet5-mnist@champion").predict(images)
    finally:
        mlflow.set_tracking_uri(None)
    expected = shipped.network(torch.from_numpy(images)).detach().numpy()
    np.testing.assert_allclose(answers, expected, atol=1e-4)

    (path,) = (ready / "runs").iterdir()
    store = open_store(compose([]).tracking)
    better = replace(RunFolder(path).record(), best_val_accuracy=0.9999)
    model = run.outputs.model_outputs[0].model_id
    assert crown(store, better, run.info.run_id, model)
    assert str(champion(store, "lenet5-mnist").version) == "2"


def test_pictures_are_answered_without_training(main, workdir, outputs):
    picture = Image.new("L", (60, 60), 255)
    ImageDraw.Draw(picture).line([(30, 8), (30, 52)], fill=0, width=6)
    picture.save(workdir / "one.png")
    ended = main("images=[one.png]", "output=answer.json", program="predict")
    assert ended.returncode == 0, ended.stderr
    assert "one.png: 1" in ended.stdout
    assert json.loads((workdir / "answer.json").read_text())
