"""When another launcher ends, lenet_exp closes dead runs in MLflow and reports runs that are still alive."""

from __future__ import annotations

import os
import signal

import pytest

from lenet_exp.folders.owner import owner_of
from lenet_exp.machine import host
from tests.tools.commands import MINE, end, start
from tests.tools.counts import counts
from tests.tools.spies import FOLDER
from tests.tools.stores import client, runs
from tests.tools.waiting import QUICK, wait_until_left

LINE = ("-m", f"--config-dir={MINE}", "hydra/launcher=sloppy", *QUICK, "num_epoch=100000", "activation=dies")
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


@pytest.mark.by_hand
def test_killed_run_is_closed_when_launcher_fails(ready, tmp_path):
    """One of two runs kills its process, and the other trains on."""
    (tmp_path / "hydra_plugins").mkdir()
    (tmp_path / "hydra_plugins" / "sloppy_launcher.py").write_text(SLOPPY)
    (tmp_path / "die-0").touch()
    done = end(start(*LINE, "seed=0,1", outputs=ready, cwd=tmp_path, env={FOLDER: str(tmp_path)}))
    (folder,) = (path for path in (ready / "runs").iterdir() if owner_of(path) is not None)
    pid = owner_of(folder).pid
    try:
        found = {run.data.tags["run_folder"] == folder.name: run.info for run in runs(client(ready))}
        dead, living = (found[is_alive] for is_alive in (False, True))
        assert done.returncode == 1
        assert [line for line in done.stderr.splitlines() if line.startswith("SloppyLauncher ")]
        (line,) = [line for line in done.stderr.splitlines() if line.startswith(f"{living.run_name}: ")]
        assert f"process {pid} on {host()}" in line
        assert (counts(done)[0], "Traceback" in done.stderr) == ({"killed": 1, "running": 1}, False)
        assert f"killed: {dead.run_name}: " in done.stdout
        assert (dead.status, living.status) == ("KILLED", "RUNNING")
        (parent,) = runs(client(ready), "sweep")
        assert (parent.info.status, parent.data.metrics["runs_killed"]) == ("FAILED", 1)
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until_left(folder)
    (sweep,) = (ready / "sweeps").iterdir()
    wait_until_left(sweep)  # the forked process inherited the sweep's lock
    listed = end(start("list", outputs=ready, program="sweep"))
    assert {run.info.status for run in runs(client(ready))} == {"KILLED"}, listed.stderr
