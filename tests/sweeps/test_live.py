"""A running sweep in MLflow, and in `lenet-sweep watch` in another terminal."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest
from mlflow.entities import Run

from lenet_exp.machine import host
from tests.tools.commands import end, start
from tests.tools.counts import counts
from tests.tools.stores import client, points, runs
from tests.tools.terminals import Terminal
from tests.tools.until import until
from tests.tools.waiting import WAITS, waiting


def _epochs(outputs: Path, run: Run) -> list[int]:
    """Return the epochs that MLflow's curve of a run contains."""
    curves = points(client(outputs), run.info.run_id)
    return [step for step, _, _ in curves.get("val_accuracy", [])]


@pytest.mark.slow(seconds=20)
def test_running_sweep_is_listed_watched_stopped_and_resumed(main, ready, tmp_path):
    with waiting(
        "-m", *WAITS, "sweep.workers=1", "seed=0,1", outputs=ready, tmp_path=tmp_path
    ) as process:
        parents = partial(runs, client(ready), "sweep")
        until(parents, process)
        (live,) = parents()
        assert live.info.status == "RUNNING"
        until(
            lambda: "running: 0 of 2" in parents()[0].data.tags.get("mlflow.note.content", ""),
            process,
        )
        until(lambda: [_epochs(ready, run) for run in runs(client(ready))] == [[1]], process)
        assert live.data.metrics == {}
        (folder,) = (ready / "sweeps").iterdir()
        (row,) = [
            text
            for text in main("list", program="sweep").stdout.splitlines()
            if folder.name in text
        ]
        assert re.search(
            rf"running \({re.escape(host())}, process {process.pid}\) +0/2 runs +lenet-train -m",
            row,
        )
        shown = main("status", program="sweep").stdout
        assert "1 running" in shown
        assert re.search(
            rf"seed=0 +[01]/3 +(-|\d\d\.\d\d%) +{re.escape(host())}, process \d+ *$",
            shown,
            re.MULTILINE,
        )
        terminal = Terminal("watch", outputs=ready, program="sweep")
        assert terminal.shows(r"\d+% 0 of 2 runs ended +\S*:\S*")
        assert terminal.shows(r"seed=0 .*\d+% 1/3 .* \d\d\.\d\d%")
        assert (
            f"lenet-train -m sweep.resume={folder.name}\n" in main("stop", program="sweep").stdout
        )
        assert terminal.shows(None)
        assert terminal.process.wait(60) == 1
        ended = end(process)
    assert (ended.returncode, counts(ended)[0]) == (143, {"killed": 1, "not started": 1})
    assert max(len(text) for text in re.split(r"[\r\n]", terminal.sent) if "━" in text) <= 80
    assert "1 killed" in terminal.sent.rpartition("━")[2]
    (stopped,), (run,) = runs(client(ready), "sweep"), runs(client(ready))
    assert stopped.info.status == run.info.status == "KILLED"
    assert stopped.data.metrics["runs_killed"] == 1
    assert "1 of 2" in stopped.data.tags["sweep_progress"]
    assert "1 killed" in stopped.data.tags["mlflow.note.content"]

    done = end(start("-m", f"sweep.resume={folder.name}", outputs=ready))
    assert (done.returncode, counts(done)) == (0, ({"finished": 2}, 2, 0)), done.stderr
    (after,) = runs(client(ready), "sweep")
    killed = points(client(ready), after.info.run_id)["runs_killed"]
    assert [(step, value) for step, value, _ in killed] == [(1, 1), (2, 0)]
    assert after.data.metrics["runs_finished"] == 2
    assert "2 of 2" in after.data.tags["sweep_progress"]
    best = max(runs(client(ready)), key=lambda run: run.data.metrics["best_val_accuracy"])
    accuracy = best.data.metrics["best_val_accuracy"]
    assert after.data.tags["sweep_best"] == f"{accuracy:.2%} by {best.info.run_name}"
