"""lenet-sweep lists, watches, and stops sweeps from another terminal, and repairs runs and sweeps
after kill -9.
"""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.tools.commands import MINE, Done, end, lenet_train, refused, start, succeeded
from tests.tools.stores import client, points, runs
from tests.tools.waiting import QUICK, WAITS, wait_until_left, waiting


def lenet_sweep(*arguments: str, outputs: Path) -> Done:
    return end(start(*arguments, outputs=outputs, program="sweep"))


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ([], "list, status, watch, stop, rm"),
        (["Status"], "mean status?"),
        (["list", "sweep=last"], "sweep=last: "),
        (["status", "--sweep=last"], "mean sweep=?"),
        (["status"], "sweep=last: "),
        (["stop", "sweep=abcd"], "abcd: "),
    ],
)
def test_invalid_argument_is_one_line(main, outputs, typed, named):
    done = main(*typed, program="sweep")
    refused(done, named, program="sweep")
    assert not outputs.exists()


def test_list_and_status_describe_finished_sweep(main, ready):
    assert "lenet-train -m" in main("list", program="sweep").stdout  # suggests how to start a sweep
    line = (
        "-m",
        f"--config-dir={MINE}",
        *QUICK,
        "num_epoch=2",
        "activation=relu,raises",
        "hydra/launcher=basic",
    )
    assert lenet_train(*line, outputs=ready).returncode == 1
    (folder,) = (ready / "sweeps").iterdir()

    listed = main("list", program="sweep").stdout.strip().splitlines()
    assert listed[0].split() == ["sweep", "last", "start", "state", "done", "command"]
    start_time = r"\d{4}-\d\d-\d\d \d\d:\d\d"
    row = rf" ?{folder.name} +{start_time} +finished +1/2 runs +lenet-train -m "
    assert re.match(row, listed[2])

    report = main("status", f"sweep={folder.name[:6]}", program="sweep").stdout.splitlines()
    assert report[0] == f"sweep {folder.name}: finished"
    assert report[1].startswith("lenet-train -m --config-dir=")
    assert report[2] == "1 finished, 1 failed"
    assert report[3].startswith("failed: raises: RuntimeError: ")
    assert len(report) == 4
    refused(main("stop", program="sweep"), f"lenet-sweep: sweep {folder.name} ", program="sweep")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(
            ("-m", *WAITS, "seed=0,1", "sweep.workers=1"),
            marks=pytest.mark.slow(seconds=9),
            id="sweep",
        ),
        pytest.param(WAITS, marks=pytest.mark.slow(seconds=5), id="run"),
    ],
)
def test_list_and_sync_repair_killed_run_or_sweep_which_then_resumes(ready, tmp_path, arguments):
    """A run or sweep is not repaired while its process lives."""
    kinds = ["run"]
    if "-m" in arguments:
        kinds.append("sweep")

    with waiting(*arguments, outputs=ready, tmp_path=tmp_path) as process:
        assert lenet_sweep("list", outputs=ready).stderr == ""
        for kind in kinds:
            for run in runs(client(ready), kind):
                assert run.info.status == "RUNNING"
        process.send_signal(signal.SIGKILL)
        process.wait()
    (folder,) = (ready / "runs").iterdir()
    wait_until_left(folder)

    assert succeeded(lenet_sweep("list", outputs=ready)).stderr.count("\n") == len(kinds) - 1
    succeeded(end(start(outputs=ready, program="sync")))
    for kind in kinds:
        (run,) = runs(client(ready), kind)
        assert run.info.status == "KILLED"
        assert run.data.tags["outcome"] == "killed"
    assert lenet_sweep("list", outputs=ready).stderr == ""  # nothing is left to repair

    succeeded(end(start(*arguments, outputs=ready)))

    for run in runs(client(ready)):
        assert run.info.status == "FINISHED"
        if run.data.tags["run_folder"] == folder.name:
            assert run.data.tags["resumed"] == "1"
        else:
            assert "resumed" not in run.data.tags
        curve = points(client(ready), run.info.run_id)["val_accuracy"]
        assert [epoch for epoch, _, _ in curve] == [1, 2, 3]
