"""If output cannot be written, commands stop printing but finish, and the exit status shows the
failure.
"""

from __future__ import annotations

import io
import os
import sys

import pytest

from lenet_exp.commands import train
from lenet_exp.commands.streams import guard_streams
from tests.tools.commands import SMALL, end, start
from tests.tools.stores import client, runs

BARE = ("tracking.plots=false", "tracking.models=none", "num_epoch=1")
SWEEP = ("-m", "hydra/launcher=basic", *SMALL, *BARE, "optimizer.lr=0.01,1e10")


def main() -> None:
    """Run lenet-train with closed streams, as after `>&-` in a shell."""
    sys.stdin = sys.stdout = sys.stderr = None
    os.closerange(0, 3)
    train.main()


@pytest.mark.parametrize("command", ["train --help", "sweep list"])
def test_full_disk_at_stdout_is_one_line_with_status_1(command, outputs):
    program, *arguments = command.split()
    with open("/dev/full", "w") as full:
        done = end(start(*arguments, outputs=outputs, program=program, stdout=full))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"lenet-{program}: ")
    assert "No space left" in done.stderr


@pytest.mark.parametrize("program", ["train", "sweep"])
def test_closed_stdout_is_no_error(program, outputs):
    process = start("--help", outputs=outputs, program=program)
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 0


@pytest.mark.parametrize("streams", ["full and without a reader", "closed"])
def test_sweep_with_broken_streams_finishes_with_correct_status(streams, ready):
    if streams == "closed":
        process = start(*SWEEP, outputs=ready, module="tests.commands.test_streams")
    else:
        with open("/dev/full", "w") as full:
            process = start(*SWEEP, outputs=ready, stdout=full)
    process.stderr.close()
    assert end(process).returncode == 1  # some diverged
    store = client(ready)
    assert sorted(run.info.status for run in runs(store)) == ["FAILED", "FINISHED"]
    assert [run.info.status for run in runs(store, "sweep")] == ["FINISHED"]


@pytest.mark.slow(seconds=5)
def test_single_run_with_closed_streams_is_uploaded(cli, ready):
    """The run is uploaded by a process of its own, which inherits the streams."""
    cli(*SMALL, *BARE, status=0, preexec_fn=lambda: os.closerange(0, 3))
    (run,) = runs(client(ready))
    assert run.info.status == "FINISHED"
    assert run.data.tags["outcome"] == "finished"


def test_characters_missing_in_encoding_are_escaped(monkeypatch):
    printed = io.BytesIO()
    for name in ("stdout", "stderr"):
        stream = io.TextIOWrapper(printed, encoding="ascii", write_through=True)
        monkeypatch.setattr(sys, name, stream)
    guard_streams()
    print("90.92 ± 0.21")
    assert printed.getvalue() == b"90.92 \\xb1 0.21\n"
