"""The files of a logged model that are made of a mould are those that MLflow and torch would have made."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow.models import Model

import lenet_exp.tracking.model_files as model_files
from lenet_exp.config.schema import Config
from lenet_exp.tracking.model_files import EXPORTED, poured, write_model_files
from lenet_exp.training.lenet5 import LeNet5, rebuild
from lenet_exp.training.weights import Arrays, as_arrays
from tests.training.small import ACTIVATIONS, configure

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


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_network_poured_into_a_mould_answers_as_it_does(activation, tmp_path, cache):
    config = configure(f"activation={activation}", "regularization.dropout_rate=0.2")
    for seed in (1, 2):
        write_model_files(tmp_path / str(seed), config, weights(config, seed), f"m-{seed}", f"run{seed}")
    assert len(list(cache.iterdir())) == 1
    images = torch.randn(7, 1, 32, 32, generator=torch.Generator().manual_seed(3))
    for seed in (1, 2):
        network = rebuild(config, {k: torch.from_numpy(v) for k, v in weights(config, seed).items()})
        loaded = torch.export.load(tmp_path / str(seed) / EXPORTED).module()
        with torch.inference_mode():
            assert torch.equal(loaded(images), network(images))
        model = Model.load(str(tmp_path / str(seed)))
        assert (model.model_id, model.run_id) == (f"m-{seed}", f"run{seed}")
        kept = torch.export.load(tmp_path / str(seed) / EXPORTED).state_dict
        assert {k: v.tolist() for k, v in kept.items()} == {k: v.tolist() for k, v in weights(config, seed).items()}


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


def test_a_rate_of_dropout_needs_no_mould_of_its_own_and_moulds_are_bounded(tmp_path, cache, monkeypatch):
    for n, rate in enumerate((0, 0.2, 0.5)):
        config = configure("activation=relu", f"regularization.dropout_rate={rate}")
        write_model_files(tmp_path / str(rate), config, weights(config, n), "m", "run")
        monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/nowhere")
        write_model_files(tmp_path / f"{rate} by itself", config, weights(config, n), "m", "run")
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parents[1]))
        one, other = (torch.export.load(tmp_path / f"{rate}{end}" / EXPORTED) for end in ("", " by itself"))
        assert str(one.graph) == str(other.graph)
        assert {k: v.tolist() for k, v in one.state_dict.items()} == {
            k: v.tolist() for k, v in other.state_dict.items()
        }
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(model_files, "MOST", 1)
    config = configure("activation=leaky_relu", "activation.negative_slope=0.3")
    write_model_files(tmp_path / "more", config, weights(config, 3), "m", "run")
    assert torch.export.load(tmp_path / "more" / EXPORTED).state_dict
    assert len(list(cache.iterdir())) == 1


def test_what_others_could_have_written_or_does_not_fit_is_no_mould(tmp_path, cache):
    config = configure()
    write_model_files(tmp_path / "first", config, weights(config, 1), "m-1", "run1")
    (mould,) = cache.iterdir()
    archive = (mould / EXPORTED).read_bytes()
    other = {**weights(config, 2), "act.weight": np.zeros(1, np.float32)}
    with pytest.raises(ValueError, match="other tensors"):
        poured(archive, other)
    with pytest.raises(ValueError, match=r"fc3.bias is another tensor"):
        poured(archive, weights(config, 2) | {"fc3.bias": np.zeros(11, np.float32)})
    for damage in (lambda: (mould / EXPORTED).write_bytes(archive[:1000]), lambda: mould.chmod(0o777)):
        damage()
        write_model_files(tmp_path / "again", config, weights(config, 2), "m-2", "run2")
        loaded = torch.export.load(tmp_path / "again" / EXPORTED)
        assert loaded.state_dict["fc1.weight"].tolist() == weights(config, 2)["fc1.weight"].tolist()
        shutil.rmtree(tmp_path / "again")
        (mould / EXPORTED).write_bytes(archive)


def test_a_network_of_somebodys_own_code_has_no_mould(tmp_path, cache):
    config = configure()
    config.activation = {"_target_": "tests.training.mine.Mine", "name": "mine"}
    with pytest.raises(Exception, match="mine"):  # it is traced, and there is no such class
        write_model_files(tmp_path / "first", config, weights(configure(), 1), "m-1", "run1")
    assert not cache.exists()


DELIVER = """
import sys
from dataclasses import replace
from pathlib import Path
from lenet_exp.config.schema import Models
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.tracking.beside import Beside
from lenet_exp.tracking.delivery import StoreDelivery
(path,) = Path("runs").iterdir()
folder = RunFolder(path)
tracking = replace(folder.begun().config.tracking, uri='sqlite:///' + sys.argv[1], models=Models.all)
print(Beside(StoreDelivery(tracking)).send(folder), "torch" in sys.modules)
"""


@pytest.mark.slow(seconds=12)
def test_a_run_with_plots_and_a_model_that_has_a_mould_is_delivered_without_torch(outputs, main, cache):
    """By whichever process delivers."""
    assert main("dataset=digits", "batch_size=32", "num_epoch=1", "tracking.models=none").returncode == 0
    for store, loads_torch in (("first.db", True), ("second.db", False)):
        done = subprocess.run(
            [sys.executable, "-c", DELIVER.replace("runs", str(outputs / "runs")), str(outputs / store)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        said = done.stdout.split()
        assert said[1:] == [str(loads_torch)], done.stderr
        assert len(said[0]) == 32
