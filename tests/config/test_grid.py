"""A grid is counted before it is spanned, and only lenet_exp's own programs have its sweeper."""

from __future__ import annotations

import subprocess
import sys

import pytest

TOO_MANY = {
    "seed=range(10000000)": "10,000,000 jobs; allowed are 100,000; sweep.max_jobs=10000000 allows them",
    "optimizer.lr=range(0,1,1e-9)": "1,000,000,000 jobs",
    "seed=range(1000) optimizer.lr=range(0.001,1.001,0.001)": "1,000,000 jobs",
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


def test_another_program_is_told_that_the_sweeper_is_not_for_it(workdir):
    (workdir / "app.py").write_text(
        "import hydra\n@hydra.main(version_base='1.3', config_path=None)\ndef app(cfg): print(cfg)\napp()\n"
    )
    command = [sys.executable, "app.py", "-m", "hydra/sweeper=grid", "+x=1,2"]
    done = subprocess.run(command, cwd=workdir, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1  # Hydra's
    assert "hydra/sweeper=grid: is lenet-train's own; this program takes hydra/sweeper=basic" in done.stderr
    assert "Traceback" not in done.stderr
