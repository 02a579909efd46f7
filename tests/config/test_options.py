"""Every option composes, every flag of the ancestor exists, and options of one's own work."""

from __future__ import annotations

import json

import pytest

from lenet_exp.api import compose
from lenet_exp.config.compose import typed
from lenet_exp.config.conf_dir import CONF_DIR
from lenet_exp.config.plain import plain
from lenet_exp.config.targets import keywords

OPTIONS = [(f.parent.name, f.stem) for f in sorted(CONF_DIR.glob("*/*.yaml"))]

ANCESTOR = {
    "dataset=fashion_mnist": ("dataset.name", "fashion_mnist"),
    "activation=tanh": ("activation.name", "tanh"),
    "regularization.dropout_rate=0.25": ("regularization.dropout_rate", 0.25),
    "optimizer=rmsprop": ("optimizer.name", "rmsprop"),
    "optimizer.momentum=0.5": ("optimizer.momentum", 0.5),
    "regularization.weight_decay=0.001": ("regularization.weight_decay", 0.001),
    "num_epoch=7": ("num_epoch", 7),
    "batch_size=64": ("batch_size", 64),
    "optimizer.lr=0.05": ("optimizer.lr", 0.05),
    "num_iter_echo=5": ("num_iter_echo", 5),
    "data_root=/some/where": ("data_root", "/some/where"),
    "model_path=models": ("model_path", "models"),
}


def value(config, flag):
    node = plain(config)
    for part in flag.split("."):
        node = node[part]
    return node


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_passes_the_checks(group, option):
    config = compose([f"{group}={option}"])
    assert typed(plain(config)) == config


@pytest.mark.parametrize("override", ANCESTOR)
def test_every_flag_of_the_ancestor_can_be_overridden(override):
    flag, expected = ANCESTOR[override]
    assert value(compose([override]), flag) == expected
    assert value(compose([]), flag) != expected


def test_the_defaults_are_those_of_the_ancestor():
    values = plain(compose([]))
    optimizer, regularization = values["optimizer"], values["regularization"]
    assert (values["dataset"]["name"], values["activation"]["name"], optimizer["name"]) == ("mnist", "selu", "sgd")
    assert (optimizer["lr"], optimizer["momentum"], regularization["weight_decay"]) == (0.01, 0.9, 5e-4)
    assert (values["num_epoch"], values["batch_size"], values["num_iter_echo"]) == (50, 256, 20)


def test_all_optimizers_have_the_ancestors_learning_rate():
    assert {compose([f"optimizer={name}"]).optimizer["lr"] for group, name in OPTIONS if group == "optimizer"} == {0.01}


def test_both_regularization_flags_exist_in_every_option():
    for group, name in OPTIONS:
        if group == "regularization":
            compose([f"regularization={name}", "regularization.weight_decay=0.1", "regularization.dropout_rate=0.2"])
    assert ("regularization", "none") in OPTIONS


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_momentum_is_dropped_where_the_optimizer_has_none(optimizer):
    assert "momentum" not in keywords(
        "optimizer", compose([f"optimizer={optimizer}", "optimizer.momentum=0.5"]).optimizer
    )


def test_a_grid_over_optimizers_and_momentum_runs_and_says_once_what_has_no_effect(main, ready):
    grid = ("dataset=digits", "num_epoch=1", "optimizer=sgd,adam,adamw", "optimizer.momentum=0,0.9")
    ended = main("-m", "hydra/launcher=basic", *grid, "tracking.models=none", "tracking.plots=false")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("optimizer.momentum has no effect for adam, adamw") == 1
    records = [json.loads(p.read_text()) for p in ready.glob("runs/*/record.json")]
    trained = sorted((r["config"]["optimizer"]["name"], r["config"]["optimizer"].get("momentum")) for r in records)
    assert trained == [("adam", None), ("adamw", None), ("sgd", 0.0), ("sgd", 0.9)]


def test_options_of_ones_own_are_files_in_a_folder_of_ones_own(main, ready, tmp_path):
    mine = tmp_path / "mine"
    for group in ("activation", "optimizer"):
        (mine / group).mkdir(parents=True)
    (mine / "activation" / "gelu.yaml").write_text("_target_: torch.nn.GELU\nmonotone: false\napproximate: tanh\n")
    (mine / "optimizer" / "nadam.yaml").write_text("_target_: torch.optim.NAdam\nlr: 0.002\nmomentum_decay: 0.004\n")
    ended = main(
        "-m", "--config-dir", str(mine), "hydra/launcher=basic", "dataset=digits", "batch_size=32", "num_epoch=2",
        "activation=gelu,relu", "optimizer=nadam", "tracking.plots=false",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    records = [json.loads(p.read_text()) for p in ready.glob("runs/*/record.json")]
    assert {r["config"]["activation"]["name"] for r in records} == {"gelu", "relu"}
    assert {r["config"]["optimizer"]["name"] for r in records} == {"nadam"}
    assert min(r["best_val_accuracy"] for r in records) > 0.8


def test_tags_need_no_plus():
    assert compose(["tracking.tags.note=first", "tracking.tags.n=1"]).tracking.tags == {"note": "first", "n": 1}
