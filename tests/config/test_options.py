"""Every option composes, and a user's own options work."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from lenet_exp.api import compose
from lenet_exp.config.compose import typed
from lenet_exp.config.option_files import default_config_dir
from lenet_exp.config.targets import keywords
from lenet_exp.config.typed_json import to_plain
from lenet_exp.package_files import CONF_DIR
from tests.tools.commands import refused

OPTIONS: dict[str, list[str]] = {}  # the options of each group
for file in sorted(CONF_DIR.glob("*/*.yaml")):
    OPTIONS.setdefault(file.parent.name, []).append(file.stem)
EXPERIMENTS = OPTIONS.pop("experiment")
MOST_OPTIONS = max(len(names) for names in OPTIONS.values())


@pytest.mark.parametrize("nth", range(MOST_OPTIONS))
def test_every_option_composes_with_common_flags(nth):
    """Each case takes the nth option of every group, so that each option is composed at least
    once.
    """
    options = [f"{group}={names[-1 - nth % len(names)]}" for group, names in OPTIONS.items()]
    if "dataset=folder" in options or "dataset=arrays" in options:
        options.append("dataset.class_names=[a,b]")
    common = ["regularization.dropout_rate=0.2", "regularization.weight_decay=0.1"]

    config = compose([*options, *common])

    assert typed(to_plain(config)) == config
    if config.optimizer["name"] == "sgd":
        assert config.optimizer["lr"] == 0.01
    else:
        assert config.optimizer["lr"] == 0.001


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes(experiment):
    config = compose([f"experiment={experiment}"])
    assert typed(to_plain(config)) == config


def records_in(outputs: Path) -> list[dict[str, Any]]:
    """Return the records of all runs, as they are stored."""
    return [json.loads(path.read_text()) for path in outputs.glob("runs/*/record.json")]


def test_momentum_is_ignored_with_one_note_if_optimizer_has_none(main, ready):
    small = (
        "dataset=digits",
        "num_epoch=1",
        "dataset.train_size=64",
        "tracking.models=none",
        "tracking.plots=false",
    )
    grid = ("optimizer=sgd,adam,adamw", "optimizer.momentum=0,0.9")

    ended = main("-m", "hydra/launcher=basic", *small, *grid, status=0)

    (note,) = [line for line in ended.stderr.splitlines() if "optimizer.momentum" in line]
    assert note.count("adam") == 2
    optimizers = [record["config"]["optimizer"] for record in records_in(ready)]
    trained = sorted((optimizer["name"], optimizer.get("momentum")) for optimizer in optimizers)
    assert trained == [("adam", None), ("adamw", None), ("sgd", 0.0), ("sgd", 0.9)]
    adam = compose(["optimizer=adam", "optimizer.momentum=0.5"]).optimizer
    assert "momentum" not in keywords("optimizer", adam)


def test_own_option_files_are_used_from_config_dir(main, ready, tmp_path):
    mine = tmp_path / "mine"
    for group in ("activation", "optimizer"):
        (mine / group).mkdir(parents=True)
    gelu = "_target_: torch.nn.GELU\nmonotone: false\napproximate: tanh\n"
    (mine / "activation" / "gelu.yaml").write_text(gelu)
    nadam = "_target_: torch.optim.NAdam\nlr: 0.002\nmomentum_decay: 0.004\n"
    (mine / "optimizer" / "nadam.yaml").write_text(nadam)
    small = (
        "dataset=digits",
        "batch_size=32",
        "num_epoch=1",
        "tracking.plots=false",
        "tracking.models=none",
    )

    main("--config-dir", str(mine), *small, "activation=gelu", "optimizer=nadam", status=0)

    (record,) = records_in(ready)
    assert record["config"]["activation"]["name"] == "gelu"
    assert record["config"]["optimizer"]["name"] == "nadam"
    assert record["best_val_accuracy"] > 0.5


INVALID = {  # content of an option file: text in the error
    "latin-1": ("_target_: torch.nn.Tanh\nname: caf\xe9\n".encode("latin-1"), "UTF-8"),
    "defaults": (b"defaults: 5\n_target_: torch.nn.Tanh\n", "must be a list"),
    "includes itself": (b"defaults: [large]\n_target_: torch.nn.Tanh\n", "itself"),
    "key is null": (b"_target_: torch.nn.Tanh\n~: 8\n", ""),
    "too many digits": (b"_target_: torch.nn.Tanh\nsize: " + b"9" * 5000 + b"\n", ""),
}


@pytest.fixture
def conf(workdir, monkeypatch) -> Path:
    """The folder `conf` in the working directory, with an activation whose class is next to the
    folder.
    """
    monkeypatch.chdir(workdir)
    other_folders = [folder for folder in sys.path if folder not in ("", str(workdir))]
    monkeypatch.setattr(sys, "path", other_folders)

    umask = os.umask(0o022)
    folder = workdir / "conf"
    (folder / "activation").mkdir(parents=True)
    (workdir / "beside_conf.py").write_text("from torch import nn\nclass Act(nn.ReLU):\n    pass\n")
    option = "_target_: beside_conf.Act\nmonotone: true\n"
    (folder / "activation" / "beside.yaml").write_text(option)
    os.umask(umask)
    workdir.chmod(0o755)
    return folder


def test_folder_conf_is_default_for_config_dir(main, ready, conf):
    small = (
        "dataset=digits",
        "batch_size=32",
        "num_epoch=1",
        "tracking.plots=false",
        "tracking.models=none",
    )

    done = main(*small, "activation=beside", status=0)

    (record,) = records_in(ready)
    assert record["config"]["activation"]["_target_"] == "beside_conf.Act"
    assert record["command"].startswith("lenet-train --config-dir conf dataset=digits")
    assert "./conf" in done.stderr.splitlines()[0]
    config = compose(["dataset=digits", "activation=beside"])
    assert config.activation["_target_"] == "beside_conf.Act"
    assert "beside" in main("--help", status=0).stdout
    assert "activation" not in main("--cfg", "job", "-p", "dataset", status=0).stdout


def test_typed_config_dir_replaces_folder_conf(conf, main):
    conf.rename(conf.with_name("mine"))
    (conf / "activation").mkdir(parents=True)
    main("--config-dir=mine", "activation=beside", "--cfg", "job", status=0)
    assert "conf" not in sys.argv


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda conf: conf.chmod(0o775), "conf can be changed"),
        (lambda conf: (conf / "activation").chmod(0o757), "conf/activation can be changed"),
        (
            lambda conf: (conf / "activation" / "beside.yaml").chmod(0o664),
            "conf/activation/beside.yaml can be changed",
        ),
        (
            lambda conf: conf.symlink_to(conf.rename(conf.with_name("other"))),
            "conf is a symbolic link;",
        ),
    ],
)
def test_folder_conf_that_others_can_change_is_not_used(change, named, conf, main):
    change(conf)
    done = main("activation=beside", status=2)
    assert f"{conf.parent / named}" in done.stderr.splitlines()[0]
    main("--config-dir=conf", "activation=beside", "--cfg", "job", status=0)


@pytest.mark.parametrize(("content", "named"), INVALID.values(), ids=INVALID)
def test_invalid_option_file_is_named(main, workdir, outputs, content, named):
    file = workdir / "mine" / "activation" / "large.yaml"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    done = main("--config-dir=mine", "activation=large", "dataset=digits")
    refused(done, "mine/activation/large.yaml: ", named)
    assert not outputs.exists()


def test_folders_without_own_options_are_not_config_dirs(conf, monkeypatch, capfd):
    assert default_config_dir() == conf

    (conf / "activation").rename(conf / "nginx")
    conf.chmod(0o777)
    assert default_config_dir() is None

    conf.rename(conf.with_name("other"))
    assert default_config_dir() is None

    conf.write_text("a file")
    assert default_config_dir() is None

    monkeypatch.chdir(CONF_DIR.parent)  # as in a checkout
    assert default_config_dir() is None
    assert capfd.readouterr().err == ""


def test_classes_are_not_imported_from_folder_that_others_can_change(conf, main):
    conf.parent.chmod(0o777)
    ended = main("activation=beside", "dataset=digits", status=2)
    assert "beside_conf" in ended.stderr
    repair = f"{conf.parent} can be changed by other users; run: chmod go-w {conf.parent}\n"
    assert repair in ended.stderr
    conf.parent.chmod(0o755)
    main("activation=beside", "--cfg", "job", status=0)


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("model=null", "model=null"),
        ("-m model=lenet5,null", "model=lenet5,null"),
        ("augmentation=null", "augmentation=null"),
        ('--config-name=x dataset.val_size="', "--config-dir"),
        ('--config-path=x dataset.val_size="', "--config-dir"),
        ("model=resnet", "model/resnet.yaml"),
    ],
)
def test_null_unknown_network_or_other_main_configuration_is_refused(typed, named, main, outputs):
    refused(main(*typed.split(), "dataset=digits"), named)


@pytest.mark.parametrize("sweeper", ["grid", "search"])
def test_last_value_of_a_flag_counts(sweeper, main, ready, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    line = [
        "-m",
        f"hydra/sweeper={sweeper}",
        "dataset=digits",
        "model=lenet5",
        "model=lenet5,linear",
        "model=linear",
        "num_epoch=1",
        "optimizer.lr=0.1,0.01",
        "sweep.dry_run=true",
    ]
    if sweeper == "search":
        line.append("n_trials=2")

    done = main(*line, status=0)

    notes = [line.partition(":")[0] for line in done.stderr.splitlines() if "ignored" in line]
    assert notes == ["model=lenet5", "model=lenet5,linear"]
    assert "lenet5" not in done.stdout
