"""A grid is counted before it is spanned, and only lenet_exp's own programs have its sweeper."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from lenet_exp.config.grid import span
from lenet_exp.folders.sweep_folder import all_sweeps

TOO_MANY = {
    "seed=range(10000000)": "10,000,000 jobs; allowed are 100,000; sweep.max_jobs=10000000 allows them",
    "optimizer.lr=range(0,1,1e-9)": "1,000,000,000 jobs",
    "seed=range(1000) optimizer.lr=range(0.001,1.001,0.001)": "1,000,000 jobs",
    "seed=range(1000000) optimizer=sgd,adam sweep.zip=[optimizer,seed]": "1,000,000 jobs",
    "seed=range(3) sweep.max_jobs=2": "3 jobs; allowed are 2; sweep.max_jobs=3 allows them",
}


@pytest.mark.parametrize("line", TOO_MANY)
def test_a_grid_that_is_too_large_is_refused_at_once(line, main, outputs):
    done = main("-m", "dataset=digits", *line.split())
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert TOO_MANY[line] in done.stderr
    assert not outputs.exists()


@pytest.mark.parametrize("values", ["range(0,5,0)", "range(0,1.5,0)", "range(0,1e400)"])
def test_a_range_without_an_end_is_refused(values, main, outputs):
    done = main("-m", "dataset=digits", f"optimizer.lr={values}")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "allowed is range(start,stop,step), finite, whose step is not 0" in done.stderr


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("predict", ["batch_size=range(1000000000)"]),
        ("predict", ["batch_size=range(nan)"]),
        ("train", ["hydra/sweeper=basic", "dataset=digits", "seed=range(10**9)"]),
        ("train", ["hydra/sweeper=basic", "dataset=digits", "seed=range(1000000000)"]),
    ],
)
def test_so_is_one_that_hydras_own_sweeper_would_span(program, line, main, outputs):
    done = main("-m", *line, program=program)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert line[-1] in done.stderr or "10**9" in line[-1]
    assert not outputs.exists()


def test_as_many_as_are_allowed_are_made(main, ready):
    done = main("-m", "dataset=digits", "seed=range(3)", "sweep.max_jobs=3", "sweep.dry_run=true")
    assert done.returncode == 0, done.stderr
    assert "3 jobs" in done.stdout


TOGETHER = {
    "sweep.zip=[optimizer,optimizer.lr] optimizer=sgd,adam optimizer.lr=0.1,0.001 seed=1,2": [
        "sgd 0.1 1", "adam 0.001 1", "sgd 0.1 2", "adam 0.001 2"
    ],
    "sweep.zip=[seed,optimizer] optimizer=sgd,adam optimizer.lr=0.1,0.001 seed=1,2": [
        "sgd 0.1 1", "sgd 0.001 1", "adam 0.1 2", "adam 0.001 2"
    ],
    "sweep.zip=[[optimizer.lr,optimizer],[seed,activation]] optimizer=sgd,adam optimizer.lr=0.1,0.001 seed=1,2 "
    "activation=relu,selu": ["sgd 0.1 1 relu", "adam 0.001 1 relu", "sgd 0.1 2 selu", "adam 0.001 2 selu"],
}  # fmt: skip


@pytest.mark.parametrize("line", TOGETHER)
def test_flags_that_go_together_take_their_values_side_by_side(line):
    zipped, *swept = OverridesParser.create().parse_overrides(line.split())
    jobs = span(swept, zipped.value(), most=4)
    assert [" ".join(o.partition("=")[2] for o in sorted(job, key=in_order)) for job in jobs] == TOGETHER[line]


def in_order(override: str) -> int:
    return ["optimizer", "optimizer.lr", "seed", "activation"].index(override.partition("=")[0])


def test_a_sweep_of_flags_that_go_together_trains_these_alone(main, ready):
    line = "sweep.zip=[activation,optimizer.lr] activation=relu,selu optimizer.lr=0.05,0.1 seed=0,1"
    small = ("num_epoch=1", "dataset.train_size=64", "tracking.models=none", "tracking.plots=false")
    done = main("-m", "dataset=digits", *line.split(), *small)
    assert done.returncode == 0, done.stderr
    (sweep,) = all_sweeps(ready)
    configs = [job.folder.record().config for job in sweep.jobs()]
    trained = [(c.activation["name"], c.optimizer["lr"], c.seed) for c in configs]
    assert trained == [("relu", 0.05, 0), ("selu", 0.1, 0), ("relu", 0.05, 1), ("selu", 0.1, 1)]


NOT_TOGETHER = {
    "sweep.zip=[optimizer,optimizer.lr] optimizer=sgd,adam": "optimizer.lr is not swept; allowed are two flags or more",
    "sweep.zip=[seed,optimizr] optimizer=sgd,adam seed=1,2": "did you mean optimizer?",
    "sweep.zip=[seed] seed=1,2": "allowed are two flags or more",
    "sweep.zip=[seed,seed] seed=1,2": "each once",
    "sweep.zip=[seed,optimizer] optimizer=sgd,adam seed=1,2,3": "seed has 3, optimizer has 2; allowed are equally many",
    "sweep.zip=3 seed=1,2": "sweep.zip=3: allowed is a list",
    "sweep.zip=[[seed,[optimizer]],[a]] seed=1,2": "allowed are two flags or more",
}


@pytest.mark.parametrize("line", NOT_TOGETHER)
def test_flags_that_cannot_go_together_are_one_line(line, main, outputs):
    done = main("-m", "dataset=digits", *line.split())
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert NOT_TOGETHER[line] in done.stderr
    assert not outputs.exists()


def test_a_grid_whose_flags_go_together_is_counted_so(main, ready):
    line = "sweep.zip=[seed,split_seed] seed=range(3) split_seed=range(3) sweep.max_jobs=3 sweep.dry_run=true"
    done = main("-m", "dataset=digits", *line.split())
    assert done.returncode == 0, done.stderr
    assert "3 jobs" in done.stdout


SKIPPED = {
    "sweep.skip=[{optimizer:adam,optimizer.lr:0.1}]": ["sgd 0.1", "sgd 1e-3", "adam 1e-3"],
    "sweep.skip=[{optimizer:adam,optimizer.lr:[0.1]},{optimizer:sgd,optimizer.lr:0.001}]": ["sgd 0.1", "adam 1e-3"],
    "sweep.skip=[{optimizer:sgd}]": ["adam 0.1", "adam 1e-3"],
    "sweep.skip=[]": ["sgd 0.1", "sgd 1e-3", "adam 0.1", "adam 1e-3"],
}


@pytest.mark.parametrize("line", SKIPPED)
def test_combinations_are_left_out(line):
    skipped, *swept = OverridesParser.create().parse_overrides([line, "optimizer=sgd,adam", "optimizer.lr=0.1,1e-3"])
    jobs = span(swept, [], 100, skipped.value())
    assert [" ".join(o.partition("=")[2] for o in job) for job in jobs] == [
        left.replace("1e-3", "0.001") for left in SKIPPED[line]
    ]


NOT_SKIPPED = {
    "sweep.skip=[{optimizer:adam,optimizer.lr:0.2}]": "optimizer.lr is never 0.2; allowed are 0.1, 0.001",
    "sweep.skip=[{optimizr:adam}]": "optimizr is not swept; did you mean optimizer?",
    "sweep.skip=[{seed:1}]": "seed is not swept; allowed are optimizer, optimizer.lr",
    "sweep.skip=[optimizer]": "sweep.skip=[optimizer]: allowed is [{flag:value,...},...]",
    "sweep.skip=[{optimizer:[sgd,adam]}]": "leaves no job",
}


@pytest.mark.parametrize("line", NOT_SKIPPED)
def test_a_combination_that_is_none_is_one_line(line, main, outputs):
    done = main("-m", "dataset=digits", "optimizer=sgd,adam", "optimizer.lr=0.1,0.001", line)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert NOT_SKIPPED[line] in done.stderr
    assert not outputs.exists()


def test_a_sweep_without_some_combinations_goes_on_by_its_line(main, ready):
    small = ("num_epoch=1", "dataset.train_size=64", "tracking.models=none", "tracking.plots=false")
    line = ("-m", "dataset=digits", *small, "activation=relu,selu", "seed=0,1", "sweep.skip=[{activation:selu,seed:1}]")
    assert main(*line).returncode == 0
    again = main(*line)
    assert "3 runs: 3 finished; 0 trained" in again.stdout
    (sweep,) = all_sweeps(ready)
    configs = [job.folder.record().config for job in sweep.jobs()]
    assert [(c.activation["name"], c.seed) for c in configs] == [("relu", 0), ("selu", 0), ("relu", 1)]
    resumed = main("-m", "sweep.resume=last")
    assert "3 runs: 3 finished; 0 trained" in resumed.stdout


def test_another_program_is_told_that_the_sweeper_is_not_for_it(workdir):
    (workdir / "app.py").write_text(
        "import hydra\n@hydra.main(version_base='1.3', config_path=None)\ndef app(cfg): print(cfg)\napp()\n"
    )
    command = [sys.executable, "app.py", "-m", "hydra/sweeper=grid", "+x=1,2"]
    done = subprocess.run(command, cwd=workdir, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1  # Hydra's
    assert "hydra/sweeper=grid: is lenet-train's own; this program takes hydra/sweeper=basic" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("workers", ["-1", "0", "-1.6e215", "nan", "[1]", "x"])
def test_a_number_of_workers_that_is_none_starts_no_sweep(workers, main, outputs):
    done = main("-m", "dataset=digits", "seed=1,2", f"hydra.launcher.workers={workers}")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "allowed is 1 or more" in done.stderr
    assert not outputs.exists()
