"""Every option composes, every flag of the original script exists, and a user's own options work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lenet_exp.api import compose
from lenet_exp.config.compose import typed
from lenet_exp.config.package_files import CONF_DIR
from lenet_exp.config.plain import plain
from lenet_exp.config.schema import value_of
from lenet_exp.config.targets import keywords

FILES = sorted(CONF_DIR.glob("*/*.yaml"))
OPTIONS = {group: [f.stem for f in FILES if f.parent.name == group] for group in sorted({f.parent.name for f in FILES})}
EXPERIMENTS = OPTIONS.pop("experiment")

ANCESTOR = {
    "dataset=fashion_mnist": ("dataset.name", "fashion_mnist", "mnist"),
    "activation=tanh": ("activation.name", "tanh", "selu"),
    "regularization.dropout_rate=0.25": ("regularization.dropout_rate", 0.25, 0.0),
    "optimizer.momentum=0.5": ("optimizer.momentum", 0.5, 0.9),
    "regularization.weight_decay=0.001": ("regularization.weight_decay", 0.001, 5e-4),
    "num_epoch=7": ("num_epoch", 7, 50),
    "batch_size=64": ("batch_size", 64, 256),
    "optimizer.lr=0.05": ("optimizer.lr", 0.05, 0.01),
    "num_iter_echo=5": ("num_iter_echo", 5, 20),
    "data_root=/some/where": ("data_root", "/some/where", None),
    "model_path=models": ("model_path", "models", None),
    "optimizer=rmsprop": ("optimizer.name", "rmsprop", "sgd"),
}


@pytest.mark.parametrize("nth", range(max(map(len, OPTIONS.values()))))
def test_every_option_composes_with_common_flags(nth):
    """Each case takes the nth option of every group, so that each option is composed at least once."""
    options = [f"{group}={names[nth % len(names)]}" for group, names in OPTIONS.items()]
    options += ["dataset.class_names=[a,b]"] if "dataset=folder" in options else []
    config = compose([*options, "regularization.dropout_rate=0.2", "regularization.weight_decay=0.1"])
    assert typed(plain(config)) == config
    assert config.optimizer["lr"] == 0.01  # that of the original script


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes(experiment):
    config = compose([f"experiment={experiment}"])
    assert typed(plain(config)) == config


def test_flags_of_original_script_keep_defaults_and_accept_values():
    defaults, config = compose([]), compose([*ANCESTOR, "tracking.tags.note=tags need no plus"])
    for flag, expected, default in ANCESTOR.values():
        assert value_of(config, flag) == expected
        assert value_of(defaults, flag) == default or (default is None and value_of(defaults, flag) != expected)
    assert config.tracking.tags == {"note": "tags need no plus"}
    assert compose(["tracking.tags={a: 1, b: 2}"]).tracking.tags == {"a": 1, "b": 2}


def test_momentum_is_ignored_with_one_note_if_optimizer_has_none(main, ready):
    small = ("dataset=digits", "num_epoch=1", "dataset.train_size=64", "tracking.models=none", "tracking.plots=false")
    grid = ("optimizer=sgd,adam,adamw", "optimizer.momentum=0,0.9")
    ended = main("-m", "hydra/launcher=basic", *small, *grid)
    assert ended.returncode == 0, ended.stderr
    assert [line.count("adam") for line in ended.stderr.splitlines() if "optimizer.momentum" in line] == [2]
    records = [json.loads(p.read_text()) for p in ready.glob("runs/*/record.json")]
    trained = sorted((r["config"]["optimizer"]["name"], r["config"]["optimizer"].get("momentum")) for r in records)
    assert trained == [("adam", None), ("adamw", None), ("sgd", 0.0), ("sgd", 0.9)]
    assert "momentum" not in keywords("optimizer", compose(["optimizer=adam", "optimizer.momentum=0.5"]).optimizer)


def test_own_option_files_are_used_from_config_dir(main, ready, tmp_path):
    mine = tmp_path / "mine"
    for group in ("activation", "optimizer"):
        (mine / group).mkdir(parents=True)
    (mine / "activation" / "gelu.yaml").write_text("_target_: torch.nn.GELU\nmonotone: false\napproximate: tanh\n")
    (mine / "optimizer" / "nadam.yaml").write_text("_target_: torch.optim.NAdam\nlr: 0.002\nmomentum_decay: 0.004\n")
    small = ("dataset=digits", "batch_size=32", "num_epoch=1", "tracking.plots=false", "tracking.models=none")
    ended = main("--config-dir", str(mine), *small, "activation=gelu", "optimizer=nadam")
    assert ended.returncode == 0, ended.stderr
    (record,) = [json.loads(p.read_text()) for p in ready.glob("runs/*/record.json")]
    assert (record["config"]["activation"]["name"], record["config"]["optimizer"]["name"]) == ("gelu", "nadam")
    assert record["best_val_accuracy"] > 0.5


INVALID = {
    "latin-1": "_target_: torch.nn.Tanh\nname: caf\xe9\n".encode("latin-1"),
    "list": b"- a\n- b\n",
    "text": b"tanh\n",
    "defaults": b"defaults: 5\n_target_: torch.nn.Tanh\n",
    "includes itself": b"defaults: [large]\n_target_: torch.nn.Tanh\n",
}


@pytest.mark.parametrize("given", ["--config-dir=mine", "hydra.searchpath=[file://mine]"])
@pytest.mark.parametrize("content", INVALID.values(), ids=INVALID)
def test_invalid_option_file_is_named(main, workdir, outputs, given, content):
    file = workdir / "mine" / "activation" / "large.yaml"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    done = main(given, "activation=large", "dataset=digits")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert str(Path("mine", "activation", "large.yaml")) in done.stderr
    assert not outputs.exists()


@pytest.mark.parametrize("typed", ["model=null", "-m model=lenet5,null", "augmentation=null"])
def test_null_is_not_an_option(typed, main, outputs):
    done = main(*typed.split(), "dataset=digits")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert typed.split()[-1] in done.stderr


@pytest.mark.parametrize("option", ["--config-name=x", "--config-path=x"])
def test_other_main_configuration_is_refused(option, main, outputs):
    done = main(option, "dataset=digits", 'dataset.val_size="')
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--config-dir" in done.stderr


def test_unknown_network_error_explains_own_networks(main, outputs):
    done = main("model=resnet", "dataset=digits")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "model/resnet.yaml" in done.stderr


@pytest.mark.parametrize("sweeper", ["grid", "search"])
def test_last_value_of_a_flag_counts(sweeper, main, ready, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    search = ["n_trials=2"] if sweeper == "search" else []
    typed = ["model=lenet5", "model=lenet5,linear", "model=linear", "num_epoch=1", "optimizer.lr=0.1,0.01"]
    done = main("-m", f"hydra/sweeper={sweeper}", "dataset=digits", *search, *typed, "sweep.dry_run=true")
    assert done.returncode == 0, done.stderr
    notes = [line.partition(":")[0] for line in done.stderr.splitlines() if "ignored" in line]
    assert notes == ["model=lenet5", "model=lenet5,linear"]
    assert "lenet5" not in done.stdout
