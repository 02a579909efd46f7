"""A cluster, its outputs folder and its accidents, on a clock that does not wait: what sweeps are driven on in
test_schedules.py.

Real are the sweep's decisions: `drive`, `Places`, `Session`, `SearchRun` and `Trials`. Made up is what they are told:
places come late or never, messages come late, twice and out of order, processes and nodes die at any moment of a run,
with or without being heard of, and so does the sweep's own process.
"""

from __future__ import annotations

import heapq
import math
import os
import random
import signal
from collections import deque
from collections.abc import Callable, Generator, Sequence
from functools import partial
from types import TracebackType
from typing import Any

from lenet_exp.executors.executor import Report, Work
from lenet_exp.executors.places import Close, Command, Open, Places, Start, Stop, Tell
from lenet_exp.folders.job import Job
from lenet_exp.folders.records import Outcome
from lenet_exp.pool.pool import Done
from lenet_exp.stopping import Terminated, asked
from tests.sweeps.simulated_disk import Ended, SimulatedJob

DEAD_SECONDS = 60.0  # a lost node's runs are owned for so long (folders/owner.py)
HEARD_SECONDS = 30.0  # so late it may be heard of
MOST_STEPS = 20_000  # of one start: more are no end


class Killed(BaseException):
    """The sweep's process is dead from here on: nothing that it still does has an effect."""


class Process:
    """One that trains a job at a place, with what its host says of it."""

    def __init__(self, place: Place, turn: int, job: SimulatedJob, ask: bool) -> None:
        self.place, self.turn, self.job = place, turn, job
        self.alive, self.stopping, self.over_limit = True, False, False
        self.question, self._waits = 0, False
        self._steps = self._train(ask)
        place.cluster.after(place.cluster.delay(), self._go_on)

    def answer(self, question: int, value: bool | None) -> None:
        if question == self.question and self._waits:
            self._waits = False
            self._go_on(value)

    def stop(self) -> None:
        self.stopping = True
        if self._waits:
            self.answer(self.question, None)

    def die(self, *, owned_for: float = 0.0) -> None:
        """As by SIGKILL, or a power cut: then others hear of it by the heartbeat alone."""
        if self.alive:
            self.alive = False
            run = self.job.folder
            run.interrupted += 1
            if run.owner is self:
                self.place.cluster.after(owned_for, lambda: setattr(run, "owner", None))  # nobody had it meanwhile

    def _go_on(self, answer: bool | None = None) -> None:
        if not self.alive:
            return
        try:
            step = self._steps.send(answer)
        except StopIteration as end:
            self.alive = False
            self.place.process = None
            self.place.say("ended", self.turn, end.value)
            return
        if isinstance(step, Report) and self.stopping:
            self._go_on(None)
        elif isinstance(step, Report):
            self.question, self._waits = self.question + 1, True
            self.place.say("asks", self.turn, (self.question, step))
        else:
            self.place.cluster.after(step, self._go_on)

    def _train(self, ask: bool) -> Generator[float | Report, bool | None, Done]:
        """As `run_job` does: claims the run, goes on from the last commit, tells each epoch, commits now and then."""
        job, run, random = self.job, self.job.folder, self.place.cluster.random
        yield 0.0
        while run.owner is not None:
            yield 0.5
            if self.stopping:
                return self._done(error=Terminated())
        run.owner = self
        self.place.cluster.orphans |= not self.place.is_heard
        if run.result() is not None:
            return self._done(value=0.5)
        if job.fate == "refuses":
            job.disk.errors[job.number] = "the data are not there"
            return self._done(error=RuntimeError("the data are not there"))
        run.begun, run.ended = True, None
        last = job.config.num_epoch
        for epoch in range(1, run.committed + 1):
            if ask and epoch < last and (yield self._report(epoch)):
                return self._end(Outcome.pruned)
        for epoch in range(run.committed + 1, last + 1):
            if self.stopping:
                run.committed = epoch - 1
                run.interrupted += 1
                return self._end(Outcome.killed, error=Terminated())
            yield random.uniform(0.2, 3.0)
            run.trained[epoch] += 1
            if job.fate == "raises" and epoch == 2:
                return self._end(Outcome.failed, error=RuntimeError("broken on purpose"))
            if job.fate == "diverges" and epoch == 2:
                return self._end(Outcome.diverged)
            yield 0.1  # between training and commit
            if random.random() < 0.6:
                run.committed = epoch
            if epoch < last and ask and (yield self._report(epoch)):
                run.committed = epoch
                return self._end(Outcome.pruned)
        run.committed = last
        return self._end(Outcome.finished)

    def _report(self, epoch: int) -> Report:
        found = self.job.folder.epoch(epoch)
        return Report(self.job.number, epoch, found.val_accuracy, found.val_loss)

    def _end(self, outcome: Outcome, error: BaseException | None = None) -> Done:
        self.job.folder.ended = Ended(outcome, str(error or ""))
        self.job.disk.errors[self.job.number] = None
        return self._done(value=0.5 if outcome is Outcome.finished else math.nan, error=error)

    def _done(self, *, value: float | None = None, error: BaseException | None = None) -> Done:
        if self.job.folder.owner is self:
            self.job.folder.owner = None
        if self.over_limit:
            return Done(self.job.number, lost="over the time limit of 9 s", over_limit=True)
        return Done(self.job.number, value=value, error=error)


