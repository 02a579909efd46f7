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
        self.dice = dice
        self.accidents = accidents
        self.capacity = dice.randint(1, 4)
        self.losses: dict[int, set[int]] = {}  # by job: the turns reported as lost
        self.submitted: list[int] = []
        self.reported: list[int] = []
        self._now = 0.0
        self._steps = 0
        self._order = itertools.count()
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._slots = JobSlots("simulated", retries=RETRIES)
        self._waiting: deque[JobEnd] = deque()
        self._open: set[int] = set()
        self._runs: dict[int, tuple[int, int]] = {}  # by worker: the last started turn and its job
        if accidents and dice.random() < 0.5:
            seconds = dice.uniform(0, 20)
            self._after(seconds, dice.choice((self._die, _interrupt)))

    @property
    def running(self) -> set[int]:
        return self._slots.running

    def submit(self, job: Job) -> None:
        self.submitted.append(job.number)
        self._slots.submit(job)

    def next_done(self, timeout: float) -> JobEnd | None:
        deadline = self._now + timeout
        while not self._waiting:
            self._do(self._slots.fill(self.capacity))
            if not self._events or self._events[0][0] > deadline:
                self._now = deadline
                return None
            self._steps += 1
            assert self._steps < MOST_STEPS, "endless loop"
            self._now, _, action = heapq.heappop(self._events)
            action()
        self.reported.append(self._waiting[0].job)
        return self._waiting.popleft()

    def stop(self) -> None:
        self._do(self._slots.stop())

    def kill(self) -> None:
        self._do(self._slots.close())

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _die(self) -> None:
        raise Killed

    def _after(self, seconds: float, action: Callable[[], object]) -> None:
        heapq.heappush(self._events, (self._now + seconds, next(self._order), action))

    def _has_accident(self) -> bool:
        happens = self.accidents > 0 and self.dice.random() < 0.3
        self.accidents -= happens
        return happens

    def _send(self, seconds: float, kind: str, slot: int, turn: int, value: Any) -> None:
        """Deliver a message after at least this delay, once or twice."""
        for _ in range(1 + (self.dice.random() < 0.1)):
            delay = self.dice.choice((0.0, 0.01, 0.3, 2.0)) * self.dice.random()
            self._after(seconds + delay, partial(self._receive, kind, slot, turn, value))

    def _receive(self, kind: str, slot: int, turn: int, value: Any) -> None:
        current_turn, job = self._runs.get(slot, (0, 0))
        is_lost = kind == "lost"
        if kind == "ended" and current_turn == turn:
            is_lost = value.lost is not None
        if is_lost and current_turn and slot in self._open:
            self.losses.setdefault(job, set()).add(current_turn)

        if kind == "ready":
            self._slots.ready(slot)
        elif kind == "lost":
            self._do(self._slots.lost(slot, value))
        else:
            if current_turn == turn:
                self._runs.pop(slot, None)
            self._do(self._slots.ended(slot, turn, value))

    def _do(self, commands: Sequence[Command]) -> None:
        for command in commands:
            if isinstance(command, OpenSlot):
                self._open.add(command.slot)
                assert len(self._open) <= self.capacity, "more workers than capacity"
                kind = "lost" if self._has_accident() else "ready"  # some workers never start
                seconds = self.dice.uniform(0, 6)
                self._send(seconds, kind, command.slot, 0, "the worker did not start")
            elif isinstance(command, StartJob):
                self._runs[command.slot] = command.turn, command.job.number
                self._train(command.slot, command.turn, command.job)
            elif isinstance(command, StopJob):
                turn, job = self._runs.get(command.slot, (0, 0))
                self._send(0.1, "ended", command.slot, turn, JobEnd(job, error=Terminated()))
            elif isinstance(command, CloseSlot):
                self._open.remove(command.slot)
            else:
                self._waiting.append(command)

    def _train(self, slot: int, turn: int, job: Job) -> None:
        seconds = self.dice.uniform(0.2, 8.0)
        accident = ""
        if self._has_accident():
            accident = self.dice.choice(("process", "node", "cut off", "limit"))

        job_end = JobEnd(job.number, value=0.5)
        if accident == "process":
            job_end = JobEnd(job.number, lost="killed by SIGKILL")
        elif accident == "limit":
            job_end = JobEnd(job.number, lost="over the time limit of 9 s", over_limit=True)
        elif job.name == "raises":
            job_end = JobEnd(job.number, error=RuntimeError("broken"))

        if accident in {"node", "cut off"}:
            # reported at once or late; a disconnected worker continues
            late = self.dice.choice((0.0, 1.0, 30.0))
            self._send(late, "lost", slot, 0, "its node does not answer")
        if accident != "node":
            self._send(seconds, "ended", slot, turn, job_end)


def _interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def check_end(executor: Executor, jobs: Sequence[Job], ended: set[int], done: JobEnd) -> None:
    """Check how a job ended; add its number to `ended` unless it was stopped."""
    was_stopped = isinstance(done.error, Terminated)
    if done.lost is not None:
        assert done.over_limit or len(executor.losses[done.job]) == RETRIES + 1
    elif not was_stopped:
        assert (done.error is None) == (jobs[done.job].name == "well")
    if not was_stopped:
        ended.add(done.job)


@pytest.mark.parametrize("first", range(0, SCHEDULES, A_TEST))
def test_each_job_ends_as_expected_and_is_reported_once(first: int) -> None:
    for seed in range(first, min(first + A_TEST, SCHEDULES)):
        dice = random.Random(seed)
        ended: set[int] = set()
        names = dice.choices(("well", "well", "well", "raises"), k=dice.randint(1, 10))
        jobs = [Job(n, name, {}, [], Config(), "f", str(n), Path()) for n, name in enumerate(names)]
        for accidents in (*range(seed % 12, 0, -1), 0):
            remaining = [job for job in jobs if job.number not in ended]
            executor = Executor(dice, accidents)
            on_done = partial(check_end, executor, jobs, ended)
            try:
                drive(executor, remaining, max_failures=None, on_done=on_done)
            except (Killed, KeyboardInterrupt):
                continue  # rerun
            except UserError:
                assert accidents, seed  # every worker was lost before it was ready
                continue
            assert stop_signal() is None
            assert not executor.running
            numbers = [job.number for job in remaining]
            assert sorted(executor.submitted) == numbers, seed
            assert sorted(executor.reported) == numbers, seed
            break
        assert ended == set(range(len(jobs))), seed
