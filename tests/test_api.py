"""The Python API: compose, train, load."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pandas as pd
import pytest
import torch

import lenet_exp
from lenet_exp.config.schema import Config
from lenet_exp.config.typed_json import to_plain
from lenet_exp.data.images import load_training_data
from lenet_exp.errors import ConfigError, StoreError, UserError
from lenet_exp.folders.records import record_to_json
from lenet_exp.training.evaluate import evaluate
from lenet_exp.training.trained.weights import load_weights, weights_digest
from tests.tools.stores import client

SMALL = [
    "dataset=digits",
    "batch_size=32",
    "num_epoch=1",
    "num_threads=1",
    "device=cpu",
    "tracking.plots=false",
]
NO_MODEL = "tracking.models=none"


def test_train_accepts_overrides_dict_or_configuration(ready):
    overrides = [*SMALL, NO_MODEL]
    config = lenet_exp.compose(overrides)
    assert isinstance(config, Config)
    result = lenet_exp.train(to_plain(config))
    assert result.outcome == "finished"
    assert result.best_val_accuracy == result.value == result.record.best_val_accuracy > 0.5
    assert (result.best_epoch, result.seconds) == (1, result.record.seconds)
    assert result.folder.parent == ready / "runs"
    assert json.loads((result.folder / "record.json").read_text()) == record_to_json(result.record)
    assert not result.repeated
    assert (repr(result), repr(result).count("\n")) == (str(result), 0)
    assert f"{result.value:.2%}" in repr(result)
    for given in (overrides, config):
        repeated = lenet_exp.train(given)
        assert repeated.repeated
        assert repeated.record == result.record
        assert repeated.mlflow_run_id == result.mlflow_run_id
    lenet_exp.load(f"runs:/{result.mlflow_run_id}")  # from the run folder
    result.folder.rename(ready / "moved")
    with pytest.raises(UserError, match="no model") as caught:
        lenet_exp.load(f"runs:/{result.mlflow_run_id}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "overrides",
    [["activation=tanh"], ["activation=rrelu", "regularization.dropout_rate=0.3", "num_epoch=2"]],
)
def test_load_returns_best_weights_bit_for_bit(overrides, ready, monkeypatch, tmp_path):
    result = lenet_exp.train([*SMALL, *overrides])
    name = f"runs:/{result.mlflow_run_id}"
    network = lenet_exp.load(name)
    assert not network.training
    state = network.state_dict()
    (kept,) = result.folder.glob("best-*.safetensors")
    best, _ = load_weights(kept)
    assert set(state) == set(best)
    assert all(torch.equal(state[name], best[name]) for name in best)
    assert weights_digest(state) == result.record.weights_digest
    note = client(ready).get_run(result.mlflow_run_id).data.tags["mlflow.note.content"]
    namespace: dict[str, torch.nn.Module] = {}
    exec(note.removeprefix("```python\n").removesuffix("```"), namespace)
    assert weights_digest(namespace["network"].state_dict()) == result.record.weights_digest
    data = load_training_data(lenet_exp.compose(SMALL), torch.device("cpu"))
    predictions = evaluate(network, data.images, data.labels, data.val_index).predictions
    right = (predictions == data.labels[data.val_index]).double().mean()
    assert float(right) == result.record.best_val_accuracy
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(tmp_path / "elsewhere"))
    with pytest.raises(StoreError, match=r"mlflow\.db: "):
        lenet_exp.load(name)
    network_from_other_store = lenet_exp.load(name, tracking_uri=f"sqlite:///{ready / 'mlflow.db'}")
    assert weights_digest(network_from_other_store.state_dict()) == result.record.weights_digest


def test_diverged_run_has_no_value(ready):
    result = lenet_exp.train([*SMALL, NO_MODEL, "optimizer.lr=1e6"])
    assert result.outcome == "diverged"
    assert result.value != result.value


def test_import_loads_no_torch_mlflow_or_hydra(tmp_path):
    code = "import sys, lenet_exp; print({'torch', 'mlflow', 'hydra'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_callback_receives_each_epoch_and_can_prune(ready):
    line = [*SMALL, NO_MODEL, "num_epoch=4", "seed=50", "dataset.train_size=64"]
    seen: list[int] = []

    def until_second(result):
        seen.append(result.epoch)
        return result.epoch == 2

    pruned = lenet_exp.train(line, on_epoch=until_second)
    assert (pruned.outcome, pruned.record.epochs, seen) == ("pruned", 2, [1, 2])
    seen.clear()
    finished = lenet_exp.train(line, on_epoch=lambda result: seen.append(result.epoch))
    assert (finished.outcome, finished.record.resumed, seen) == ("finished", 1, [1, 2, 3, 4])
    seen.clear()
    repeated = lenet_exp.train(line, on_epoch=lambda result: seen.append(result.epoch))
    assert (repeated.repeated, seen) == (True, [1, 2, 3, 4])


@pytest.mark.slow(seconds=5)
def test_search_from_python_is_an_optuna_study(ready):
    import optuna

    space = {"optimizer.lr": "tag(log,interval(1e-3,0.3))", "activation": ["relu", "selu"]}
    fixed = [*SMALL, NO_MODEL, "dataset.train_size=64", "sweep.workers=1"]
    result = lenet_exp.search(space, fixed, n_trials=3)
    assert len(result.trials) == 3
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{result.folder / 'study.db'}")
    assert result.best is not None
    assert (study.best_value, study.best_trial.number) == (result.value, result.best.job.number)
    with pytest.raises(ConfigError, match="n_trials"):
        lenet_exp.search(space, fixed)
    with pytest.raises(ConfigError, match=r"optimizer\.lr\b"):
        lenet_exp.search({"optimizer.lrr": "interval(0,1)"}, fixed, n_trials=3)


def test_public_names_are_listed_and_have_distinct_docstrings():
    names = dir(lenet_exp)
    assert {
        "train",
        "sweep",
        "search",
        "compare",
        "load",
        "compose",
        "RunResult",
        "__version__",
    } <= set(names)
    docs = [getattr(lenet_exp, name).__doc__ for name in names if name != "__version__"]
    assert all(docs)
    assert len(set(docs)) == len(docs)
    with pytest.raises(AttributeError, match="trian"):
        _ = lenet_exp.trian


def test_single_override_can_be_a_string():
    assert lenet_exp.compose("dataset=digits") == lenet_exp.compose(["dataset=digits"])
    with pytest.raises(ConfigError, match="digits"):
        lenet_exp.train("dataset=digit")


@pytest.mark.slow(seconds=6)
def test_sweep_from_python_matches_command_and_returns_numbers(ready, main):
    swept = [
        "optimizer.lr=0.1,0.01",
        "training.ema_decay=null,0.9",
        "sweep.zip=[optimizer.lr,training.ema_decay]",
    ]
    line = [*SMALL, NO_MODEL, "dataset.train_size=64", "hydra/launcher=basic", *swept]
    table = lenet_exp.sweep(line)
    assert sorted(table["optimizer.lr"]) == [0.01, 0.1]
    assert list(table["training.ema_decay"].dropna()) == [0.9]
    assert table["mean"].is_monotonic_decreasing
    assert set(table["n"]) == {1}
    pd.testing.assert_frame_equal(table, lenet_exp.compare(sweep="last"))
    with pytest.raises(ConfigError, match="digits") as refused:
        lenet_exp.interactions(sweep="last")
    assert "\n" not in str(refused.value)
    done = main("-m", *line, "sweep.dry_run=true", status=0)
    assert re.search(r"\b2 already trained\b", done.stdout)
    assert lenet_exp.sweep([*line, "sweep.dry_run=true"]).empty
    for wrong in ("optimizer.lr=-1,1", "sweep.resume=last", "optimizer.lr=interval(0,1)"):
        with pytest.raises(ConfigError) as caught:
            lenet_exp.sweep([*SMALL, wrong])
        assert "\n" not in str(caught.value)
