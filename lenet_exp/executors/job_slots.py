"""Assigns jobs to job slots on a cluster, and handles the loss of slots.

A job slot is a process on a cluster machine that runs one job at a time. An executor calls the
methods of `JobSlots` when events occur, and executes the commands that the methods return. Events
that are late, repeated, or from a closed slot have no effect.

Decisions depend only on events, not on a clock, file, or cluster. Therefore, tests can try every
order of events (tests/sweeps/test_schedules.py).
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from dataclasses import dataclass

from lenet_exp.errors import UserError
from lenet_exp.executors.work import JobEnd
from lenet_exp.folders.job import Job

MOST_UNREADY = 5  # maximum number of consecutive workers that die during startup

log = logging.getLogger("lenet_exp")


@dataclass(frozen=True)
class OpenSlot:
    """Command to create a new slot with the number `slot`."""

    slot: int


@dataclass(frozen=True)
class StartJob:
    """Command to start a job in a ready slot.

    Attributes:
        slot: number of the slot.
        turn: number of this attempt, which is unique among all attempts of all jobs.
        job: job to start.
    """

    slot: int
    turn: int
    job: Job


@dataclass(frozen=True)
class StopJob:
    """Command to stop the job in a slot gracefully."""

    slot: int


@dataclass(frozen=True)
class CloseSlot:
    """Command to close a slot immediately, even if it is running a job.

    Later messages from the slot are ignored.
    """

    slot: int


# A JobEnd must be reported to the sweep.
Command = OpenSlot | StartJob | StopJob | CloseSlot | JobEnd


@dataclass
class _Slot:
    """The state of a slot.

    Attributes:
        ready: whether the slot's process has started.
        turn: number of the running attempt; None while no job runs.
        job: the running job; None while no job runs.
    """

    ready: bool = False
    turn: int | None = None
    job: Job | None = None


class JobSlots:
    """The slots of an executor, to which jobs are assigned. A slot runs one job at a time.

    Args:
        name: name of the executor, for messages.
        retries: number of times to retry a job whose process or slot was lost.

    Attributes:
        is_stopping: whether `stop` was called, so that no new jobs start.
    """

    def __init__(self, name: str, *, retries: int) -> None:
        self._name = name
        self._retries = retries
        self._waiting: deque[Job] = deque()
        self._failed_attempts = Counter[int]()  # keyed by job number
        self._slots: dict[int, _Slot] = {}
        self._last_slot = 0
        self._last_turn = 0
        # Slots lost since one was last known to work, and why the last of them was lost.
        self._lost_unready = 0
        self._why_unready = ""
        self.is_stopping = False

    @property
    def running(self) -> set[int]:
        """Numbers of the jobs that have a slot."""
        return {slot.job.number for slot in self._slots.values() if slot.job is not None}

    @property
    def waiting(self) -> int:
        """Number of jobs that are waiting for a slot."""
        return len(self._waiting)

    def is_current(self, slot: int, turn: int) -> bool:
        """Return whether a slot is still running this attempt of a job.

        If so, questions from the job need an answer.

        Args:
            slot: number of the slot.
            turn: number of the attempt; see `StartJob`.
        """
        return slot in self._slots and self._slots[slot].turn == turn

    def submit(self, job: Job) -> None:
        """Queue a job, which `fill` will assign to a slot."""
        if not self.is_stopping:
            self._waiting.append(job)

    def fill(self, room: int) -> list[Command]:
        """Assign waiting jobs to free slots, and request new slots for the remaining jobs.

        Args:
            room: maximum number of slots at this time.

        Raises:
            UserError: no slot is left, and too many consecutive new slots were lost before they
                were ready.
        """
        commands: list[Command] = [*self._start_jobs()]
        if self._lost_unready < MOST_UNREADY:
            return [*commands, *self._open_slots(room)]

        # No new slot would start; jobs can only wait for the slots that exist.
        if self._waiting and not self._slots:
            raise UserError(
                f"{self._name}: cannot start workers ({self._lost_unready} in a row failed to "
                f"start: {self._why_unready})"
            )
        return commands

    def _start_jobs(self) -> list[StartJob]:
        commands = []
        for number, slot in self._slots.items():
            if self._waiting and slot.ready and slot.job is None:
                self._last_turn += 1
                slot.turn = self._last_turn
                slot.job = self._waiting.popleft()
                commands.append(StartJob(number, slot.turn, slot.job))
        return commands

    def _open_slots(self, room: int) -> list[OpenSlot]:
        num_starting = sum(not slot.ready for slot in self._slots.values())
        num_needed = len(self._waiting) - num_starting
        num_allowed = room - len(self._slots)

        commands = []
        for _ in range(min(num_needed, num_allowed)):
            self._last_slot += 1
            self._slots[self._last_slot] = _Slot()
            commands.append(OpenSlot(self._last_slot))
        return commands

    def ready(self, slot: int) -> None:
        """Record that a slot is ready for jobs."""
        if slot in self._slots:
            self._slots[slot].ready = True
            self._lost_unready = 0

    def ended(self, slot: int, turn: int, done: JobEnd | None) -> list[Command]:
        """Handle the end of a job in a slot.

        Args:
            slot: number of the slot.
            turn: number of the attempt; see `StartJob`.
            done: end of the job; None if the job was stopped before it started.
        """
        state = self._slots.get(slot)
        if state is None or state.job is None or state.turn != turn:
            return []
        job = state.job
        state.job = None
        state.turn = None
        self._lost_unready = 0

        commands: list[Command] = []
        if self.is_stopping:
            commands.append(self._close(slot))
        if done is None:
            commands += self._retry(job, "it was stopped before it started", counts=False)
        elif done.lost is not None and not done.over_limit:
            commands += self._retry(job, done.lost)
        else:
            commands.append(done)
        return commands

    def lost(self, slot: int, why: str, *, counts: bool = True) -> list[Command]:
        """Handle the loss of a slot. Checkpoints of its job are kept.

        Args:
            slot: number of the slot.
            why: reason for the loss, as a short phrase.
            counts: whether the loss counts as a failed attempt of the job. Set it to False if the
                cluster preempted the slot and the job made progress.
        """
        state = self._slots.get(slot)
        if state is None:
            return []
        if not state.ready:
            self._lost_unready += 1
            self._why_unready = why
        log.debug("a worker was lost: %s", why)

        retried: list[Command] = []
        if state.job is not None:
            retried = self._retry(state.job, why, counts=counts)
        return [self._close(slot), *retried]

    def stop(self) -> list[Command]:
        """Start no new jobs, and stop the running jobs gracefully. Further calls have no effect."""
        if self.is_stopping:
            return []
        self.is_stopping = True
        self._waiting.clear()

        commands: list[Command] = []
        for number, slot in list(self._slots.items()):
            if slot.job is None:
                commands.append(self._close(number))
            else:
                commands.append(StopJob(number))
        return commands

    def close(self) -> list[Command]:
        """Close all slots immediately, even if they are running jobs."""
        self._waiting.clear()
        return [self._close(number) for number in list(self._slots)]

    def _retry(self, job: Job, why: str, *, counts: bool = True) -> list[Command]:
        """Requeue a job if it has attempts left; if not, report that it was lost.

        While the sweep is stopping, the job is neither requeued nor reported. Rerunning the command
        resumes it.
        """
        if self.is_stopping:
            return []
        if counts:
            self._failed_attempts[job.number] += 1
        if self._failed_attempts[job.number] > self._retries:
            return [JobEnd(job.number, lost=why)]

        log.info("%s: %s; retrying it on another worker", job.name, why)
        self._waiting.appendleft(job)
        return []

    def _close(self, slot: int) -> CloseSlot:
        del self._slots[slot]
        return CloseSlot(slot)
