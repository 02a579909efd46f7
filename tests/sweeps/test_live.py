"""A running sweep in MLflow, and in `lenet-sweep watch` in another terminal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mlflow.entities import Run

from lenet_exp.machine import host
from tests.tools.commands import end, start, succeeded
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
    def note() -> str:
        (sweep,) = runs(client(ready), "sweep")
        return sweep.data.tags.get("mlflow.note.content", "")

    line = ("-m", *WAITS, "sweep.workers=1", "seed=0,1")
    machine = re.escape(host())
    with waiting(*line, outputs=ready, tmp_path=tmp_path) as process:
        until(lambda: runs(client(ready), "sweep"), process)
        (live,) = runs(client(ready), "sweep")
        assert live.info.status == "RUNNING"
        until(lambda: "running: 0 of 2" in note(), process)
        until(lambda: [_epochs(ready, run) for run in runs(client(ready))] == [[1]], process)
        assert live.data.metrics == {}

        (folder,) = (ready / "sweeps").iterdir()
        listed = main("list", program="sweep").stdout.splitlines()
        (row,) = [text for text in listed if folder.name in text]
        state = rf"running \({machine}, process {process.pid}\)"
        assert re.search(rf"{state} +0/2 runs +lenet-train -m", row)

        status = main("status", program="sweep").stdout
        assert "1 running" in status
        row_of_run = rf"seed=0 +[01]/3 +(-|\d\d\.\d\d%) +{machine}, process \d+ *$"
        assert re.search(row_of_run, status, re.MULTILINE)

        terminal = Terminal("watch", outputs=ready, program="sweep")
        assert terminal.shows(r"\d+% 0 of 2 runs ended +\S*:\S*")
        assert terminal.shows(r"seed=0 .*\d+% 1/3 .* \d\d\.\d\d%")

        stop = main("stop", program="sweep")
        assert f"lenet-train -m sweep.resume={folder.name}\n" in stop.stdout
        assert terminal.shows(None)
        assert terminal.process.wait(60) == 1
        ended = end(process)

    assert ended.returncode == 143
    outcomes, _, _ = counts(ended)
    assert outcomes == {"killed": 1, "not started": 1}
    bars = [text for text in re.split(r"[\r\n]", terminal.sent) if "━" in text]
    assert max(len(bar) for bar in bars) <= 80
    _, _, after_last_bar = terminal.sent.rpartition("━")
    assert "1 killed" in after_last_bar

    (stopped,) = runs(client(ready), "sweep")
    (run,) = runs(client(ready))
    assert stopped.info.status == "KILLED"
    assert run.info.status == "KILLED"
    assert stopped.data.metrics["runs_killed"] == 1
    assert "1 of 2" in stopped.data.tags["sweep_progress"]
    assert "1 killed" in stopped.data.tags["mlflow.note.content"]

    done = succeeded(end(start("-m", f"sweep.resume={folder.name}", outputs=ready)))

    assert counts(done) == ({"finished": 2}, 2, 0), done.stderr
    (after,) = runs(client(ready), "sweep")
    killed = points(client(ready), after.info.run_id)["runs_killed"]
    assert [(step, value) for step, value, _ in killed] == [(1, 1), (2, 0)]
    assert after.data.metrics["runs_finished"] == 2
    assert "2 of 2" in after.data.tags["sweep_progress"]
    best = max(runs(client(ready)), key=lambda run: run.data.metrics["best_val_accuracy"])
    accuracy = best.data.metrics["best_val_accuracy"]
    assert after.data.tags["sweep_best"] == f"{accuracy:.2%} by {best.info.run_name}"
