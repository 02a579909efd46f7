"""Jobs are submitted to an executor in order, until too many fail, and to slots until too many
never start.

The executor here has no processes. tests/sweeps/test_schedules.py tests all orders of events.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from lenet_exp.config.schema import Config
from lenet_exp.errors import UserError
from lenet_exp.executors.drive import drive
from lenet_exp.executors.job_slots import MOST_UNREADY, CloseSlot, JobSlots, StartJob
from lenet_exp.executors.work import JobEnd
from lenet_exp.folders.job import Job

ENDS = {".": {}, "x": {"error": RuntimeError("broken")}, "l": {"lost": "killed by SIGKILL"}}


class Scripted:
    """An executor that ends jobs in the order of their numbers, as the script states."""

    def __init__(self, script: str, capacity: int) -> None:
        self.script = script
        self.capacity = capacity
        self.running: set[int] = set()
        self.most = 0
        self.left = False

    def submit(self, job: Job) -> None:
        self.running.add(job.number)
        self.most = max(self.most, len(self.running))

    def next_done(self, timeout: float) -> JobEnd | None:
        if not self.running:
            return None
        number = min(self.running)
        self.running.remove(number)
        return JobEnd(number, **ENDS[self.script[number]])

    def stop(self) -> None:
        pass

    kill = stop

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, *_: object) -> None:
        self.left = True


def jobs(n: int) -> list[Job]:
    return [
        Job(number, f"job {number}", {}, [], Config(), "f", str(number), Path("outputs"))
        for number in range(n)
    ]


@pytest.mark.parametrize(
    ("script", "most", "num_ended"),
    [
        ("", None, 0),
        ("xl.x", None, 4),
        ("xx...", 1, 1),
        (".xl..", 2, 3),
        ("x.x.x", 2, 5),
        ("x.xlx..", 3, 5),
    ],
)
def test_no_job_starts_after_too_many_consecutive_failures(script, most, num_ended):
    executor = Scripted(script, 2)
    ended: list[JobEnd] = []

    drive(executor, jobs(len(script)), max_failures=most, on_done=ended.append)

    assert [done.job for done in ended] == list(range(num_ended))
    assert executor.most <= 2
    assert executor.left


def test_jobs_are_created_as_slots_become_free():
    created: list[int] = []
    created_at_each_end: list[int] = []

    def create_jobs() -> Iterable[Job]:
        for job in jobs(5):
            created.append(job.number)
            yield job

    def on_done(done: JobEnd) -> None:
        created_at_each_end.append(len(created))

    drive(Scripted(".....", 2), create_jobs(), max_failures=None, on_done=on_done)

    assert created_at_each_end == [2, 3, 4, 5, 5]


def test_executor_that_raises_is_closed():
    executor = Scripted(".", 1)
    executor.next_done = lambda timeout: 1 / 0
    with pytest.raises(ZeroDivisionError):
        drive(executor, jobs(1), max_failures=None, on_done=print)
    assert executor.left


def slots_for(*numbers: int, retries: int = 1) -> JobSlots:
    """Return slots with these jobs waiting."""
    slots = JobSlots("hydra/launcher=cluster", retries=retries)
    for number in numbers:
        slots.submit(jobs(number + 1)[number])
    return slots


def test_uncounted_loss_costs_no_retry_but_time_limit_ends_job():
    slots = slots_for(0, retries=0)
    for turn in (1, 2, 3):
        slots.fill(1)
        slots.ready(turn)
        slots.fill(1)
        if turn < 3:
            assert slots.lost(turn, "its time was up", counts=False) == [CloseSlot(turn)]

    over = JobEnd(0, lost="over the time limit of 3 s", over_limit=True)
    assert slots.ended(3, 3, over) == [over]


def test_slots_that_never_start_are_one_line_unless_another_works():
    slots = slots_for(0, 1)
    slots.fill(1)
    slots.ready(1)
    slots.fill(1)

    for _ in range(MOST_UNREADY):
        (opened,) = slots.fill(2)
        slots.lost(opened.slot, "no memory")
    assert slots.fill(2) == []  # the working slot may run both
    assert slots.ended(1, 1, JobEnd(0, value=0.9)) == [JobEnd(0, value=0.9)]
    assert slots.fill(2) == [StartJob(1, 2, jobs(2)[1])]

    slots.lost(1, "its node was lost")
    for _ in range(MOST_UNREADY):
        (opened,) = slots.fill(2)
        slots.lost(opened.slot, "no memory")
    with pytest.raises(UserError) as ended:
        slots.fill(2)
    assert str(ended.value).startswith("hydra/launcher=cluster: ")
    assert "no memory" in str(ended.value)
