"""lenet-sweep lists, watches, and stops sweeps from another terminal, and repairs runs and sweeps after kill -9."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.tools.commands import MINE, Done, end, lenet_train, start
from tests.tools.on_another_machine import NAME
from tests.tools.stores import client, points, runs
from tests.tools.waiting import QUICK, WAITS, wait_until_left, waiting


def lenet_sweep(*arguments: str, outputs: Path) -> Done:
    return end(start(*arguments, outputs=outputs, program="sweep"))


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ([], "list, status, watch, stop, du, rm"),
        (["Status"], "mean status?"),
        (["list", "sweep=last"], "sweep=last: "),
        (["status", "--sweep=last"], "mean sweep=?"),
        (["status"], "sweep=last: "),
        (["stop", "sweep=abcd"], "abcd: "),
        (["status", f"sweep={'x' * 300}"], f"'{'x' * 149}..."),
    ],
)
def test_invalid_argument_is_one_line(main, outputs, typed, named):
    done = main(*typed, program="sweep")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("lenet-sweep: ")
    assert done.stderr.count("\n") == 1
    assert named in done.stderr
    assert not outputs.exists()


def test_list_and_status_describe_finished_sweep(main, ready):
    assert "lenet-train -m" in main("list", program="sweep").stdout  # suggests how to start a sweep
    line = ("-m", f"--config-dir={MINE}", *QUICK, "num_epoch=2", "activation=relu,raises", "hydra/launcher=basic")
    assert lenet_train(*line, outputs=ready).returncode == 1
    (folder,) = (ready / "sweeps").iterdir()
    listed = main("list", program="sweep").stdout.strip().splitlines()
    assert listed[0].split() == ["sweep", "last", "start", "state", "done", "command"]
    assert re.match(rf" ?{folder.name} +\d{{4}}-\d\d-\d\d \d\d:\d\d +finished +1/2 runs +lenet-train -m ", listed[2])
    report = main("status", f"sweep={folder.name[:6]}", program="sweep").stdout.splitlines()
    assert report[0] == f"sweep {folder.name}: finished"
    assert report[1].startswith("lenet-train -m --config-dir=")
    assert report[2] == "1 finished, 1 failed"
    assert report[3].startswith("failed: raises: RuntimeError: ")
    assert len(report) == 4
    stopped = main("stop", program="sweep")
    assert stopped.returncode == 2
    assert stopped.stderr.startswith(f"lenet-sweep: sweep {folder.name} ")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("-m", *WAITS, "seed=0,1", "sweep.workers=1"), marks=pytest.mark.slow(seconds=9), id="sweep"),
        pytest.param(WAITS, marks=pytest.mark.slow(seconds=5), id="run"),
    ],
)
def test_list_repairs_killed_run_or_sweep_which_then_resumes(ready, tmp_path, arguments):
    """A run or sweep is not repaired while its process lives."""
    with waiting(*arguments, outputs=ready, tmp_path=tmp_path) as process:
        assert lenet_sweep("list", outputs=ready).stderr == ""
        kinds = ("run", "sweep") if "-m" in arguments else ("run",)
        assert {run.info.status for kind in kinds for run in runs(client(ready), kind)} <= {"RUNNING"}
        process.send_signal(signal.SIGKILL)
        process.wait()
    (folder,) = (ready / "runs").iterdir()
    wait_until_left(folder)
    done = lenet_sweep("list", outputs=ready)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1
    for kind in kinds:
        (run,) = runs(client(ready), kind)
        assert (run.info.status, run.data.tags["outcome"]) == ("KILLED", "killed")
    assert lenet_sweep("list", outputs=ready).stderr == ""  # nothing is left to repair
    again = end(start(*arguments, outputs=ready))
    assert again.returncode == 0, again.stderr
    for run in runs(client(ready)):
        resumed = "1" if run.data.tags["run_folder"] == folder.name else None
        assert (run.info.status, run.data.tags.get("resumed")) == ("FINISHED", resumed)
        assert [step for step, _, _ in points(client(ready), run.info.run_id)["val_accuracy"]] == [1, 2, 3]


@pytest.mark.by_hand  # tests/executors/slurm also watches and stops a sweep
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a process another host name")
def test_sweep_on_another_machine_can_be_watched_and_stopped(ready):
    line = ("-m", *QUICK, "num_epoch=2000", "seed=0,1", "sweep.workers=1")
    process = start(*line, outputs=ready, module="tests.tools.on_another_machine")
    while not list(ready.glob("sweeps/*/active/*")):
        assert process.poll() is None, end(process).stderr
        time.sleep(0.05)
    assert f"running ({NAME}, process {process.pid})" in lenet_sweep("status", outputs=ready).stdout
    watching = start("watch", outputs=ready, program="sweep")
    stopped = lenet_sweep("stop", outputs=ready)
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert end(process).returncode == 143
    watched = end(watching)
    assert watched.returncode == 1
    assert "1 killed" in watched.stdout