class Place:
    """What stands behind a number of `Places`: a node's share, a host there, and its process."""

    def __init__(self, executor: SimulatedExecutor, number: int) -> None:
        self.executor, self.number, self.cluster = executor, number, executor.cluster
        self.process: Process | None = None
        self.gone = self._out_of_reach = self._stopping = False
        self._turn = 0
        if executor.cluster.has_accident(0.1):  # it never comes
            self.cluster.after(self.cluster.random.uniform(0, 100), lambda: self.lose(heard_after=0.0))
        else:
            self.cluster.after(self.cluster.delay() * 3, lambda: self.gone or self.say("ready", 0, None))

    @property
    def is_heard(self) -> bool:
        return not self.executor.over and self.number in self.executor.places

    def start(self, turn: int, job: SimulatedJob) -> None:
        if self.gone or turn <= self._turn:
            return
        self._turn = turn
        if self._stopping:
            self.say("ended", turn, None)
        else:
            self.process = Process(self, turn, job, self.executor.answer is not None)

    def stop(self) -> None:
        self._stopping = True
        if self.process is not None:
            self.process.stop()

    def say(self, what: str, turn: int, value: Any) -> None:
        """Once or twice, sooner or later."""
        for _ in range(1 + (self.cluster.random.random() < 0.1)):
            self.cluster.after(self.cluster.delay(), partial(self.executor.hear, what, self.number, turn, value))

    def kill_process(self) -> None:
        if self.process is not None:
            process, self.process = self.process, None
            process.die()
            self.say("ended", process.turn, Done(process.job.number, lost="killed by SIGKILL"))

    def lose(self, *, heard_after: float) -> None:
        """Its node dies."""
        if not self.gone:
            self.gone = True
            if self.process is not None:
                self.process.die(owned_for=DEAD_SECONDS)
            self.cluster.after(heard_after, lambda: self.executor.hear("lost", self.number, 0, "its node was lost"))

    def cut_off(self) -> None:
        """It is heard of as lost while it works on, until its host sees that nobody is there."""
        self._out_of_reach = True
        self.cluster.after(0.0, lambda: self.executor.hear("lost", self.number, 0, "it does not answer"))
        self.cluster.after(self.cluster.random.uniform(0, 20), self.leave)

    def leave(self) -> None:
        """The executor's process is gone."""
        self.gone = True
        if self.process is not None:
            self.process.stop()

    def close(self) -> None:
        """By the executor: at once, if it can be reached."""
        if not self._out_of_reach:
            self.gone = True
            if self.process is not None:
                self.process.die()


class Cluster:
    """The clock, what is to happen, and the accidents."""

    def __init__(self, seed: int, accidents: int) -> None:
        self.random = random.Random(seed)
        self.accidents = accidents
        self.now = 0.0
        self.most_room = 4
        self.room = self.random.randint(1, 4)
        self.steps = 0
        self.dead = False
        self.gave_up = False  # whether a job was lost too often
        self.orphans = False  # whether a process that nobody heard any more has taken a run
        self.executor: SimulatedExecutor | None = None
        self._next: list[tuple[float, int, Callable[[], object]]] = []
        self._count = 0
        self._doomed_in = 0  # writes until the sweep's process dies; 0: it does not

    def delay(self) -> float:
        return self.random.choice((0.0, 0.01, 0.3, 2.0)) * self.random.random()

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        self._count += 1
        heapq.heappush(self._next, (self.now + seconds, self._count, action))

    def step(self, deadline: float) -> bool:
        """The next thing happens; False where nothing does until then."""
        self.touch()
        self.steps += 1
        assert self.steps < MOST_STEPS, "it goes on for ever"
        if not self._next or self._next[0][0] > deadline:
            self.now = max(self.now, deadline)
            return False
        self.now, _, action = heapq.heappop(self._next)
        action()
        return True

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Of the sweep's process."""
        deadline = self.now + seconds
        while self.step(deadline):
            pass

    def rest(self) -> None:
        """Between two starts."""
        self.dead, self.executor, self.steps, self._doomed_in = False, None, 0, 0
        self.sleep(self.random.choice((0.0, 1.0, 100.0)))

    def touch(self) -> None:
        """Before whatever the sweep's process does to the world: it may be its last."""
        if self.dead:
            raise Killed
        if self._doomed_in:
            self._doomed_in -= 1
            if not self._doomed_in:
                self.dead = True
                raise Killed

    def begin(self, executor: SimulatedExecutor) -> None:
        """A start of the sweep's process, with its share of the accidents."""
        self.executor, self.steps = executor, 0
        for _ in range(self.random.randint(0, self.accidents)):
            self.accidents -= 1
            self.after(self.random.uniform(0, 40), self._accident)

    def has_accident(self, share: float) -> bool:
        """Whether one happens here; there are only so many."""
        happens = self.accidents > 0 and self.random.random() < share
        self.accidents -= happens
        return happens

    def _accident(self) -> None:
        executor = self.executor
        if executor is None or executor.over:
            return
        places = list(executor.places.values())
        place = self.random.choice(places) if places else None
        what = self.random.choice(("process", "process", "node", "node", "cut off", "limit", "room", "driver", "stop"))
        if what == "driver":
            self._doomed_in = self.random.randint(1, 8)
        elif what == "stop" and asked() is None:
            os.kill(os.getpid(), signal.SIGINT)
        elif what == "room":
            self.room = self.random.randint(1, self.most_room)
        elif place is None or place.gone or what == "stop":
            return
        elif what == "node":
            place.lose(heard_after=self.random.choice((0.0, 1.0, HEARD_SECONDS)))
        elif what == "cut off":
            place.cut_off()
        elif place.process is not None and what == "process":
            place.kill_process()
        elif place.process is not None:
            place.process.over_limit = True
            place.process.stop()


