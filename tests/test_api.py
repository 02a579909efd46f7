"""The Python API: compose, train, load."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

import lenet_exp
from lenet_exp.config.schema import Config
from lenet_exp.data.images import load_training_data
from lenet_exp.errors import ConfigError, StoreError, UserError
from lenet_exp.folders.records import record_json
from lenet_exp.training.evaluate import evaluate
from lenet_exp.training.weights import load_weights, weights_digest

SMALL = ["dataset=digits", "batch_size=32", "num_epoch=1", "num_threads=1", "device=cpu", "tracking.plots=false"]
NO_MODEL = "tracking.models=none"


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("api") / "outputs"


@pytest.fixture
def store(shared, monkeypatch) -> Path:
    """An outputs folder for several tests, so that they need not wait for a database each."""
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(shared))
    return shared


@pytest.mark.parametrize(("seed", "how"), [(0, "list"), (1, "dict"), (2, "Config")])
def test_train_takes_overrides_a_dict_or_a_configuration(seed, how, store):
    from lenet_exp.config.plain import plain

    overrides = [*SMALL, NO_MODEL, f"seed={seed}"]
    config = lenet_exp.compose(overrides)
    assert isinstance(config, Config)
    given = {"list": overrides, "dict": plain(config), "Config": config}[how]
    result = lenet_exp.train(given)
    assert result.outcome == "finished"
    assert result.value == result.record.best_val_accuracy > 0.5
    assert result.folder.parent == store / "runs"
    assert json.loads((result.folder / "record.json").read_text()) == record_json(result.record)
    assert not result.repeated
    again = lenet_exp.train(overrides)
    assert again.repeated
    assert again.record == result.record
    assert again.mlflow_run_id == result.mlflow_run_id


@pytest.mark.parametrize(
    "overrides",
    [["activation=tanh"], ["activation=prelu"], ["activation=rrelu", "regularization.dropout_rate=0.3", "num_epoch=3"]],
)
def test_load_gives_the_best_weights_bit_for_bit(overrides, store):
    result = lenet_exp.train([*SMALL, *overrides])
    network = lenet_exp.load(f"runs:/{result.mlflow_run_id}")
    assert not network.training
    state = network.state_dict()
    (kept,) = result.folder.glob("best-*.safetensors")
    best, _ = load_weights(kept)
    assert set(state) == set(best)
    assert all(torch.equal(state[name], best[name]) for name in best)
    assert weights_digest(state) == result.record.weights_digest
    data = load_training_data(lenet_exp.compose(SMALL), torch.device("cpu"))
    _, predictions = evaluate(network, data.images, data.labels, data.val_index)
    right = (predictions == data.labels[data.val_index]).double().mean()
    assert float(right) == result.record.best_val_accuracy


def test_load_takes_the_address_of_a_store(store, monkeypatch, tmp_path):
    result = lenet_exp.train([*SMALL, "seed=11"])
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(tmp_path / "elsewhere"))
    name = f"runs:/{result.mlflow_run_id}"
    with pytest.raises(StoreError, match=r"mlflow\.db: no such MLflow database; set tracking\.uri"):
        lenet_exp.load(name)
    network = lenet_exp.load(name, tracking_uri=f"sqlite:///{store / 'mlflow.db'}")
    assert weights_digest(network.state_dict()) == result.record.weights_digest


def test_a_run_that_is_not_there_or_has_no_model_is_one_line(store):
    result = lenet_exp.train([*SMALL, NO_MODEL, "seed=12"])
    with pytest.raises(UserError, match="the run has no model"):
        lenet_exp.load(f"runs:/{result.mlflow_run_id}")
    with pytest.raises(UserError, match="not found") as caught:
        lenet_exp.load("runs:/0123456789abcdef0123456789abcdef")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [["datset=digits"], ["dataset=digit"], ["num_epoch=0"], ["optimizer.lr=x"]])
def test_what_is_wrong_is_one_line_and_makes_no_run(wrong, outputs):
    with pytest.raises(ConfigError) as caught:
        lenet_exp.train([*SMALL, *wrong])
    assert "\n" not in str(caught.value)
    assert not outputs.exists()


def test_a_diverged_run_has_no_value(store):
    result = lenet_exp.train([*SMALL, "optimizer.lr=1e6"])
    assert result.outcome == "diverged"
    assert result.value != result.value


LIGHT = f"""
import sys
import lenet_exp
assert not {{"torch", "mlflow", "hydra"}} & set(sys.modules), "lenet_exp is not light to import"
first = lenet_exp.train({[*SMALL, NO_MODEL]})
from lenet_exp import train
print(first.outcome, train({[*SMALL, NO_MODEL]}).repeated)
"""


@pytest.mark.slow(seconds=8)
def test_the_package_is_light_to_import_and_trains_in_an_interpreter_of_its_own(outputs, tmp_path):
    done = subprocess.run([sys.executable, "-c", LIGHT], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "finished True"
    assert (outputs / "mlflow.db").is_file()


def test_a_callback_sees_each_epoch_and_may_prune(store):
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
    again = lenet_exp.train(line, on_epoch=lambda result: seen.append(result.epoch))
    assert (again.repeated, seen) == (True, [1, 2, 3, 4])


def test_a_search_from_python_goes_on_to_its_total(store):
    import optuna

    space = {"optimizer.lr": "tag(log,interval(1e-3,0.3))", "activation": ["relu", "selu"]}
    fixed = [*SMALL, NO_MODEL, "num_epoch=2", "dataset.train_size=64", "sweep.workers=2"]
    first = lenet_exp.search(space, fixed, n_trials=2)
    found = lenet_exp.search(space, fixed, n_trials=4)
    assert found.folder == first.folder
    assert [t.job.run for t in found.trials[:2]] == [t.job.run for t in first.trials]
    assert len(found.trials) == 4
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{found.folder / 'study.db'}")
    assert found.best is not None
    assert (study.best_value, study.best_trial.number) == (found.value, found.best.job.number)
    with pytest.raises(ConfigError, match="when does it end"):
        lenet_exp.search(space, fixed)
    with pytest.raises(ConfigError, match=r"did you mean optimizer\.lr"):
        lenet_exp.search({"optimizer.lrr": "interval(0,1)"}, fixed, n_trials=3)


def test_the_package_shows_what_is_public_each_with_a_docstring_of_its_own():
    shown = dir(lenet_exp)
    assert shown == sorted(shown)
    assert {"train", "sweep", "search", "compare", "load", "compose", "RunResult", "__version__"} <= set(shown)
    assert lenet_exp.__version__ == "0.1.0"
    documented = [getattr(lenet_exp, name) for name in shown if name != "__version__"]
    docs = [thing.__doc__ for thing in documented]
    assert all(docs)
    assert len(set(docs)) == len(docs)
    functions = [thing for thing in documented if inspect.isfunction(thing)]
    assert len(functions) == 6
    assert all(set(inspect.signature(f).parameters) | {"return"} == set(f.__annotations__) for f in functions)
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        _ = lenet_exp.trian


def test_a_text_is_a_list_of_one_and_a_result_is_one_line(store):
    line = "dataset=digits"
    assert lenet_exp.compose(line) == lenet_exp.compose([line])
    with pytest.raises(ConfigError, match="did you mean digits"):
        lenet_exp.train("dataset=digit")
    result = lenet_exp.train([*SMALL, NO_MODEL, "seed=60"])
    assert result.best_val_accuracy == result.value == result.record.best_val_accuracy
    assert (result.best_epoch, result.seconds) == (1, result.record.seconds)
    assert (
        repr(result)
        == str(result)
        == (f"RunResult(finished: {result.value:.2%} in epoch 1, {result.seconds:.1f} s, {result.folder})")
    )
    assert "trained before" in repr(lenet_exp.train([*SMALL, NO_MODEL, "seed=60"]))


def test_a_sweep_from_python_is_the_commands_and_its_frame_has_numbers(store, main):
    line = [*SMALL, NO_MODEL, "optimizer.lr=0.1,0.01", "training.ema_decay=null,0.9", "dataset.train_size=64"]
    table = lenet_exp.sweep(line)
    assert sorted(table["optimizer.lr"]) == [0.01, 0.01, 0.1, 0.1]
    assert sorted(table["training.ema_decay"].dropna()) == [0.9, 0.9]
    assert table["mean"].is_monotonic_decreasing
    assert set(table["n"]) == {1}
    pd.testing.assert_frame_equal(table, lenet_exp.compare(sweep="last"))
    done = main("-m", *line, "sweep.dry_run=true")
    assert done.returncode == 0, done.stderr
    assert "4 done already" in done.stdout
    assert lenet_exp.sweep([*line, "sweep.dry_run=true"]).empty
    for wrong in ("optimizer.lr=-1,1", "sweep.detach=true", "sweep.resume=last", "optimizer.lr=interval(0,1)"):
        with pytest.raises(ConfigError) as caught:
            lenet_exp.sweep([*SMALL, wrong])
        assert "\n" not in str(caught.value)
