"""A grid is counted before its jobs are created."""

from __future__ import annotations

import re

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from lenet_exp.config.grid import expand_grid
from lenet_exp.folders.sweep_folder import all_sweeps
from tests.tools.commands import refused

# Refused commands, and texts in the error: a number of jobs, the invalid value, or the nearest
# name.
REFUSED = {
    "seed=range(10000000)": ("10,000,000", "sweep.max_jobs=10000000"),
    "seed=range(1000) optimizer.lr=range(0.001,1.001,0.001)": ("1,000,000 ",),
    "seed=range(1000000) optimizer=sgd,adam sweep.zip=[optimizer,seed]": ("1,000,000 ",),
    "seed=range(3) sweep.max_jobs=2": ("3 jobs", "sweep.max_jobs=3"),
    "optimizer.lr=range(0,1.5,0)": ("optimizer.lr=range(0,1.5,0)",),
    "optimizer.lr=range(0,1e400)": ("optimizer.lr=range(0,1e400)",),
    "hydra/sweeper=basic seed=range(10**9)": ("seed=",),
    "hydra/sweeper=basic seed=range(1000000000)": ("seed=range(1000000000)",),
    "hydra.launcher.workers=-1.6e215 seed=1,2": ("workers", "at least 1"),
    "hydra.launcher.workers=[1] seed=1,2": ("workers", "at least 1"),
    "sweep.zip=[optimizer,optimizer.lr] optimizer=sgd,adam": ("optimizer.lr",),
    "sweep.zip=[seed,optimizr] optimizer=sgd,adam seed=1,2": ("optimizr", "optimizer?"),
    "sweep.zip=[seed,seed] seed=1,2": ("sweep.zip=[seed,seed]",),
    "sweep.zip=[seed,optimizer] optimizer=sgd,adam seed=1,2,3": ("seed: 3", "optimizer: 2"),
    "sweep.zip=3 seed=1,2": ("sweep.zip=3",),
    "sweep.skip=[{optimizer:adam,optimizer.lr:0.2}] optimizer=sgd,adam optimizer.lr=0.1,1e-3": (
        "0.2",
        "0.1, 0.001",
    ),
    "sweep.skip=[{optimizr:adam}] optimizer=sgd,adam": ("optimizr", "optimizer?"),
    "sweep.skip=[optimizer] optimizer=sgd,adam": ("sweep.skip=[optimizer]",),
    "sweep.skip=[{optimizer:[sgd,adam]}] optimizer=sgd,adam": ("sweep.skip",),
}


@pytest.mark.parametrize("line", REFUSED)
def test_impossible_grid_is_refused_at_once_in_one_line(line, main, outputs):
    refused(main("-m", "dataset=digits", *line.split()), *REFUSED[line])
    assert not outputs.exists()


@pytest.mark.parametrize("values", ["range(1000000000)", "range(nan)"])
def test_impossible_grid_of_lenet_predict_is_one_line(values, main, outputs):
    refused(main("-m", f"batch_size={values}", program="predict"), f"batch_size={values}")


TWO = "optimizer=sgd,adam optimizer.lr=0.1,0.001"
ADAM_01 = "{optimizer:adam,optimizer.lr:[0.1]}"
SGD_0001 = "{optimizer:sgd,optimizer.lr:0.001}"
PARTS = {  # of grids
    f"sweep.zip=[optimizer,optimizer.lr] {TWO} seed=1,2": [
        "sgd 0.1 1",
        "adam 0.001 1",
        "sgd 0.1 2",
        "adam 0.001 2",
    ],
    f"sweep.zip=[[optimizer.lr,optimizer],[seed,activation]] {TWO} seed=1,2 activation=relu,selu": [
        "sgd 0.1 1 relu",
        "adam 0.001 1 relu",
        "sgd 0.1 2 selu",
        "adam 0.001 2 selu",
    ],
    f"sweep.skip=[{ADAM_01},{SGD_0001}] {TWO}": [
        "sgd 0.1",
        "adam 0.001",
    ],
    f"sweep.skip=[{{optimizer:sgd}}] {TWO}": ["adam 0.1", "adam 0.001"],
    f"sweep.skip=[] {TWO}": ["sgd 0.1", "sgd 0.001", "adam 0.1", "adam 0.001"],
}


def values_in_order(job: list[str]) -> str:
    """Return the values of a job's overrides, in one order of the flags."""
    value_by_flag = dict(override.split("=") for override in job)
    order = ("optimizer", "optimizer.lr", "seed", "activation")
    return " ".join(value_by_flag[flag] for flag in order if flag in value_by_flag)


@pytest.mark.parametrize("line", PARTS)
def test_zipped_flags_take_values_pairwise_and_others_are_skipped(line):
    part, *swept = OverridesParser.create().parse_overrides(line.split())

    if part.key_or_group == "sweep.zip":
        jobs = expand_grid(swept, part.value(), 4, [])
    else:
        jobs = expand_grid(swept, [], 4, part.value())

    assert [values_in_order(job) for job in jobs] == PARTS[line]


def test_sweep_over_part_of_grid_trains_and_resumes(main, ready):
    line = (
        "-m",
        "hydra/launcher=basic",
        "dataset=digits",
        "dataset.train_size=64",
        "num_epoch=1",
        "tracking.models=none",
        "tracking.plots=false",
        "sweep.zip=[activation,optimizer.lr]",
        "activation=relu,selu",
        "optimizer.lr=0.05,0.1",
        "seed=0,1",
        "sweep.max_jobs=4",
        "sweep.skip=[{activation:selu,seed:1}]",
    )

    assert main(*line).returncode == 0

    (sweep,) = all_sweeps(ready)
    configs = [job.folder.record().config for job in sweep.jobs()]
    trained = [
        (config.activation["name"], config.optimizer["lr"], config.seed) for config in configs
    ]
    assert trained == [("relu", 0.05, 0), ("selu", 0.1, 0), ("relu", 0.05, 1)]

    for resuming in (line, ("-m", "sweep.resume=last")):
        assert re.search(r"\b3 finished; 0 trained\b", main(*resuming).stdout)
    assert len(all_sweeps(ready)) == 1
