"""Any command line gives a result or a one-line error with status 2, without a traceback or a
hang.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from lenet_exp.api import compose
from lenet_exp.config.fingerprint import fingerprint
from lenet_exp.folders.run_folder import RunFolder
from tests.conftest import Cli
from tests.prediction.drawn import STYLES, draw
from tests.tools.commands import NO_NETWORK, Done

SMALL = (
    "dataset=digits",
    "num_epoch=1",
    "dataset.train_size=64",
    "tracking.plots=false",
    "tracking.models=none",
)
TRAIN = [  # mistyped, unusual, and hostile command lines
    [
        "activation=prelu",
        "optimizer=adam",
        "num_iter_echo=1",
        "hydra.job.name=x",
        "++optimizer.eps=1e-6",
    ],
    ["augmentation=[flip,erase]", "hydra.output_subdir=null", "tracking.tags.note='\n\x7f'"],
    ["-m", "seed=1,2", "hydra/launcher=basic", "hydra.sweep.dir=x"],
    ["hydra.run.dir=/proc/x"],
    ["hydra.mode=MULTIRUN", "hydra.launcher.no=1"],
    ["hydra.searchpath=[pipe]"],
    ["hydra.callbacks={a:{b:[1]}}"],
    ["hydra.job.chdir=true", "hydra.job.env_set={a:null}"],
    ["seed.x=1"],
    ["dataset@x=mnist"],
    ["=", "é"],
    ["x" * 5000 + "=1"],
    ["model_path=/dev/zero"],
    ["data_root=pipe", "dataset=mnist", "dataset.also_in=[]", "dataset.mirrors=[pipe]"],
    ["tracking.tags.note=${oc.env:NOPE}"],
    ["num_threads=" + "9" * 30],
    ["-m", "schedule.final=0," + "9" * 400],
    ["-m", "optimizer.lr=glob(*)"],
    ["-m", "seed=tag(a,1)", "~activation"],
    ["-m", "seed=,"],
]
OTHERS = [
    ["predict", "images=pipe"],
    ["predict", "images=[null]"],
    ["predict", "images=/dev/zero"],
    ["predict", "images=seven.png", "trained_model=pipe"],
    ["predict", "trained_model=${nope}"],
    ["compare", "sweep=../../x"],
    ["compare", "filter='", "output=/proc/x"],
    ["export", "format=safetensors", "trained_model=/dev/zero", "output=."],
    ["export", "trained_model=pipe", "output=\n"],
    ["reproduce", "run=" + "x" * 300],
    ["sweep", "status", "sweep=~nouser/x"],
    ["sweep", "list", "[[1]]"],
    ["sweep", "stop", "sweep=\u202e.png"],
    ["sync", "sweep=pipe"],
    ["sync", "run=/dev/null"],
]


@pytest.fixture
def place(main: Cli, workdir: Path, ready: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`main` in a folder with a drawing and a pipe, and with an outputs folder."""
    draw(7, STYLES["black on white"], workdir / "seven")
    os.mkfifo(workdir / "pipe")
    for name, value in (NO_NETWORK | {"HOME": str(workdir)}).items():
        monkeypatch.setenv(name, value)
    return main


def check(done: Done, program: str) -> None:
    printed = done.stdout + done.stderr
    assert "Traceback" not in printed, printed
    assert done.returncode in ({0, 1, 2, 3} if program == "reproduce" else {0, 1, 2}), printed
    if done.returncode == 2:
        lines = [line for line in done.stderr.splitlines() if line.startswith(f"lenet-{program}: ")]
        assert len(lines) == 1, printed
        assert done.stderr.rstrip("\n").endswith(lines[0]), printed


@pytest.mark.slow(seconds=4)
def test_lenet_train_handles_unusual_command_lines(place):
    finished = []
    for line in TRAIN:
        done = place(*line, *([] if "dataset=mnist" in line else SMALL))
        check(done, "train")
        shown = re.search(r"^run folder: (.*)$", done.stdout, re.MULTILINE)
        if shown and done.returncode == 0 and line[0] != "-m":
            record = RunFolder(Path(shown[1])).record()
            typed = compose(
                [override for override in line if not override.startswith("hydra")] + [*SMALL]
            )
            assert fingerprint(typed, record.data_digests) == record.fingerprint
        finished += [line] if done.returncode == 0 else []
    assert finished[:3] == TRAIN[:3]


@pytest.mark.slow(seconds=4)
def test_other_commands_handle_unusual_command_lines(place):
    for program, *line in OTHERS:
        check(place(*line, program=program), program)
