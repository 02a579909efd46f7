"""Detached sweeps on a cluster: passwords in the command, and the status of allocations."""

from __future__ import annotations

from typing import Any

import pytest

from lenet_exp.errors import ConfigError
from lenet_exp.executors.slurm.queue import QueuedJob
from lenet_exp.executors.slurm.slurm_launcher import SlurmLauncher
from lenet_exp.folders.sweep_folder import SweepFolder, sweep_of
from lenet_exp.runs.jobs import lone_job
from lenet_exp.sweeps import follow
from lenet_exp.sweeps.detach import detach
from lenet_exp.sweeps.session import SweepRequest
from tests.tools.configs import compose


def test_detached_sweep_refuses_password_in_command(outputs, monkeypatch):
    def submit(*_: Any) -> str:
        raise AssertionError("the sweep was submitted")

    monkeypatch.setattr(SlurmLauncher, "detach", submit)
    launcher = SlurmLauncher(workers=None, retries=1, time_limit=None, fail_fast=False, max_failures=None)
    config = compose(["dataset=digits"])
    job = lone_job(config)
    sweep = sweep_of("lenet_exp", [job])
    monkeypatch.setattr("sys.argv", ["lenet-train", "-m", "seed=1,2", "tracking.uri=http://me:secret@host:5000"])
    with pytest.raises(ConfigError) as error:
        detach(launcher, sweep, [job], config, SweepRequest("", [], []))
    assert "secret" not in str(error.value)
    assert "MLFLOW_TRACKING_URI" in str(error.value)
    assert not outputs.exists()


@pytest.mark.parametrize(
    ("driver", "state", "named"), [("7", "PENDING", True), ("7", "RUNNING", False), (None, "PENDING", False)]
)
def test_status_names_core_of_driver_job_while_allocations_wait(monkeypatch, tmp_path, driver, state, named):
    job = QueuedJob(driver, "driver", "RUNNING") if driver else None
    allocations = [QueuedJob("8_0", "allocation", state, "Resources")]
    monkeypatch.setattr(follow, "queued", lambda _: (job, allocations))
    assert ("Slurm job 7" in follow.allocation_status(SweepFolder(tmp_path))) is named
