"""What a search plans for a command line, without training: its space, its budget, its first trial,
and the errors of invalid requests.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from lenet_exp.config.compose import allow_new_keys, composed, composing
from lenet_exp.searches.plan import plan_search
from tests.searches.searched import LINE, QUICK, SPACE


def test_dry_run_shows_budgets_and_writes_nothing(main, outputs):
    done = main(*LINE, SPACE[0], "max_epochs=9", "sweep.dry_run=true", "sweep.workers=2")
    assert done.returncode == 0, done.stderr
    assert "tpe, asha" in done.stdout
    assert SPACE[0] in done.stdout
    assert re.search(r"[\d,]+ runs$", done.stdout, re.MULTILINE)
    assert re.search(r"about \d+ \w+", done.stdout)  # per trial
    assert f"disk space in {outputs}" in done.stdout
    assert not outputs.exists()


def test_recipe_can_define_search_space(main, outputs, tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\n"
        "hydra: {sweeper: {params: {activation: 'relu,selu', "
        "optimizer.lr: 'tag(log,interval(0.01,0.1))'}}}\n"
        "n_trials: 7\n"
    )
    line = ("--config-dir", str(tmp_path), "-m", "hydra/sweeper=search", "experiment=mine", *QUICK)
    done = main(*line, "sweep.dry_run=true")
    assert done.returncode == 0, done.stderr
    assert "optimizer.lr=tag(log,interval(0.01,0.1))" in done.stdout
    assert re.search(r"\b7 runs$", done.stdout, re.MULTILINE)


def test_missing_optuna_names_extra_to_install(outputs):
    code = (
        "import lenet_exp; "
        "lenet_exp.search({'activation': ['relu', 'elu']}, ['dataset=digits'], n_trials=2)"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.modules['optuna'] = None; {code}"],
        env=os.environ | {"LENET_EXP_OUTPUTS": str(outputs)},
        capture_output=True,
        text=True,
        check=False,
    )
    last_line = done.stderr.splitlines()[-1]
    assert "pip install 'lenet_exp[search]'" in last_line, done.stderr
    assert "ModuleNotFoundError" not in last_line


# The values of the first trial; None: the sampler draws it.
BASELINES: dict[str, dict[str, object] | None] = {
    "activation=relu,selu optimizer.lr=tag(log,interval(1e-3,1))": {
        "activation": "selu",
        "optimizer.lr": 0.01,
    },
    "activation=relu,elu optimizer.lr=interval(0.001,1)": None,
    "optimizer=adam,sgd optimizer.momentum=interval(0,0.95)": {
        "optimizer": "sgd",
        "optimizer.momentum": 0.9,
    },
    "activation=leaky_relu,selu activation.negative_slope=interval(0.1,0.2)": {
        "activation": "selu"
    },
    "batch_size=range(100,512,50)": None,
    "regularization.dropout_rate=range(0,0.5,0.1)": {"regularization.dropout_rate": 0.0},
    "augmentation=[shift,flip],none training.ema_decay=0.9,null": {
        "augmentation": "none",
        "training.ema_decay": "null",
    },
    "experiment=mnist_fast,ancestor": {"experiment": "ancestor"},
}


@pytest.mark.parametrize("space", BASELINES)
def test_first_trial_uses_values_of_command_without_search(outputs, space):
    line = [
        "dataset=digits",
        "num_epoch=2",
        "n_trials=3",
        "search.pruner_options={min_resource: 2}",
        *space.split(" "),
    ]
    overrides = OverridesParser.create().parse_overrides(allow_new_keys(line))
    with composing():
        planned = plan_search(overrides, composed)
        assert planned.maker.baseline() == BASELINES[space]
    assert planned.search.pruner_options == {"min_resource": 2}


def test_plan_keeps_store_password_and_maximum_of_searched_num_epoch(outputs):
    address = "http://ada:secret@127.0.0.1:9"
    limit = ["model.width=interval(0.1,1)", "num_epoch=range(5,200)", "search.max_parameters=1700"]
    line = ["dataset=digits", "n_trials=3", f"tracking.uri={address}", *limit]
    overrides = OverridesParser.create().parse_overrides(allow_new_keys(line))
    with composing():
        planned = plan_search(overrides, composed)
    assert planned.config.tracking.uri == address
    assert planned.num_epoch == 199


REFUSED = {  # what the message must contain
    "n_trials=3": "search",
    "optimizer.lr=interval(1e-3,1)": "n_trials",
    "n_trials=3 regularization.dropout_rate=interval(0,1)": "regularization.dropout_rate=1.0",
    "n_trials=3 optimizer=adam optimizer.momentum=interval(0,0.9)": (
        "optimizer.momentum=interval(0,0.9)"
    ),
    "n_trials=3 activation=relu,selu seed=1,2": "seed=1,2",
    "n_trials=3 activation=relu,selu engine=native,torch": "engine=native,torch",
    "n_trials=3 activation=relu,selu hydra/launcher=basic": "cluster_ray, cluster_slurm, local",
    "n_trials=3 activation=relu,selu search.objective=epochs": "search.target",
    "n_trials=3 activation=relu,selu confirm=1": "seeds=5",
    "n_trials=3 activation=relu,selu confirm=1 seeds=5 metric=loss": "in percent",
    "n_trials=3 loss=focal loss.gamma=1,2 search.objective=loss": "over the loss",
    "n_trials=3 optimizer.lr=tag(lgo,interval(1,2))": "log?",
    "n_trials=3 activation=relu,selu search.cost=parameters": "search.objective=front",
    "n_trials=3 model.width=0.5,1 search.max_parameters=1000": "15,738 parameters",
}


@pytest.mark.parametrize("line", REFUSED)
def test_invalid_search_gives_one_line_error(line, main, outputs):
    done = main("-m", "hydra/sweeper=search", "dataset=digits", *line.split(" "))
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert REFUSED[line] in done.stderr
    assert not (outputs / "sweeps").exists()


@pytest.mark.parametrize(
    "line", ["-m n_trials=3 activation=relu,selu", "seeds=3", "-m optimizer.lr=interval(0.1,1)"]
)
def test_search_without_sweeper_suggests_command(line, main, outputs):
    done = main(*line.split(" "), "dataset=digits")
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "hydra/sweeper=search" in done.stderr
    assert not outputs.exists()
