"""A worker of an allocation in a separate process, controlled by the test: without Slurm, but with
its signals.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lenet_exp.config.own_code import LOADED_CODE
from lenet_exp.executors.slurm import messages
from lenet_exp.executors.slurm.messages import SlurmMessages
from lenet_exp.executors.work import RemoteWork
from lenet_exp.folders.code_folder import save_code
from lenet_exp.folders.job import Job, job_to_json
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.sweep_folder import SweepFolder, sweep_of
from lenet_exp.runs.jobs import lone_job
from lenet_exp.sweeps.slot import _why_other_data
from tests.tools.commands import end, start
from tests.tools.configs import compose

EPOCHS = 50
NAME = "7_0-0-0"
AS_SLURM_SAYS = {
    "SLURM_ARRAY_JOB_ID": "7",
    "SLURM_ARRAY_TASK_ID": "0",
    "SLURM_JOB_ID": "7",
    "SLURM_PROCID": "0",
}


@pytest.fixture
def job(ready: Path) -> Job:
    flags = [
        "dataset=digits",
        "batch_size=32",
        "device=cpu",
        f"num_epoch={EPOCHS}",
        "tracking.plots=false",
    ]
    return lone_job(compose(flags))


class Sweep:
    """The part of a sweep's process that communicates with a worker."""

    def __init__(self, job: Job) -> None:
        self.folder: SweepFolder = sweep_of("lenet_exp", [job])
        self.folder.path.mkdir(parents=True, exist_ok=True)
        self.folder.start([job], runs=1)
        self.job = job
        self.channel = SlurmMessages(self.folder.path / "slurm")
        (self.folder.path / ".probe").write_text(".probe")
        self.open()
        self.slot = start(
            "slurm",
            str(self.folder.path),
            outputs=job.outputs,
            module="lenet_exp.sweeps.slot_task",
            env=AS_SLURM_SAYS,
        )

    def open(self) -> None:
        work = RemoteWork(["lenet-train"], {}, [job_to_json(self.job)])
        plan = self.channel.open(work, asks=True, time_limit=None, probe=".probe")
        self.session = plan.session
        self._heard: list[tuple[str, dict[str, Any]]] = []

    def hear(self, kind: str) -> dict[str, Any]:
        """Return the worker's next message, which must be of this kind."""
        deadline = time.monotonic() + 100
        while not self._heard:
            self._heard = self.channel.driver(self.session).take()
            assert time.monotonic() < deadline
            assert self.slot.poll() is None or self._heard, end(self.slot).stderr
            time.sleep(0.02)
        name, message = self._heard.pop(0)
        assert name == NAME, message
        assert message["kind"] == kind, message
        return message

    def tell(self, message: dict[str, Any]) -> None:
        self.channel.slot(self.session, NAME).put(f"driver-{time.monotonic_ns()}", message)

    def begins(self) -> None:
        """Start the job on the worker and wait for its question after the first epoch."""
        self.hear("described")
        self.tell(messages.start(1, self.job))
        assert messages.read_report(self.hear("question")).epoch == 1

    def workers(self) -> list[int]:
        """Return the worker's child processes."""
        pids = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                _, _, after_name = path.read_text().rpartition(")")
            except OSError:  # it ended
                continue
            parent = int(after_name.split()[1])
            if parent == self.slot.pid:
                pids.append(int(path.parent.name))
        return pids


@pytest.fixture
def sweep(job: Job) -> Iterator[Sweep]:
    started = Sweep(job)
    yield started
    started.slot.kill()
    end(started.slot)


@pytest.mark.by_hand  # tests/executors/slurm tests workers with a real queue
def test_slurm_worker_restarts_with_new_sweep_process(sweep):
    sweep.begins()
    sweep.tell({"kind": "answer", "turn": 1, "value": False})
    assert sweep.hear("question")["epoch"] == 2

    sweep.open()  # the sweep restarts: the worker writes a checkpoint
    sweep.hear("described")
    assert 2 <= len(sweep.job.folder.history().epochs) < EPOCHS
    sweep.tell(messages.start(1, sweep.job))
    assert sweep.hear("question")["epoch"] == 1  # repeated for the new process

    sweep.tell({"kind": "answer", "turn": 1, "value": True})
    assert messages.read_job_end(sweep.hear("ended")).error is None
    assert sweep.job.folder.record().outcome is Outcome.pruned

    sweep.tell({"kind": "leave"})
    assert sweep.hear("left")["turn"] is None
    sweep.channel.close(sweep.session)
    assert end(sweep.slot).returncode == 0


@pytest.mark.slow(seconds=3)
def test_waiting_run_writes_checkpoint_on_slurm_warning_signal(sweep):
    """Slurm signals all processes of the allocation at once."""
    sweep.begins()

    for pid in (sweep.slot.pid, *sweep.workers()):
        os.kill(pid, signal.SIGUSR2)

    assert sweep.hear("left")["turn"] == 1
    assert end(sweep.slot).returncode == 0
    record = sweep.job.folder.record()
    assert record.outcome is Outcome.killed
    assert record.command == "lenet-train"
    assert 1 <= len(sweep.job.folder.history().epochs) < EPOCHS
    assert not sweep.folder.has_ended(sweep.job.number)  # the job resumes on another worker


def test_slurm_worker_reports_data_that_differs_from_submission(job, tmp_path):
    assert _why_other_data([job]) == ""
    other = replace(job, fingerprint="0" * 64)
    assert _why_other_data([job, other]) != ""
    nothing = tmp_path / "nothing"
    config = compose(["dataset=folder", "dataset.class_names=[a]", f"data_root={nothing}"])
    assert str(nothing) in _why_other_data([replace(job, config=config)])


def test_slurm_worker_checks_data_with_copied_code(ready):
    config = replace(
        compose(["dataset=digits"]), model={"_target_": "tests.tools.networks.Residual"}
    )
    job = lone_job(config)
    save_code([job.config], ready)
    LOADED_CODE.clear()  # as in a process on another machine
    assert _why_other_data([job]) == ""
