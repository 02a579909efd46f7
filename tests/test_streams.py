"""Output that can't be written ends the printing and nothing else; the exit status says so."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import SMALL
from tests.stores import client, runs

PROGRAM = f"{shlex.quote(sys.executable)} -m lenet_exp"
FULL = "standard output can't be written (No space left on device)"


def shell(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", line], cwd=cwd, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("command", ["train --help", "train --cfg job", "sweep list", "compare --help"])
def test_a_full_disk_behind_stdout_is_one_line_and_status_1(command, workdir, outputs):
    done = shell(f"{PROGRAM} {command} > /dev/full", workdir)
    name = command.partition(" ")[0]
    assert (done.returncode, done.stderr.strip()) == (1, f"lenet-{name}: {FULL}")


def test_closed_streams_are_no_error(workdir, outputs):
    done = shell(f"{PROGRAM} sweep list >&- 2>&- <&-", workdir)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_reader_that_has_seen_enough_is_no_error(workdir):
    done = shell(f"{PROGRAM} train --help | head -n 1; echo ${{PIPESTATUS[0]}}", workdir)
    assert done.stdout.splitlines()[1:] == ["0"]
    assert done.stderr == ""


@pytest.mark.parametrize("redirected", ["> /dev/full", "2> /dev/full | head -c 1", ">&- 2>&-"])
def test_a_sweep_trains_to_its_end_and_its_status_is_true(redirected, workdir, ready):
    line = f"{PROGRAM} train -m {' '.join(SMALL)} num_epoch=1 optimizer.lr=0.01,1e10 tracking.plots=false"
    done = shell(f"{line} {redirected}; echo ${{PIPESTATUS[0]}}", workdir)
    assert done.stdout.strip("\n").endswith("1")  # one diverged
    store = client(ready)
    assert sorted(run.info.status for run in runs(store)) == ["FAILED", "FINISHED"]
    assert [run.info.status for run in runs(store, "sweep")] == ["FINISHED"]


def test_a_terminal_without_the_signs_that_are_printed_shows_others(workdir, outputs):
    done = shell(f"PYTHONIOENCODING=ascii {PROGRAM} sweep status sweep=höchst", workdir)
    assert done.returncode == 2
    assert r"h\xf6chst: no such sweep" in done.stderr
