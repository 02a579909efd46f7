"""A job slot of a cluster, run in this process with a real pool."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from lenet_exp.executors.slot_process import PortableWork, SlotProcess
from lenet_exp.executors.work import EpochReport, WorkSpec
from lenet_exp.folders.job import Job
from lenet_exp.runs.jobs import lone_job
from lenet_exp.stopping import Terminated
from tests.executors.local.tasks import number_of, prepare_with, report_until_stopped
from tests.tools.configs import compose


@pytest.fixture
def job(ready: Path) -> Job:
    return lone_job(compose(["dataset=digits", "device=cpu", "engine=torch"]))


@pytest.fixture
def work(tmp_path) -> PortableWork:
    probe = tmp_path / ".probe"
    probe.write_text("written elsewhere")
    spec = WorkSpec(
        number_of, prepare_with, sets=[], cores=1, jobs=None, output=tmp_path / "workers.log"
    )
    return PortableWork(spec, [], None, False, (probe, probe.read_text()))


@pytest.fixture
def host(work) -> Iterator[SlotProcess]:
    process = SlotProcess(work)
    yield process
    process.close()


def test_slot_process_runs_a_job_and_reports_the_end(host, job):
    done = host.start(job)
    assert done.job == job.number
    assert done.value == job.number
    assert done.lost is None


def test_job_stopped_while_waiting_for_answer_trains_no_more(work, job, tmp_path):
    epochs = tmp_path / "epochs"
    spec = replace(work.work, task=partial(report_until_stopped, str(epochs)))
    host = SlotProcess(replace(work, work=spec, asks=True))

    try:
        assert isinstance(host.start(job), EpochReport)
        host.stop()
        done = host.answer(None)
    finally:
        host.close()

    assert isinstance(done.error, Terminated)
    assert epochs.read_text() == "epoch\n"


def test_concurrent_checks_of_outputs_folder_do_not_interfere(host, tmp_path):
    with (tmp_path / ".probe").open("r+") as another:
        fcntl.flock(another, fcntl.LOCK_EX)
        assert host.describe().wrong == ""
    assert [path.name for path in tmp_path.glob(".probe*")] == [".probe"]
    (tmp_path / ".probe").write_text("of another folder")
    assert "different folder" in host.describe().wrong
