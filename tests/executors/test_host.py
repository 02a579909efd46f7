"""A place of a cluster, in this process: its pool is a real one."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lenet_exp.api import compose
from lenet_exp.executors.host import Carried, Host
from lenet_exp.folders.job import Job
from lenet_exp.pool.pool import Pool
from lenet_exp.runs.jobs import lone_job
from tests.pool.tasks import number_of, prepare_with


@pytest.fixture
def job(ready: Path) -> Job:
    return lone_job(compose(["dataset=digits", "device=cpu", "engine=torch"]))


@pytest.fixture
def new_host(tmp_path) -> Iterator[Callable[[type[Host]], Host]]:
    made = []
    probe = tmp_path / ".probe"
    probe.write_text("written elsewhere")

    def new(kind: type[Host]) -> Host:
        carried = Carried(
            number_of, prepare_with, [], tmp_path / "workers.log", None, False, (probe, probe.read_text())
        )
        made.append(kind(carried))
        return made[-1]

    yield new
    for host in made:
        host.close()


class StoppedMeanwhile(Host):
    """Is asked to stop while its process is being made, which takes long where the data sets are large."""

    def _new_pool(self) -> Pool:
        self.stop()
        return super()._new_pool()


def test_a_place_that_is_stopped_before_its_job_began_begins_none(new_host, job):
    assert new_host(StoppedMeanwhile).start(job) is None


def test_a_place_runs_a_job_and_says_how_it_ended(new_host, job):
    done = new_host(Host).start(job)
    assert (done.job, done.value, done.lost) == (job.number, job.number, None)


def test_places_that_look_at_the_outputs_folder_at_once_do_not_disturb_each_other(new_host, tmp_path):
    host = new_host(Host)
    with (tmp_path / ".probe").open("r+") as another:
        fcntl.flock(another, fcntl.LOCK_EX)
        assert host.describe().wrong == ""
    assert [path.name for path in tmp_path.glob(".probe*")] == [".probe"]
    (tmp_path / ".probe").write_text("of another folder")
    assert host.describe().wrong == "it is another folder here"
