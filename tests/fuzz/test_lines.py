"""Any command line gives an answer or one line with status 2: no traceback, no hang, no other configuration than typed.

FUZZ_EXAMPLES=5000 looks at so many of each command; by default a few.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lenet_exp.api import compose
from lenet_exp.config.fingerprint import fingerprint
from lenet_exp.errors import UserError
from lenet_exp.folders.run_folder import RunFolder
from tests.commands import NO_NETWORK, Done, start
from tests.fuzz.lines import literal_lines, predict_lines, train_lines
from tests.prediction.drawn import STYLES, draw

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
HANGS_SECONDS = 60  # far more than any of these takes
SMALL = ("num_epoch=1", "dataset.train_size=64", "tracking.plots=false", "tracking.models=none")
NEVER_ENDS = ("ui",)


@pytest.fixture(scope="module")
def place(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with an outputs folder, a drawing and a pipe."""
    path = tmp_path_factory.mktemp("fuzz")
    shutil.copytree(empty_store, path / "outputs")
    draw(7, STYLES["black on white"], path / "seven")
    os.mkfifo(path / "pipe")
    return path


def run(place: Path, program: str, *arguments: str) -> Done:
    process = start(
        *arguments, outputs=place / "outputs", program=program, cwd=place, env=NO_NETWORK | {"HOME": str(place)}
    )
    try:
        out, err = process.communicate(timeout=HANGS_SECONDS)
    except BaseException:
        process.kill()
        raise
    return Done(process.args, process.returncode, out, err)


def check(done: Done, program: str) -> None:
    said = done.stdout + done.stderr
    assert "Traceback" not in said, said
    assert done.returncode in ({0, 1, 2, 3} if program == "reproduce" else {0, 1, 2}), said
    if done.returncode == 2:
        lines = [line for line in done.stderr.splitlines() if line.startswith(f"lenet-{program}: ")]
        assert len(lines) == 1, said
        assert done.stderr.rstrip("\n").endswith(lines[0]), said
    if done.returncode == 1:  # a run's own fault, and said
        assert re.search(r"diverged|failed|killed|left out|differs: ", said), said


def fuzz(examples: int):
    return settings(max_examples=EXAMPLES or examples, suppress_health_check=list(HealthCheck), database=None)


@pytest.mark.slow(seconds=30)
@fuzz(60)
@given(line=train_lines)
def test_train(line, place):
    dataset = [] if any(o.lstrip("+~").startswith("dataset") and "." not in o for o in line) else ["dataset=digits"]
    first, rest = (["-m"], line[1:]) if line[0] == "-m" else ([], line)
    done = run(place, "train", *first, *dataset, *rest, *SMALL)
    check(done, "train")
    shown = re.search(r"^run folder: (.*)$", done.stdout, re.MULTILINE)
    if shown is None or done.returncode or first:
        return
    record = RunFolder(Path(shown[1])).record()
    try:
        typed = compose([*dataset, *rest, *SMALL])
    except UserError:  # what only the program takes, such as hydra.mode=MULTIRUN
        return
    assert fingerprint(typed, record.data_digests) == record.fingerprint


@pytest.mark.slow(seconds=15)
@fuzz(30)
@given(line=predict_lines, own=st.booleans())
def test_predict(line, own, place):
    check(run(place, "predict", *line, *(["images=seven.png"] if own else [])), "predict")


@pytest.mark.slow(seconds=20)
@pytest.mark.parametrize(
    ("program", "keys", "words"),
    [
        ("compare", ["sweep", "filter", "output", "experiment"], []),
        ("export", ["trained_model", "format", "output", "dataset", "trust"], ["format=safetensors"]),
        ("reproduce", ["run", "check", "data_root", "trust"], ["run=last"]),
        ("sweep", ["sweep"], ["list", "status", "stop"]),
        ("sync", ["sweep", "run"], []),
        ("ui", ["sweep", "open", "port", "experiment"], []),
    ],
)
@fuzz(12)
@given(data=st.data())
def test_a_command_that_is_no_hydra_app(program, keys, words, data, place):
    line = data.draw(literal_lines(keys, words))
    store = ["tracking.uri=sqlite:///nope.db"] if program in NEVER_ENDS else []  # else it is a server until Ctrl-C
    check(run(place, program, *line, *store), program)
