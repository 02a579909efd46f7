"""Simulated accidents on a cluster: each job ends as expected and once, with no more workers than
capacity.

SCHEDULES=20000 tries more schedules. `drive` and `JobSlots` are real. The rest is simulated with a
simulated clock: workers start late or never; messages come late, twice and out of order; processes
and nodes die at any time, with or without notice; and the sweep itself dies and is rerun.
"""

from __future__ import annotations

import heapq
import itertools
import os
import random
import signal
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lenet_exp.config.schema import Config
from lenet_exp.errors import UserError
from lenet_exp.executors.drive import drive
from lenet_exp.executors.job_slots import CloseSlot, Command, JobSlots, OpenSlot, StartJob, StopJob
from lenet_exp.executors.work import JobEnd
from lenet_exp.folders.job import Job
from lenet_exp.stopping import Terminated, stop_signal

SCHEDULES = int(os.environ.get("SCHEDULES", "1000"))
A_TEST = 500
RETRIES = 1
MOST_STEPS = 20_000  # of one start; more steps mean an endless loop


class Killed(BaseException):
    """The sweep's process is dead."""


class Executor:
    """One start of a sweep: executes the commands of `JobSlots`, as RayExecutor does, on an
    unreliable cluster.
    """

    def __init__(self, dice: random.Random, accidents: int) -> None:
        self.dice, self.accidents = dice, accidents
        self.capacity = dice.randint(1, 4)
        self.losses: dict[int, set[int]] = {}  # by job: the turns reported as lost
        self.submitted: list[int] = []
        self.told: list[int] = []
        self._now, self._steps, self._order = 0.0, 0, itertools.count()
        self._next: list[tuple[float, int, Callable[[], object]]] = []
        self._decided = JobSlots("simulated", retries=RETRIES)
        self._waiting: deque[JobEnd] = deque()
        self._open: set[int] = set()
        self._runs: dict[int, tuple[int, int]] = {}  # by worker: the last started turn and its job
        if accidents and dice.random() < 0.5:
            self._after(
                dice.uniform(0, 20),
                dice.choice((self._die, lambda: os.kill(os.getpid(), signal.SIGINT))),
            )

    @property
    def running(self) -> set[int]:
        return self._decided.running

    def submit(self, job: Job) -> None:
        self.submitted.append(job.number)
        self._decided.submit(job)

    def next_done(self, timeout: float) -> JobEnd | None:
        deadline = self._now + timeout
        while not self._waiting:
            self._do(self._decided.fill(self.capacity))
            if not self._next or self._next[0][0] > deadline:
                self._now = deadline
                return None
            self._steps += 1
            assert self._steps < MOST_STEPS, "endless loop"
            self._now, _, action = heapq.heappop(self._next)
            action()
        self.told.append(self._waiting[0].job)
        return self._waiting.popleft()

    def stop(self) -> None:
        self._do(self._decided.stop())

    def kill(self) -> None:
        self._do(self._decided.close())

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _die(self) -> None:
        raise Killed

    def _after(self, seconds: float, action: Callable[[], object]) -> None:
        heapq.heappush(self._next, (self._now + seconds, next(self._order), action))

    def _has_accident(self) -> bool:
        happens = self.accidents > 0 and self.dice.random() < 0.3
        self.accidents -= happens
        return happens

    def _say(self, seconds: float, what: str, slot: int, turn: int, value: Any) -> None:
        """Deliver a message after at least this delay, once or twice."""
        for _ in range(1 + (self.dice.random() < 0.1)):
            delay = self.dice.choice((0.0, 0.01, 0.3, 2.0)) * self.dice.random()
            self._after(seconds + delay, partial(self._hear, what, slot, turn, value))

    def _hear(self, what: str, slot: int, turn: int, value: Any) -> None:
        at, job = self._runs.get(slot, (0, 0))
        if (
            at
            and slot in self._open
            and (what == "lost" or (at == turn and value is not None and value.lost))
        ):
            self.losses.setdefault(job, set()).add(at)
        if what == "ready":
            self._decided.ready(slot)
        elif what == "lost":
            self._do(self._decided.lost(slot, value))
        else:
            if at == turn:
                self._runs.pop(slot, None)
            self._do(self._decided.ended(slot, turn, value))

    def _do(self, commands: Sequence[Command]) -> None:
        for command in commands:
            if isinstance(command, OpenSlot):
                self._open.add(command.slot)
                assert len(self._open) <= self.capacity, "more workers than capacity"
                what = "lost" if self._has_accident() else "ready"  # some workers never start
                self._say(
                    self.dice.uniform(0, 6), what, command.slot, 0, "the worker did not start"
                )
            elif isinstance(command, StartJob):
                self._runs[command.slot] = command.turn, command.job.number
                self._train(command.slot, command.turn, command.job)
            elif isinstance(command, StopJob):
                turn, job = self._runs.get(command.slot, (0, 0))
                self._say(0.1, "ended", command.slot, turn, JobEnd(job, error=Terminated()))
            elif isinstance(command, CloseSlot):
                self._open.remove(command.slot)
            else:
                self._waiting.append(command)

    def _train(self, slot: int, turn: int, job: Job) -> None:
        seconds, number = self.dice.uniform(0.2, 8.0), job.number
        what = (
            self.dice.choice(("process", "node", "cut off", "limit"))
            if self._has_accident()
            else ""
        )
        ends = (
            JobEnd(number, error=RuntimeError("broken"))
            if job.name == "raises"
            else JobEnd(number, value=0.5)
        )
        if what == "process":
            ends = JobEnd(number, lost="killed by SIGKILL")
        elif what == "limit":
            ends = JobEnd(number, lost="over the time limit of 9 s", over_limit=True)
        elif what in {
            "node",
            "cut off",
        }:  # reported at once or late; a disconnected worker continues
            self._say(
                self.dice.choice((0.0, 1.0, 30.0)), "lost", slot, 0, "its node does not answer"
            )
        if what != "node":
            self._say(seconds, "ended", slot, turn, ends)


def hear(executor: Executor, jobs: Sequence[Job], ended: set[int], done: JobEnd) -> None:
    if done.lost is not None:
        assert done.over_limit or len(executor.losses[done.job]) == RETRIES + 1
    elif not isinstance(done.error, Terminated):
        assert (done.error is None) == (jobs[done.job].name == "well")
    ended |= set() if isinstance(done.error, Terminated) else {done.job}


@pytest.mark.parametrize("first", range(0, SCHEDULES, A_TEST))
def test_each_job_ends_as_expected_and_is_reported_once(first: int) -> None:
    for seed in range(first, min(first + A_TEST, SCHEDULES)):
        dice, ended = random.Random(seed), set[int]()
        names = dice.choices(("well", "well", "well", "raises"), k=dice.randint(1, 10))
        jobs = [Job(n, name, {}, [], Config(), "f", str(n), Path()) for n, name in enumerate(names)]
        for accidents in (*range(seed % 12, 0, -1), 0):
            todo = [job for job in jobs if job.number not in ended]
            executor = Executor(dice, accidents)
            try:
                drive(
                    executor, todo, max_failures=None, on_done=partial(hear, executor, jobs, ended)
                )
            except (Killed, KeyboardInterrupt):
                continue  # rerun
            except UserError:
                assert accidents, seed  # every worker was lost before it was ready
                continue
            assert stop_signal() is None
            assert not executor.running
            assert (
                sorted(executor.told) == sorted(executor.submitted) == [job.number for job in todo]
            ), seed
            break
        assert ended == set(range(len(jobs))), seed
