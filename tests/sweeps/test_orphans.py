"""When another launcher ends, lenet_exp closes dead runs in MLflow and reports runs that are still alive."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lenet_exp.folders.owner import owner_of
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.machine import host
from tests.sweeps.layers import REACHED
from tests.tools.commands import MINE, SMALL, end, start
from tests.tools.counts import counts
from tests.tools.stores import client, runs
from tests.tools.waiting import wait_until_left

LINE = (*SMALL, "num_epoch=3", "num_threads=1", "activation=waits", "tracking.plots=false", "tracking.models=none")
SLOPPY = """
import os

import torch
from hydra.core.config_store import ConfigStore
from hydra.core.utils import run_job
from hydra.plugins.launcher import Launcher

ConfigStore.instance().store(
    group="hydra/launcher", name="sloppy", node={"_target_": "hydra_plugins.sloppy_launcher.SloppyLauncher"}
)


class SloppyLauncher(Launcher):
    # Starts a process per job and fails when a process dies, as submitit's local executor does.
    def setup(self, *, hydra_context, task_function, config):
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides, initial_job_idx):
        for overrides in job_overrides:
            if os.fork() == 0:
                for stream in (1, 2):  # discard the output
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
                torch.set_num_threads(1)
                try:
                    config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
                    run_job(self.task, config, "hydra.sweep.dir", None, self.context)
                finally:
                    os._exit(0)
        _, status = os.wait()
        raise RuntimeError(f"a job ended with status {status}")
"""


@contextmanager
def two_waiting(
    *arguments: str, outputs: Path, tmp_path: Path
) -> Iterator[tuple[subprocess.Popen[str], dict[str, int]]]:
    """Yield a sweep whose two runs wait in their second epoch, and their process IDs by name."""
    reached = tmp_path / "reached"
    os.mkfifo(reached)
    process = start(
        "-m", f"--config-dir={MINE}", *arguments, outputs=outputs, cwd=tmp_path, env={REACHED: str(reached)}
    )
    running: dict[str, int] = {}
    try:
        pipe, received = os.open(reached, os.O_RDONLY | os.O_NONBLOCK), b""
        while received != b"herehere":
            assert process.poll() is None, process.communicate()
            assert select.select([pipe], [], [], 60)[0], "training did not get there"
            received += os.read(pipe, 8)
            time.sleep(0.02)
        os.close(pipe)
        (sweep,) = [SweepFolder(path) for path in (outputs / "sweeps").iterdir()]
        jobs = sweep.jobs()
        running = {jobs[n].name: owner_of(jobs[n].folder.path).pid for n in sweep.active()}
        yield process, running
    finally:
        for pid in (process.pid, *running.values()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.by_hand
def test_killed_run_is_closed_when_launcher_fails(ready, tmp_path):
    (tmp_path / "hydra_plugins").mkdir()
    (tmp_path / "hydra_plugins" / "sloppy_launcher.py").write_text(SLOPPY)
    with two_waiting("hydra/launcher=sloppy", *LINE, "seed=0,1", outputs=ready, tmp_path=tmp_path) as (
        process,
        running,
    ):
        os.kill(running["seed=0"], signal.SIGKILL)
        done = end(process)
        assert done.returncode == 1
        assert [line for line in done.stderr.splitlines() if line.startswith("SloppyLauncher ")]
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("seed=1: ")]
        assert f"process {running['seed=1']} on {host()}" in line
        assert (counts(done)[0], "Traceback" in done.stderr) == ({"killed": 1, "running": 1}, False)
        assert "killed: seed=0: " in done.stdout
        found = {run.info.run_name: run for run in runs(client(ready))}
        assert {name: run.info.status for name, run in found.items()} == {"seed=0": "KILLED", "seed=1": "RUNNING"}
        (parent,) = runs(client(ready), "sweep")
        assert (parent.info.status, parent.data.metrics["runs_killed"]) == ("FAILED", 1)
        os.kill(running["seed=1"], signal.SIGTERM)
        wait_until_left(ready / "runs" / found["seed=1"].data.tags["run_folder"])
    (sweep,) = (ready / "sweeps").iterdir()
    wait_until_left(sweep)  # the forked process inherited the sweep's lock
    listed = end(start("list", outputs=ready, program="sweep"))
    assert {run.info.status for run in runs(client(ready))} == {"KILLED"}, listed.stderr
