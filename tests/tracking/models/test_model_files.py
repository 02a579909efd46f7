"""The files of a logged model, by which MLflow serves it."""

from __future__ import annotations

import pytest
import torch
from mlflow.models import Model

from lenet_exp.tracking.models.model import EXPORTED, write_model_files
from lenet_exp.training.lenet5 import LeNet5, rebuild
from lenet_exp.training.trained.weights import as_arrays
from tests.training.small import configure


@pytest.mark.parametrize("activation", ["selu", "prelu", "rrelu"])  # plain, with weights, of our own
def test_an_exported_network_answers_as_it_does(activation, tmp_path):
    images = torch.randn(7, 1, 32, 32, generator=torch.Generator().manual_seed(3))
    config = configure(f"activation={activation}", "regularization.dropout_rate=0.5")
    weights = as_arrays(LeNet5(config.activation, 0.0, weights=torch.Generator().manual_seed(1)).state_dict())
    write_model_files(tmp_path / "model", config, weights, "m-1", "run1")
    network = rebuild(config, {k: torch.from_numpy(v) for k, v in weights.items()})
    loaded = torch.export.load(tmp_path / "model" / EXPORTED)
    with torch.inference_mode():
        assert torch.equal(loaded.module()(images), network(images))
    model = Model.load(str(tmp_path / "model"))
    assert (model.model_id, model.run_id) == ("m-1", "run1")
