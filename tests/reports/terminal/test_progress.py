"""Progress of training: bars on a terminal, plain lines in a file."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from lenet_exp.reports.terminal import progress
from tests.tools.commands import MINE, SMALL, lenet_train
from tests.tools.terminals import Terminal

QUICK = (*SMALL, "num_threads=1", "tracking.plots=false", "tracking.models=none")
EPOCH = r"\b(\d)/(\d): .*\d\.\d{4}.* \d+\.\d\d%.* \d+\.\d\d%.* [\d,]+ images/s$"


def control_characters(text: str) -> set[str]:
    return {c for c in text if ord(c) < 32 and c != "\n"}


def test_run_prints_one_line_per_epoch_and_rerun_shows_saved_result(ready):
    done = lenet_train(*QUICK, "num_epoch=2", "num_iter_echo=20", outputs=ready)
    (folder,) = (ready / "runs").iterdir()
    engine, first, *epochs = done.stderr.splitlines()
    assert "engine" in engine
    assert first.endswith(str(folder))
    assert [re.findall(EPOCH, line)[0][:2] for line in epochs] == [("1", "2"), ("2", "2")]
    best, course, where, mlflow, look = done.stdout.splitlines()
    assert re.search(r"\b\d\d\.\d\d%.* [12]$", best)
    assert re.match(r"2 epochs .*\d+\.\d s, .*\d\.\d{4}$", course)
    assert where.endswith(str(folder))
    assert re.search(r"\b[0-9a-f]{32}$", mlflow)
    assert look.endswith("lenet-ui sweep=all")
    assert control_characters(done.stdout + done.stderr) == set()
    steps = re.findall(
        r"iteration (\d+) loss \d+\.\d{6}$", (folder / "run.log").read_text(), re.MULTILINE
    )
    assert steps == ["20", "40", "60", "80"]
    assert "iteration" not in done.stdout + done.stderr
    rerun = lenet_train(*QUICK, "num_epoch=2", "num_iter_echo=20", outputs=ready)
    assert (rerun.returncode, re.findall(EPOCH, rerun.stderr)) == (0, [])
    assert "sweep.force=true" in rerun.stdout.splitlines()[0]
    assert rerun.stdout.splitlines()[1] == best


def test_run_at_chance_is_reported(ready):
    done = lenet_train(*QUICK, "num_epoch=1", "optimizer.lr=1e-9", outputs=ready)
    assert done.returncode == 0
    assert "at chance" in done.stdout.splitlines()[0]


def test_brackets_in_run_name_are_not_markup_in_progress_bar(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=out, force_terminal=True, width=100))
    with progress.Display().run("[shift,flip] [/x]", 1, 1):
        pass
    assert "[shift,flip] [/x]" in out.getvalue()


@pytest.mark.slow(seconds=10)
def test_sweep_has_progress_bar_for_sweep_and_runs(ready):
    line = (
        "-m",
        f"--config-dir={MINE}",
        *QUICK,
        "num_epoch=12",
        "activation=raises,selu",
        "sweep.workers=1",
    )
    terminal = Terminal(*line, "engine=torch", outputs=ready, cold=True)  # slow enough to be seen
    assert terminal.shows(None)
    plain = terminal.sent
    assert terminal.process.wait(60) == 1, plain
    assert re.search(r"sweep [━╸╺ ]+ +\d+% 0 of 2 runs ended", plain)
    # time left
    assert re.search(r"sweep [━╸╺ ]+ +\d+% 1 of 2 runs ended \(1 failed\) +\d:\d\d:\d\d", plain)
    assert re.search(r"selu [━╸╺ ]+ +\d+% \d/12 done", plain)
    assert re.search(r"selu: \d\d\.\d\d%", plain)
    assert re.search(r"raises: .*broken on purpose", plain)
    assert "1 finished, 1 failed" in plain.rpartition("━")[2]
