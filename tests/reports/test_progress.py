"""What the terminal shows while runs train: bars on a terminal, plain lines in a file."""

from __future__ import annotations

import io
import os
import pty
import re
import select
from pathlib import Path

import pytest
from rich.console import Console

from lenet_exp.reports import progress
from tests.commands import MINE, SMALL, lenet_train, start

QUICK = (*SMALL, "num_threads=1", "tracking.plots=false", "tracking.models=none")
EPOCH = r"epoch %d/%d: loss \d\.\d{4}, accuracy \d+\.\d\d%%, validation \d+\.\d\d%%( \(best\))?, [\d,]+ images/s"


def control_characters(text: str) -> set[str]:
    return {c for c in text if ord(c) < 32 and c != "\n"}


def test_in_a_file_a_run_prints_a_line_an_epoch_and_its_result(ready):
    done = lenet_train(*QUICK, "num_epoch=2", outputs=ready)
    (folder,) = (ready / "runs").iterdir()
    engine, first, *epochs = done.stderr.splitlines()
    assert engine.startswith("digits selu sgd: engine ")
    assert first == f"digits selu sgd: run folder {folder}"
    assert [bool(re.fullmatch(EPOCH % (n, 2), line)) for n, line in enumerate(epochs, 1)] == [True, True]
    best, course, where, mlflow, look = done.stdout.splitlines()
    assert re.fullmatch(r"best validation accuracy \d\d\.\d\d% in epoch [12]", best)
    assert re.fullmatch(r"2 epochs in \d+\.\d s, training loss \d\.\d{4}", course)
    assert where == f"run folder: {folder}"
    assert re.fullmatch(r"MLflow run: [0-9a-f]{32}", mlflow)
    assert look == "look at it: lenet-ui sweep=all"
    assert control_characters(done.stdout + done.stderr) == set()


def test_a_run_that_was_trained_before_says_so(ready):
    for _ in "ab":
        done = lenet_train(*QUICK, "num_epoch=1", outputs=ready)
    assert done.returncode == 0
    assert done.stdout.startswith("trained before with this very configuration: its result (sweep.force=true")
    assert "epoch 1/1" not in done.stderr


def test_a_run_that_learnt_nothing_says_so(ready):
    done = lenet_train(*QUICK, "num_epoch=1", "optimizer.lr=1e-9", outputs=ready)
    assert done.returncode == 0
    assert "(at chance: it learned nothing)" in done.stdout.splitlines()[0]


def test_step_losses_are_in_the_log_and_not_on_the_terminal(ready):
    done = lenet_train(*QUICK, "num_epoch=1", "num_iter_echo=10", outputs=ready)
    (log,) = (ready / "runs").glob("*/run.log")
    steps = re.findall(r"iteration (\d+) loss \d+\.\d{6}$", log.read_text(), re.MULTILINE)
    assert steps == ["10", "20", "30", "40"]
    assert "iteration" not in done.stdout + done.stderr


def test_a_name_in_brackets_is_no_markup_to_the_bars(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=out, force_terminal=True, width=100))
    with progress.Display().run("[shift,flip] [/x]", 1, 1):
        pass
    assert "[shift,flip] [/x]" in out.getvalue()


def on_a_terminal(*arguments: str, outputs: Path) -> tuple[int, str]:
    """Exit status, and what a terminal of 80 columns was sent."""
    terminal, theirs = pty.openpty()
    size = {"COLUMNS": "80", "LINES": "40", "TERM": "xterm-256color"}
    process = start(*arguments, outputs=outputs, cold=True, stdin=theirs, stdout=theirs, stderr=theirs, env=size)
    os.close(theirs)
    sent = b""
    while select.select([terminal], [], [], 300)[0]:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux's way to say that nobody holds the other end
            break
        if not part:
            break
        sent += part
    os.close(terminal)
    return process.wait(60), sent.decode()


@pytest.mark.slow(seconds=2)
def test_on_a_terminal_a_run_has_a_bar_that_is_gone_at_the_end(ready):
    status, sent = on_a_terminal(*QUICK, "num_epoch=12", "engine=torch", outputs=ready)  # slow enough to be seen
    assert status == 0, sent
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", sent)
    assert "━" in plain
    assert re.search(r"\d+/12 done  val \d+\.\d\d%  step loss \d\.\d{4}", plain)
    bars = [line for line in re.split(r"[\r\n]", plain) if "━" in line]
    assert max(map(len, bars)) <= 80
    assert plain.startswith("loading torch ...")
    assert re.search(r"\d:\d\d:\d\d", plain)  # time left
    assert "\x1b[?25h" in sent  # the cursor is back
    assert not re.search(r"^epoch 1/12:", plain, re.MULTILINE)
    after = plain.partition("best validation accuracy")
    assert after[1]
    assert "━" not in after[2]


@pytest.mark.slow(seconds=5)
@pytest.mark.parametrize(("launcher", "run"), [("local", r"\d/12 done"), ("basic", r"\d+/12 done  val \d+\.\d\d%")])
def test_on_a_terminal_a_sweep_has_a_bar_of_its_own(ready, launcher, run):
    line = (
        "-m",
        f"--config-dir={MINE}",
        *QUICK,
        "num_epoch=12",
        "activation=raises,selu",
        "engine=torch",  # slow enough to be seen
        f"hydra/launcher={launcher}",
    )
    status, sent = on_a_terminal(*line, "sweep.workers=1", outputs=ready)
    assert status == 1, sent
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", sent)
    assert re.search(r"sweep [━╸╺ ]+ +\d+% 0/2 runs", plain)
    assert re.search(r"sweep [━╸╺ ]+ +\d+% 1/2 runs, 1 failed +\d:\d\d:\d\d", plain)  # time left
    assert re.search(rf"selu [━╸╺ ]+ +\d+% {run}", plain)
    assert re.search(r"selu: \d\d\.\d\d% in epoch \d+, \d+\.\d s", plain)
    assert re.search(r"raises: failed: RuntimeError: broken on purpose,", plain)
    assert "2 runs: 1 finished, 1 failed" in plain
    assert "━" not in plain.partition("best val")[2]


@pytest.mark.slow(seconds=5)
def test_a_file_gets_plain_lines_from_a_process_of_its_own(ready, tmp_path):
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        process = start("-m", *QUICK, "num_epoch=2", "seed=0,1", outputs=ready, stdout=out, stderr=err)
        assert process.wait(300) == 0
    printed = (tmp_path / "out").read_text(), (tmp_path / "err").read_text()
    assert control_characters("".join(printed)) == set()
    sweep, engine, *ended = printed[1].splitlines()
    assert sweep.startswith("sweep of 2 runs; outputs in ")
    assert engine.startswith("engine: ")
    assert sorted(text.partition(":")[0] for text in ended) == ["seed=0", "seed=1"]


@pytest.mark.slow(seconds=1)
def test_a_reader_that_has_seen_enough_is_no_error(ready):
    process = start(*QUICK, "num_epoch=2", outputs=ready, cold=True)
    process.stdout.close()  # as `| head -0` does
    assert "Traceback" not in process.stderr.read()
    assert process.wait(300) == 0