class SimulatedExecutor:
    """An `Executor` as RayExecutor is one: it does what `Places` says."""

    def __init__(self, cluster: Cluster, work: Work, retries: int) -> None:
        self.cluster, self.answer, self._jobs = cluster, work.answer, work.jobs
        self.places: dict[int, Place] = {}
        self.told: list[Done] = []
        self.submitted: list[int] = []
        self.losses: dict[int, set[int]] = {}  # by job: the turns that were heard of as lost
        self._turns: dict[int, tuple[int, int]] = {}  # what each place began last: turn and job
        self._decided = Places("simulated", retries=retries)
        self._waiting: deque[Done] = deque()
        self.over = False
        cluster.begin(self)

    @property
    def capacity(self) -> int:
        return min(self.cluster.room, self._jobs or self.cluster.room)

    @property
    def running(self) -> set[int]:
        return self._decided.running

    def submit(self, job: Job) -> None:
        self.cluster.touch()
        self.submitted.append(job.number)
        self._decided.submit(job)

    def next_done(self, timeout: float) -> Done | None:
        deadline = self.cluster.now + timeout
        while True:
            if self._waiting:
                self.told.append(self._waiting.popleft())
                return self.told[-1]
            self._do(self._decided.fill(self.capacity))
            if not self.cluster.step(deadline):
                return None

    def stop(self) -> None:
        self.cluster.touch()
        self._do(self._decided.stop())

    def kill(self) -> None:
        self._do(self._decided.close())

    def __enter__(self) -> SimulatedExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over = True
        if self.cluster.dead:  # it did nothing more; its places see that, in time
            for place in self.places.values():
                self.cluster.after(self.cluster.random.uniform(0, 10), place.leave)
        else:
            self.kill()

    def hear(self, what: str, number: int, turn: int, value: Any) -> None:
        if self.over:
            return
        at, job = self._turns.get(number, (0, 0))
        if at and (what == "lost" or (what == "ended" and value is not None and value.lost and at == turn)):
            self.losses.setdefault(job, set()).add(at)
        if what == "ended" and at == turn:
            self._turns.pop(number, None)
        if what == "ready":
            self._decided.ready(number)
        elif what == "lost":
            self._do(self._decided.lost(number, value))
        elif what == "ended":
            self._do(self._decided.ended(number, turn, value))
        elif self._decided.hears(number, turn):
            assert self.answer is not None
            question, report = value
            answer = self.answer(report)
            place = self.places[number]
            for _ in range(1 + (self.cluster.random.random() < 0.1)):
                self.cluster.after(self.cluster.delay(), partial(_answer, place, turn, question, answer))

    def _do(self, commands: Sequence[Command]) -> None:
        after, delay = self.cluster.after, self.cluster.delay
        for command in commands:
            if isinstance(command, Tell):
                self._waiting.append(command.done)
                self.cluster.gave_up |= command.done.lost is not None
            elif isinstance(command, Open):
                self.places[command.place] = Place(self, command.place)
                assert len(self.places) <= 4, "more places than there ever was room for"
            elif isinstance(command, Start):
                self._turns[command.place] = command.turn, command.job.number
                after(delay(), partial(self.places[command.place].start, command.turn, command.job))
            elif isinstance(command, Stop):
                after(delay(), self.places[command.place].stop)
            elif isinstance(command, Close):
                self.places.pop(command.place).close()


def _answer(place: Place, turn: int, question: int, value: bool | None) -> None:
    process = place.process
    if process is not None and process.turn == turn:
        process.answer(question, value)
