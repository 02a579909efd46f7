"""The executor of a Slurm cluster: places in a few allocations, each for many runs.

Slurm starts allocations and says who lives; jobs and answers go through the sweep's folder. Which job goes where, and
what follows when a place is lost, is decided as on a Ray cluster (`Places`).
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from lenet_exp.executors import slurm_messages as messages
from lenet_exp.executors.executor import Work
from lenet_exp.executors.host import check_place
from lenet_exp.executors.mailbox import Box
from lenet_exp.executors.places import Close, Command, Open, Places, Start, Stop, Tell
from lenet_exp.executors.slurm_messages import Desk
from lenet_exp.executors.slurm_options import (
    SlurmOptions,
    allocation_arguments,
    allocation_script,
    job_name,
    job_prefix,
    log_pattern,
)
from lenet_exp.executors.slurm_queue import Queue, Queued
from lenet_exp.folders.job import Job
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.pool.pool import Done
from lenet_exp.stopping import Terminated

NAME = "hydra/launcher=cluster_slurm"
POLL_SECONDS = 0.05
QUEUE_SECONDS = 5.0  # between two questions to the controller, which all users share
BEGIN_SECONDS = 300.0  # an allocation that runs has its places by then

log = logging.getLogger("lenet_exp")


@dataclass
class _Allocation:
    """A job of Slurm.

    Attributes:
        seen: when the queue showed it last, or when it was submitted.
        runs_since: None while it has no node.
        came: the places that it has made since it began.
    """

    seen: float
    runs_since: float | None = None
    came: set[str] = field(default_factory=set)


class SlurmExecutor:
    """An `Executor`.

    Args:
        command: starts a place; the sweep's folder is put behind it.
        retries: how often a job is tried again whose process or node died without notice.
        time_limit: seconds a job may take; None: any.
        clock: seconds, from any time on.

    Raises:
        ConfigError: Slurm refuses an allocation (at the first `next_done`).
    """

    def __init__(
        self,
        work: Work,
        options: SlurmOptions,
        queue: Queue,
        command: Sequence[str],
        *,
        retries: int,
        time_limit: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        assert work.elsewhere is not None
        self._work, self._options, self._queue, self._clock = work, options, queue, clock
        self._sweep = SweepFolder(work.output.parent)
        self._desk = Desk(self._sweep.path / "slurm")
        self._probe = self._sweep.path / ".probe-slurm"
        self._probe.write_text(self._probe.name)
        asks = work.answer is not None
        plan = self._desk.open(work.elsewhere.plan, asks=asks, time_limit=time_limit, probe=self._probe.name)
        self._session = plan.session
        self._said, self._beats = self._desk.driver(self._session), self._desk.beats(self._session)
        self._script = self._desk.folder / "job.sh"
        self._arguments = allocation_arguments(options)
        script = allocation_script(options, [*command, work.elsewhere.module, str(self._sweep.path)])
        self._script.write_text(script)
        self._name = job_name(self._sweep.id, self._arguments, script)
        self._places = Places(NAME, retries=retries)
        self._opened: deque[int] = deque()  # places that are asked for and have not come
        self._bound: dict[str, int] = {}  # places that have come, by their names
        self._spare: deque[str] = deque()  # that nobody asked for yet
        self._boxes: dict[str, Box] = {}
        self._turns: dict[str, int] = {}
        self._told: deque[Done] = deque()
        self._allocations = self._adopt()
        self._looked = -math.inf

    @property
    def capacity(self) -> int:
        limits = [self._options.places, self._work.jobs]
        return max(1, min(limit for limit in limits if limit is not None))

    @property
    def running(self) -> set[int]:
        return self._places.running

    def submit(self, job: Job) -> None:
        self._places.submit(job)

    def next_done(self, timeout: float) -> Done | None:
        deadline = time.monotonic() + timeout
        while True:
            self._hear()
            self._look()
            self._do(self._places.fill(self.capacity))
            self._ask_for_allocations()
            if self._told:
                return self._told.popleft()
            left = deadline - time.monotonic()
            if left <= 0 or not (self._opened or self._places.running):
                return None
            time.sleep(min(left, POLL_SECONDS))

    def stop(self) -> None:
        self._do(self._places.stop())

    def kill(self) -> None:
        self._desk.close(self._session)
        self._queue.cancel(list(self._allocations))

    def __enter__(self) -> SlurmExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._probe.unlink(missing_ok=True)

    def _adopt(self) -> dict[str, _Allocation]:
        """The allocations that an earlier start of this sweep left; those that were asked for otherwise end."""
        left = [job for job in self._queue.jobs(job_prefix(self._sweep.id)) or [] if job.is_alive]
        self._queue.cancel([job.id for job in left if job.name != self._name])
        now = self._clock()
        return {job.id: _Allocation(now) for job in left if job.name == self._name}

    def _ask_for_allocations(self) -> None:
        coming = sum(max(0, self._options.tasks - len(a.came)) for a in self._allocations.values())
        missing = len(self._opened) - coming
        count = min(math.ceil(missing / self._options.tasks), self._options.allocations - len(self._allocations))
        if count <= 0:
            return
        log_file = f"{log_pattern(self._desk.folder)}/%A_%a.log"
        ids = self._queue.submit(self._script, self._name, log_file, count, self._arguments)
        now = self._clock()
        self._allocations |= {one: _Allocation(now) for one in ids}
        log.info("Slurm: %d %s submitted (%s)", count, "allocations" if count > 1 else "allocation", ", ".join(ids))

    def _hear(self) -> None:
        """What the places said since."""
        for name, message in self._said.take():
            try:
                self._heard(name, message)
            except (KeyError, TypeError, ValueError) as e:
                self._lost(name, f"it said what can't be read ({type(e).__name__})")

    def _heard(self, name: str, message: Mapping[str, Any]) -> None:
        kind = message["kind"]
        if kind == messages.DESCRIBED:
            check_place(messages.described_in(message), self._sweep.path)
            self._arrived(name)
            return
        number, turn = self._bound.get(name), self._turns.get(name)
        if kind == messages.LEFT:
            self._left(name, str(message["why"]))
        elif number is None or turn is None or message["turn"] != turn:
            return
        elif kind == messages.QUESTION and self._places.hears(number, turn):
            assert self._work.answer is not None
            answer = self._work.answer(messages.report_in(message))
            self._send(name, {"kind": messages.ANSWER, "turn": turn, "value": answer})
        elif kind == messages.ENDED:
            done = messages.done_in(message)
            if isinstance(done.error, Terminated):  # it did not say so itself, since it might have gone on elsewhere
                self._sweep.end_job(done.job, None)
            self._do(self._places.ended(number, turn, done))
        elif kind == messages.NOT_BEGUN:
            self._do(self._places.ended(number, turn, None))

    def _arrived(self, name: str) -> None:
        """A place can take jobs; it may be one of an allocation that Slurm has started again."""
        allocation, restart, _ = name.split("-")
        for other in [n for n in (*self._bound, *self._spare) if n.startswith(f"{allocation}-")]:
            if int(other.split("-")[1]) < int(restart):
                self._lost(other, "its allocation began again")
        known = self._allocations.setdefault(allocation, _Allocation(self._clock()))
        known.came = {n for n in known.came if n.split("-")[1] == restart} | {name}
        self._boxes[name] = self._desk.place(self._session, name)
        self._spare.append(name)
        self._bind()

    def _bind(self) -> None:
        while self._spare and self._opened:
            name, number = self._spare.popleft(), self._opened.popleft()
            self._bound[name] = number
            self._places.ready(number)

    def _left(self, name: str, why: str) -> None:
        """A place has gone by itself, and its job has committed: that costs the job no try."""
        self._lost(name, why, counts=False)

    def _look(self) -> None:
        """Who lives: the queue says it of allocations, its beats of a place."""
        now = self._clock()
        if now - self._looked < QUEUE_SECONDS:
            return
        self._looked = now
        for name, silent in self._beats.silent(now).items():
            if silent > self._options.lost_after:
                self._lost(name, f"nothing was heard of it for {silent:.0f} s")
        jobs = self._queue.jobs(self._name)
        if jobs is None:  # the controller is busy, or away; that says nothing of the jobs
            log.debug("Slurm's queue does not answer")
            for allocation in self._allocations.values():
                allocation.seen = now
            return
        queued = {job.id: job for job in jobs}
        for one, allocation in list(self._allocations.items()):
            self._judge(one, allocation, queued.get(one), now)

    def _judge(self, one: str, allocation: _Allocation, job: Queued | None, now: float) -> None:
        if job is None or job.state in {"NODE_FAIL", "PREEMPTED"}:
            if now - allocation.seen > self._options.lost_after:
                self._gone(one, "it is not in the queue any more")
            return
        allocation.seen = now
        if job.is_over:
            self._gone(one, job.state)
        elif job.waits and allocation.runs_since is not None:  # it was taken back, and will begin once more
            allocation.runs_since = None
            self._lose_places(one, "its allocation waits again")
            allocation.came.clear()
        elif job.state == "RUNNING":
            allocation.runs_since = allocation.runs_since or now
            if not allocation.came and now - allocation.runs_since > BEGIN_SECONDS:
                self._queue.cancel([one])
                self._gone(one, f"it runs for {BEGIN_SECONDS:.0f} s and made no place")

    def _gone(self, one: str, why: str) -> None:
        """An allocation has ended, and all that was in it."""
        allocation = self._allocations.pop(one)
        said = self._last_words(one)
        why = f"allocation {one}: {why}; {said}"
        log.debug("Slurm: %s", why)
        self._lose_places(one, why)
        for _ in range(min(len(self._opened), self._options.tasks - len(allocation.came))):
            self._do(self._places.lost(self._opened.popleft(), why))

    def _lose_places(self, one: str, why: str) -> None:
        for name in [n for n in (*self._bound, *self._spare) if n.startswith(f"{one}-")]:
            self._lost(name, why)

    def _lost(self, name: str, why: str, *, counts: bool = True) -> None:
        if name in self._spare:
            self._spare.remove(name)
        number = self._bound.get(name)
        if number is not None:
            self._do(self._places.lost(number, why, counts=counts))

    def _last_words(self, one: str) -> str:
        try:
            text = (self._desk.folder / f"{one}.log").read_text(errors="replace")
        except OSError:
            return "what it printed is not here: the outputs folder has to be one that all nodes share"
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        own = [line for line in lines if not line.startswith(("srun:", "slurmstepd"))]
        return (own or lines or ["it printed nothing"])[-1]

    def _send(self, name: str, message: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):  # it counts as lost, then
            self._boxes[name].put("driver", message)

    def _do(self, commands: Sequence[Command]) -> None:
        names = {number: name for name, number in self._bound.items()}
        for command in commands:
            if isinstance(command, Tell):
                self._told.append(command.done)
            elif isinstance(command, Open):
                self._opened.append(command.place)
                self._bind()
            elif isinstance(command, Start):
                name = names[command.place]
                self._turns[name] = command.turn
                self._send(name, messages.start(command.turn, command.job))
            elif isinstance(command, Stop):
                self._send(names[command.place], {"kind": messages.STOP})
            elif isinstance(command, Close):
                self._close(command.place, names.get(command.place))

    def _close(self, number: int, name: str | None) -> None:
        if name is None:
            if number in self._opened:
                self._opened.remove(number)
            return
        self._send(name, {"kind": messages.LEAVE})
        del self._bound[name]
        self._turns.pop(name, None)
