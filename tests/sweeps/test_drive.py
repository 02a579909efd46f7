"""How an executor is driven: in what order jobs are asked for, and what ends it. The executor here has no processes;
the pool's, which has, is tested by the sweeps."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from types import TracebackType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lenet_exp.config.schema import Config
from lenet_exp.folders.job import Job
from lenet_exp.pool.pool import Done
from lenet_exp.sweeps.drive import drive

ENDS = {"well": {}, "raised": {"error": RuntimeError("broken")}, "lost": {"lost": "killed by SIGKILL"}}


class Scripted:
    """Ends the jobs in the order of their numbers, each as the script says."""

    def __init__(self, script: list[str], capacity: int) -> None:
        self.script = script
        self.capacity = capacity
        self.running: set[int] = set()
        self.most = 0
        self.left = False
        self._queue: deque[int] = deque()

    def submit(self, job: Job) -> None:
        assert not self.left
        self._queue.append(job.number)
        self.running.add(job.number)
        self.most = max(self.most, len(self.running))

    def next_done(self, timeout: float) -> Done | None:
        if not self._queue:
            return None
        number = self._queue.popleft()
        self.running.remove(number)
        return Done(number, **ENDS[self.script[number]])

    def stop(self) -> None:
        pass

    def kill(self) -> None:
        pass

    def __enter__(self) -> Scripted:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.left = True


def jobs(n: int) -> list[Job]:
    return [Job(number, f"job {number}", {}, [], Config(), "f", str(number), Path("outputs")) for number in range(n)]


def driven(script: list[str], capacity: int, max_failures: int | None = None) -> tuple[Scripted, list[Done]]:
    executor, told = Scripted(script, capacity), []
    drive(executor, jobs(len(script)), max_failures=max_failures, on_done=told.append)
    return executor, told


@given(script=st.lists(st.sampled_from(sorted(ENDS)), max_size=30), capacity=st.integers(1, 5))
def test_every_job_runs_once_and_is_told_of_and_no_more_run_at_once_than_there_is_room(script, capacity):
    executor, told = driven(script, capacity)
    assert [done.job for done in told] == list(range(len(script)))
    assert executor.most <= capacity
    assert executor.left


@given(script=st.lists(st.sampled_from(sorted(ENDS)), max_size=30), capacity=st.integers(1, 5), most=st.integers(1, 4))
def test_after_so_many_failures_in_a_row_nothing_more_is_started(script, capacity, most):
    _, told = driven(script, capacity, most)
    failed = "".join("." if end == "well" else "x" for end in script)
    end = failed.find("x" * most)
    assert len(told) == (len(script) if end < 0 else end + most)


def test_jobs_are_made_as_places_become_free():
    made, started = [], []

    def making():
        for job in jobs(5):
            made.append(job.number)
            yield job

    def on_done(done: Done) -> None:
        started.append(len(made))

    drive(Scripted(["well"] * 5, 2), making(), max_failures=None, on_done=on_done)
    assert started == [2, 3, 4, 5, 5]


def test_what_can_not_be_told_yet_holds_nothing_up():
    told: list[int] = []
    drive(
        Scripted(["lost", "well", "well"], 1),
        jobs(3),
        max_failures=None,
        on_done=lambda done: told.append(done.job),
        can_hear=lambda done: done.lost is None or len(told) == 2,
    )
    assert told == [1, 2, 0]


def test_an_executor_that_raises_is_let_go():
    executor = Scripted(["well"], 1)
    executor.next_done = lambda timeout: 1 / 0
    with pytest.raises(ZeroDivisionError):
        drive(executor, jobs(1), max_failures=None, on_done=print)
    assert executor.left
