"""The files of a logged model that are made of a mould are those that MLflow and torch would have made."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from mlflow.models import Model

from lenet_exp.config.schema import Config
from lenet_exp.tracking.models.model_files import EXPORTED, write_model_files
from lenet_exp.training.lenet5 import LeNet5, rebuild
from lenet_exp.training.trained.weights import Arrays, as_arrays
from tests.training.small import configure

OWN_WORDS = {"model_id", "run_id", "model_uuid", "utc_time_created"}  # of each model


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "lenet_exp" / "models"


def weights(config: Config, seed: int) -> Arrays:
    network = LeNet5(config.activation, 0.0, weights=torch.Generator().manual_seed(seed))
    return as_arrays(network.state_dict())


def described(path: Path) -> dict[str, object]:
    return {k: v for k, v in Model.load(str(path)).to_dict().items() if k not in OWN_WORDS}


@pytest.mark.parametrize("activation", ["selu", "prelu", "rrelu"])  # plain, with weights, of our own
def test_a_network_poured_into_a_mould_answers_as_it_does(activation, tmp_path, cache):
    """Which is made once for all rates of dropout."""
    images = torch.randn(7, 1, 32, 32, generator=torch.Generator().manual_seed(3))
    for seed, rate in ((1, 0.5), (2, 0)):
        config = configure(f"activation={activation}", f"regularization.dropout_rate={rate}")
        path, given = tmp_path / str(seed), weights(config, seed)
        write_model_files(path, config, given, f"m-{seed}", f"run{seed}")
        network = rebuild(config, {k: torch.from_numpy(v) for k, v in given.items()})
        loaded = torch.export.load(path / EXPORTED)
        with torch.inference_mode():
            assert torch.equal(loaded.module()(images), network(images))
        model = Model.load(str(path))
        assert (model.model_id, model.run_id) == (f"m-{seed}", f"run{seed}")
        assert {k: v.tolist() for k, v in loaded.state_dict.items()} == {k: v.tolist() for k, v in given.items()}
    assert len(list(cache.iterdir())) == 1


def test_the_second_model_has_all_that_the_first_has(tmp_path, cache, monkeypatch):
    config = configure()
    write_model_files(tmp_path / "first", config, weights(config, 1), "m-1", "run1")
    write_model_files(tmp_path / "second", config, weights(config, 2), "m-2", "run2")
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/nowhere")  # no mould at all: MLflow and torch make it
    write_model_files(tmp_path / "third", config, weights(config, 2), "m-2", "run2")
    files = [
        sorted(p.relative_to(tmp_path / n) for p in (tmp_path / n).rglob("*")) for n in ("first", "second", "third")
    ]
    assert files[0] == files[1] == files[2]
    assert described(tmp_path / "first") == described(tmp_path / "second") == described(tmp_path / "third")
    for name in ("conda.yaml", "requirements.txt", "input_example.json", "serving_input_example.json"):
        assert (tmp_path / "second" / name).read_bytes() == (tmp_path / "third" / name).read_bytes()
    second, third = (torch.export.load(tmp_path / n / EXPORTED) for n in ("second", "third"))
    assert str(second.graph) == str(third.graph)
    ids = [Model.load(str(tmp_path / n)).model_uuid for n in ("first", "second", "third")]
    assert len(set(ids)) == 3


def test_what_others_could_have_written_or_is_damaged_is_no_mould(tmp_path, cache):
    config = configure()
    write_model_files(tmp_path / "first", config, weights(config, 1), "m-1", "run1")
    (mould,) = cache.iterdir()
    archive = (mould / EXPORTED).read_bytes()
    for damage in (lambda: (mould / EXPORTED).write_bytes(archive[:1000]), lambda: mould.chmod(0o777)):
        damage()
        write_model_files(tmp_path / "again", config, weights(config, 2), "m-2", "run2")
        loaded = torch.export.load(tmp_path / "again" / EXPORTED)
        assert loaded.state_dict["fc1.weight"].tolist() == weights(config, 2)["fc1.weight"].tolist()
        shutil.rmtree(tmp_path / "again")
        (mould / EXPORTED).write_bytes(archive)
