"""A store that is away, hangs or is locked costs little time and one line; what is missing is said at the end."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import time
from contextlib import contextmanager

import pytest

from lenet_exp.folders.sweep_folder import all_sweeps
from tests.commands import SMALL, end, start
from tests.servers import erring_server, silent_server
from tests.stores import client, runs
from tests.sweeps.test_lenet_sweep import WAITS, lenet_sweep, waiting

LINE = (*SMALL, "num_epoch=2", "num_threads=1", "tracking.plots=false")
SWEEP = ("-m", *LINE, "seed=1,2")
LONGEST = 10.0  # seconds that a store may delay the first step, and the end


@pytest.mark.slow(seconds=10)
def test_a_server_that_never_answers_delays_neither_the_first_step_nor_the_end(tmp_path):
    with silent_server() as address:
        started = time.monotonic()
        one, many = (
            start(*line, f"tracking.uri={address}", outputs=tmp_path / name)
            for name, line in (("one", LINE), ("many", SWEEP))
        )
        said, times = [], {}
        for text in one.stderr:
            said.append(text)
            times.setdefault(text[:7], time.monotonic())
        done = end(many)
        swept = time.monotonic()
        assert one.wait(60) == 0, said
    assert times["epoch 1"] - started < LONGEST + 2  # seconds of the command itself
    assert times["not in "] - times["epoch 2"] < LONGEST
    assert swept - started < 2 * LONGEST
    assert done.returncode == 0, done.stderr
    for lines, left in ((said, "1 run, 1 model"), (done.stderr.splitlines(), "2 runs, 2 models, 1 sweep's own run")):
        assert sum("can't be written" in line for line in lines) == 1, lines
        assert lines[-1].startswith(f"not in MLflow ({address}): {left}; to deliver: lenet-sync "), lines


def test_a_server_that_has_only_errors_costs_one_warning_and_the_last_line(tmp_path):
    with erring_server() as address:
        started = time.monotonic()
        for line, left in ((LINE, "1 run, 1 model"), (SWEEP, "2 runs, 2 models, 1 sweep's own run")):
            done = end(start(*line, f"tracking.uri={address}", outputs=tmp_path))
            assert done.returncode == 0, done.stderr
            assert done.stderr.count("can't be written") == 1
            assert f"not in MLflow ({address}): {left}; to deliver: lenet-sync " in done.stderr.splitlines()[-1]
        assert time.monotonic() - started < 2 * LONGEST


@contextmanager
def locked(database):
    """Another process writes, and does not come to its end."""
    with sqlite3.connect(database, isolation_level=None) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


@pytest.mark.slow(seconds=12)
def test_a_locked_database_is_one_line_and_is_told_later_how_the_sweep_ended(ready, tmp_path):
    line = ("-m", *WAITS, "sweep.workers=1", "seed=0,1")
    with waiting(*line, outputs=ready, tmp_path=tmp_path) as process:
        deadline = time.monotonic() + 60
        while not (client(ready).get_experiment_by_name("lenet_exp") and runs(client(ready))):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        with locked(ready / "mlflow.db"):
            process.send_signal(signal.SIGTERM)
            done = end(process)
    assert done.returncode == 143
    assert len(done.stderr.splitlines()) < 10, done.stderr
    assert done.stderr.count("database is locked") == 1
    assert re.search(
        r"not in MLflow \(sqlite:.*\): 1 run, 1 sweep's own run; to deliver: lenet-sync sweep=", done.stderr
    )
    (parent,) = runs(client(ready), "sweep")
    (sweep,) = all_sweeps(ready)
    assert (sweep.started().outcome, parent.info.status) == ("killed", "RUNNING")
    listed = lenet_sweep("list", outputs=ready)
    assert f"sweep {sweep.id}: MLflow knows now how it ended" in listed.stderr
    for kind in ("run", "sweep"):
        assert {(run.info.status, run.data.tags["outcome"]) for run in runs(client(ready), kind)} == {
            ("KILLED", "killed")
        }
    assert lenet_sweep("list", outputs=ready).stderr == ""
    assert os.listdir(sweep.path / "active") == []
