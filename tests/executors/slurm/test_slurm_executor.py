"""The executor of a Slurm cluster, with a simulated queue, simulated slots, and a simulated clock.

On a real cluster, which test_slurm.py uses, these events are too slow or too rare for a test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from lenet_exp.errors import ConfigError, UserError
from lenet_exp.executors.slot_process import SlotInfo
from lenet_exp.executors.slurm import messages
from lenet_exp.executors.slurm.messages import SlurmMessages
from lenet_exp.executors.slurm.options import SlurmOptions
from lenet_exp.executors.slurm.queue import QueuedJob
from lenet_exp.executors.slurm.slurm_executor import SlurmExecutor
from lenet_exp.executors.work import EpochReport, JobEnd, RemoteWork, WorkSpec
from lenet_exp.folders.job import Job
from lenet_exp.machine import versions
from lenet_exp.package_files import source_digest
from lenet_exp.runs.jobs import lone_job
from tests.tools.configs import compose

OPTIONS = SlurmOptions(allocations=2, tasks=1, cpus=1, lost_after=60.0)
NOWHERE = RemoteWork([], {}, [])


class SimulatedQueue:
    """A `Queue` with given states; None means that the controller does not answer."""

    def __init__(self) -> None:
        self.states: dict[str, str] | None = {}
        self.names: dict[str, str] = {}
        self.cancelled: list[str] = []
        self.submitted: list[int] = []
        self.refuses = False

    def submit(
        self, script: Path, name: str, log: str, count: int, arguments: Sequence[str]
    ) -> list[str]:
        if self.refuses:
            raise ConfigError(
                "hydra/launcher=cluster_slurm: sbatch: Unable to contact slurm controller"
            )
        self.submitted.append(count)
        ids = [f"{len(self.submitted)}_{n}" for n in range(count)]
        self.names |= dict.fromkeys(ids, name)
        assert self.states is not None
        self.states |= dict.fromkeys(ids, "PENDING")
        return ids

    def jobs(self, prefix: str) -> list[QueuedJob] | None:
        if self.states is None:
            return None
        queued = [QueuedJob(job, self.names[job], state) for job, state in self.states.items()]
        return [job for job in queued if job.name.startswith(prefix)]

    def cancel(self, ids: Sequence[str]) -> None:
        self.cancelled += ids


class Cluster:
    """An executor with its queue, its clock, and the messages of its slots."""

    def __init__(
        self, sweep: Path, options: SlurmOptions, queue: SimulatedQueue, retries: int, asks: bool
    ) -> None:
        (sweep / "ended").mkdir(parents=True, exist_ok=True)
        (sweep / "active").mkdir(exist_ok=True)
        self.now = 1000.0
        self.queue = queue
        self.channel = SlurmMessages(sweep / "slurm")
        answer = _is_pruned if asks else None
        work = WorkSpec(
            _nothing,
            _nothing,
            sets=[],
            cores=1,
            jobs=None,
            output=sweep / "workers.log",
            answer=answer,
            remote=NOWHERE,
        )
        self.executor = SlurmExecutor(
            work,
            options,
            queue,
            ["python", "-m"],
            retries=retries,
            time_limit=None,
            clock=lambda: self.now,
        )
        plan = self.channel.plan()
        assert plan is not None
        self.session = plan.session

    def say(self, slot: str, message: Mapping[str, Any]) -> None:
        inbox = self.channel.driver(self.session)
        inbox._sent = self.now_in_ms()  # the messages of a slot are ordered
        inbox.put(slot, message)

    def now_in_ms(self) -> int:
        self._sent = getattr(self, "_sent", 0) + 1
        return self._sent

    def come(self, slot: str, **changed: Any) -> None:
        self.beat(slot)
        suitable = SlotInfo("node", "", "", source_digest(), versions()["torch"])
        described = replace(suitable, **changed)
        self.say(slot, {"kind": messages.DESCRIBED, **asdict(described)})

    def beat(self, slot: str) -> None:
        self.channel.beats(self.session).beat(slot)

    def messages_to(self, slot: str) -> list[dict[str, Any]]:
        """Return the messages to a slot since the last call."""
        return [message for _, message in self.channel.slot(self.session, slot).take()]

    def passes(self, seconds: float, *beating: str) -> list[JobEnd]:
        """Let time pass in steps of five seconds with heartbeats of some slots, and return the
        ends of jobs.
        """
        ends = []
        steps = max(1, int(seconds / 5))
        for _ in range(steps):
            self.now += min(seconds, 5.0)
            for slot in beating:
                self.beat(slot)
            while (done := self.executor.next_done(0)) is not None:
                ends.append(done)
        return ends


def _nothing(*_: object) -> float:
    return 0.0


def _is_pruned(report: EpochReport) -> bool:
    return report.value < 0.5


@pytest.fixture
def jobs(ready: Path) -> list[Job]:
    job = lone_job(compose(["dataset=digits", "device=cpu", "engine=torch"]))
    return [replace(job, number=n) for n in range(4)]


@pytest.fixture
def new(tmp_path):
    def make(
        options: SlurmOptions = OPTIONS,
        queue: SimulatedQueue | None = None,
        retries: int = 0,
        asks: bool = False,
    ) -> Cluster:
        folder = tmp_path / "sweeps" / "abc"
        queue = queue or SimulatedQueue()
        return Cluster(folder, options, queue, retries=retries, asks=asks)

    return make


def two_slots(cluster: Cluster, jobs: list[Job]) -> int:
    """Start two jobs at 1_0 and 1_1, and return the turn of the first."""
    for job in jobs[:2]:
        cluster.executor.submit(job)
    assert cluster.passes(0) == []
    assert cluster.queue.submitted == [2]
    cluster.queue.states = {"1_0": "RUNNING", "1_1": "RUNNING"}
    cluster.come("1_0-0-0")
    cluster.come("1_1-0-0")
    cluster.passes(5)

    (first,) = cluster.messages_to("1_0-0-0")
    assert first["kind"] == "start"
    assert first["number"] == 0
    (second,) = cluster.messages_to("1_1-0-0")
    assert second["kind"] == "start"
    assert second["number"] == 1
    return int(first["turn"])


BOTH = ("1_0-0-0", "1_1-0-0")


@pytest.mark.parametrize(("jobs_in_all", "expected"), [(10_000, 3), (5, 1), (17, 2)])
def test_allocations_are_limited_by_option_and_number_of_jobs(new, jobs, jobs_in_all, expected):
    cluster = new(SlurmOptions(allocations=3, tasks=16, cpus=1))
    assert cluster.executor.capacity == 48
    for n in range(jobs_in_all):
        cluster.executor.submit(replace(jobs[0], number=n))
    cluster.passes(5)
    assert cluster.queue.submitted == [expected]


def test_allocation_missing_from_the_queue_is_lost_after_the_deadline(new, jobs):
    cluster = new(retries=1)
    two_slots(cluster, jobs)

    del cluster.queue.states["1_0"]

    assert cluster.passes(55, *BOTH) == []
    assert cluster.executor.running == {0, 1}
    assert cluster.passes(15, *BOTH) == []
    assert cluster.executor.running == {1}
    assert cluster.messages_to(BOTH[0]) == [{"kind": "leave"}]  # in case it still lives
    assert cluster.queue.submitted == [2, 1]


def test_unreachable_controller_loses_no_jobs(new, jobs):
    cluster = new()
    two_slots(cluster, jobs)
    states = cluster.queue.states

    cluster.queue.states = None
    assert cluster.passes(600, *BOTH) == []

    cluster.queue.states = states
    assert cluster.passes(30, *BOTH) == []
    assert cluster.executor.running == {0, 1}


def test_only_refusal_of_first_allocation_ends_a_sweep(new, jobs, caplog):
    cluster = new()
    cluster.queue.refuses = True
    cluster.executor.submit(jobs[0])
    with pytest.raises(ConfigError, match="Unable to contact"):
        cluster.passes(5)

    cluster = new(retries=1)
    two_slots(cluster, jobs)
    cluster.queue.states["1_0"] = "TIMEOUT"
    cluster.queue.refuses = True
    assert cluster.passes(60, BOTH[1]) == []
    assert "Unable to contact" in caplog.text

    cluster.queue.refuses = False
    assert cluster.passes(35, BOTH[1]) == []
    assert cluster.queue.submitted == [2, 1]


def test_allocation_on_failed_node_may_be_requeued_until_deadline(new, jobs):
    cluster = new(retries=1)
    two_slots(cluster, jobs)

    cluster.queue.states["1_0"] = "NODE_FAIL"
    cluster.passes(20, *BOTH)
    assert cluster.executor.running == {0, 1}

    cluster.queue.states["1_0"] = "PENDING"  # it was requeued
    cluster.passes(5, *BOTH)
    assert cluster.executor.running == {1}

    cluster.queue.states["1_0"] = "RUNNING"
    cluster.come("1_0-1-0")
    cluster.passes(5, BOTH[1])
    assert cluster.executor.running == {0, 1}
    assert [order["number"] for order in cluster.messages_to("1_0-1-0")] == [0]
    assert cluster.queue.submitted == [2]


def test_silent_slot_is_lost_even_if_allocation_runs(new, jobs):
    cluster = new()
    two_slots(cluster, jobs)
    (done,) = cluster.passes(75, BOTH[1])
    assert done.job == 0
    assert "65 s" in done.lost


def test_job_with_notice_costs_no_attempt_and_resumes_elsewhere(new, jobs):
    cluster = new(retries=0)
    turn = two_slots(cluster, jobs)

    cluster.say(BOTH[0], {"kind": "left", "turn": turn, "why": "Slurm's notice came"})
    cluster.queue.states["1_0"] = "COMPLETED"
    assert cluster.passes(10, BOTH[1]) == []
    assert cluster.queue.submitted == [2, 1]

    cluster.come("2_0-0-0")
    cluster.passes(5, BOTH[1])
    assert [order["number"] for order in cluster.messages_to("2_0-0-0")] == [0]


def test_allocations_that_fail_at_start_end_the_sweep_with_output(new, jobs):
    cluster = new(SlurmOptions(allocations=1, tasks=1, cpus=1))
    cluster.executor.submit(jobs[0])
    output = "bash: python: command not found\nsrun: error: task 0\n"

    for n in range(1, 6):
        cluster.passes(5)
        (cluster.channel.folder / f"{n}_0.log").write_text(output)
        cluster.queue.states[f"{n}_0"] = "FAILED"

    with pytest.raises(UserError, match=r"5_0: FAILED; .*command not found"):
        cluster.passes(5)
    assert len(cluster.queue.submitted) == 5


def test_rerun_reuses_matching_allocations_and_cancels_outdated(new, jobs, caplog):
    caplog.set_level("INFO", "lenet_exp")
    killed = new()
    two_slots(killed, jobs)
    queue = killed.queue
    for allocation, name in (("9_0", "lenet-abc-otherwise"), ("8_0", "lenet-another-sweep")):
        queue.states[allocation] = "RUNNING"
        queue.names[allocation] = name

    rerun = new(queue=queue)
    for job in jobs:
        rerun.executor.submit(job)
    rerun.passes(5)

    assert queue.submitted == [2]
    assert queue.cancelled == ["9_0"]
    taken, ended = caplog.messages[-2:]
    assert "(1_0, 1_1)" in taken
    assert "(9_0)" in ended
    assert not (rerun.channel.folder / killed.session).exists()

    for slot in BOTH:
        rerun.come(slot)
    rerun.passes(5)
    assert [rerun.messages_to(slot)[0]["number"] for slot in BOTH] == [0, 1]


def test_question_is_answered_once_and_only_in_current_turn(new, jobs):
    cluster = new(asks=True)
    turn = two_slots(cluster, jobs)
    slot, _ = BOTH
    report = EpochReport(0, 1, 0.4, 1.0)

    cluster.say(slot, messages.job_message(turn + 7, report))  # of another turn
    cluster.say(slot, messages.job_message(turn, report))
    cluster.passes(5, *BOTH)
    assert cluster.messages_to(slot) == [{"kind": "answer", "turn": turn, "value": True}]

    cluster.say(slot, messages.job_message(turn, JobEnd(0)))
    cluster.say(slot, messages.job_message(turn, JobEnd(0)))
    assert [done.job for done in cluster.passes(5, *BOTH)] == [0]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"wrong": "it is not there"}, "it is not there"),
        ({"source": "0" * 64}, "0" * 12),
        ({"torch": "1.0"}, "PyTorch 1.0"),
        ({"lacks": "no compiler"}, "no compiler"),
        ({"data": "dataset=mnist is another"}, "dataset=mnist is another"),
    ],
)
def test_unsuitable_node_is_one_line(new, jobs, changed, named):
    cluster = new()
    cluster.executor.submit(jobs[0])
    cluster.passes(5)
    cluster.come("1_0-0-0", **changed)
    with pytest.raises(ConfigError, match=f"node node.*{named}"):
        cluster.passes(5)


def test_closed_executor_cancels_all_allocations(new, jobs):
    cluster = new()
    two_slots(cluster, jobs)
    with cluster.executor:
        pass
    assert cluster.queue.cancelled == ["1_0", "1_1"]
    assert cluster.channel.plan() is None
