"""The files of a logged model that MLflow needs to serve it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from mlflow.models import Model

from lenet_exp.tracking.models.model import EXPORTED, write_model_files
from lenet_exp.training.check import check_config
from lenet_exp.training.network import build_network, network_of, rebuild
from lenet_exp.training.trained.weights import as_arrays
from tests.training.small import configure


@pytest.mark.parametrize("activation", ["prelu", "rrelu"])  # an activation with weights, and one of lenet_exp
def test_exported_network_computes_same_logits(activation, tmp_path):
    images = torch.randn(7, 1, 32, 32, generator=torch.Generator().manual_seed(3))
    config = configure(f"activation={activation}", "regularization.dropout_rate=0.5")
    weights = as_arrays(build_network(config.activation, 0.0, weights=torch.Generator().manual_seed(1)).state_dict())
    write_model_files(tmp_path / "model", config, weights, "m-1", "run1")
    network = rebuild(config, {k: torch.from_numpy(v) for k, v in weights.items()})
    loaded = torch.export.load(tmp_path / "model" / EXPORTED)
    with torch.inference_mode():
        assert torch.equal(loaded.module()(images), network(images))
    model = Model.load(str(tmp_path / "model"))
    assert (model.model_id, model.run_id) == ("m-1", "run1")


def test_network_that_torch_cannot_export_has_no_files_for_serving(tmp_path, caplog):
    config = replace(configure(), model={"_target_": "tests.tools.networks.Branch"})
    check_config(config)
    write_model_files(tmp_path / "model", config, as_arrays(network_of(config).state_dict()), "m-1", "run1")
    assert list((tmp_path / "model").iterdir()) == []
    assert "torch.export" in caplog.text


def test_model_contains_no_files_of_working_directory(tmp_path, monkeypatch):
    for name in ("uv.lock", "pyproject.toml", ".python-version"):
        (tmp_path / name).write_text("private")
    monkeypatch.chdir(tmp_path)
    config = configure()
    weights = as_arrays(build_network(config.activation, 0.0).state_dict())
    write_model_files(tmp_path / "model", config, weights, "m-1", "run1")
    made = {str(path.relative_to(tmp_path / "model")) for path in (tmp_path / "model").rglob("*") if path.is_file()}
    described = {"MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt"}
    assert made == described | {EXPORTED, "input_example.json", "serving_input_example.json"}
    assert not (tmp_path / "mlflow.db").exists()
