"""Assigns jobs to places on a cluster, and handles the loss of places.

A place is a job slot: a process on a cluster machine that runs one job at a time. An executor calls
the methods of `JobSlots` when events occur, and executes the commands that the methods return. Events
that are late, repeated, or from a closed place have no effect.

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
class OpenPlace:
    """Command to create a new place with the number `place`."""

    place: int


@dataclass(frozen=True)
class StartJob:
    """Command to start a job at a ready place.

    Attributes:
        place: number of the place.
        turn: number of this attempt, which is unique among all attempts of all jobs.
        job: job to start.
    """

    place: int
    turn: int
    job: Job


@dataclass(frozen=True)
class StopJob:
    """Command to stop the job at a place gracefully."""

    place: int


@dataclass(frozen=True)
class ClosePlace:
    """Command to close a place immediately, even if it is running a job. Later messages from the
    place are ignored.
    """

    place: int


Command = (
    OpenPlace | StartJob | StopJob | ClosePlace | JobEnd
)  # a JobEnd must be reported to the sweep


@dataclass
class _Place:
    ready: bool = False
    turn: int | None = None
    job: Job | None = None


class JobSlots:
    """The places of an executor, to which jobs are assigned. A place runs one job at a time.

    Args:
        name: name of the executor, for messages.
        retries: number of times to retry a job whose process or place was lost.

    Attributes:
        is_stopping: whether `stop` was called, so that no new jobs start.
    """

    def __init__(self, name: str, *, retries: int) -> None:
        self._name = name
        self._retries = retries
        self._waiting: deque[Job] = deque()
        self._tries = Counter[int]()
        self._places: dict[int, _Place] = {}
        self._opened = 0
        self._turns = 0
        self._unready = 0
        self._why = ""
        self.is_stopping = False

    @property
    def running(self) -> set[int]:
        """Numbers of the jobs that have a place."""
        return {place.job.number for place in self._places.values() if place.job is not None}

    @property
    def waiting(self) -> int:
        """Number of jobs that are waiting for a place."""
        return len(self._waiting)

    def is_current(self, place: int, turn: int) -> bool:
        """Return whether a place is still running this attempt of a job. If so, questions from the
        job need an answer.

        Args:
            place: number of the place.
            turn: number of the attempt; see `StartJob`.
        """
        return place in self._places and self._places[place].turn == turn

    def submit(self, job: Job) -> None:
        """Queue a job, which `fill` will assign to a place."""
        if not self.is_stopping:
            self._waiting.append(job)

    def fill(self, room: int) -> list[Command]:
        """Assign waiting jobs to free places, and request new places for the remaining jobs.

        Args:
            room: maximum number of places at this time.

        Raises:
            UserError: no place is left, and too many consecutive new places were lost before they
                were ready.
        """
        commands: list[Command] = []
        for number, place in self._places.items():
            if self._waiting and place.ready and place.job is None:
                self._turns += 1
                place.turn, place.job = self._turns, self._waiting.popleft()
                commands.append(StartJob(number, place.turn, place.job))
        if self._unready >= MOST_UNREADY:
            if self._waiting and not self._places:
                raise UserError(
                    f"{self._name}: cannot start workers ({self._unready} in a row failed to start: {self._why})"
                )
            return commands
        coming = sum(not place.ready for place in self._places.values())
        for _ in range(min(len(self._waiting) - coming, room - len(self._places))):
            self._opened += 1
            self._places[self._opened] = _Place()
            commands.append(OpenPlace(self._opened))
        return commands

    def ready(self, place: int) -> None:
        """Record that a place is ready for jobs."""
        if place in self._places:
            self._places[place].ready = True
            self._unready = 0

    def ended(self, place: int, turn: int, done: JobEnd | None) -> list[Command]:
        """Handle the end of a job at a place.

        Args:
            place: number of the place.
            turn: number of the attempt; see `StartJob`.
            done: end of the job; None if the job was stopped before it started.
        """
        found = self._places.get(place)
        if found is None or found.job is None or found.turn != turn:
            return []
        job, found.job, found.turn = found.job, None, None
        self._unready = 0
        closed: list[Command] = [self._close(place)] if self.is_stopping else []
        if done is None:
            return [*closed, *self._again(job, "it was stopped before it started", counts=False)]
        if done.lost is not None and not done.over_limit:
            return [*closed, *self._again(job, done.lost)]
        return [*closed, done]

    def lost(self, place: int, why: str, *, counts: bool = True) -> list[Command]:
        """Handle the loss of a place. Checkpoints of its job are kept.

        Args:
            place: number of the place.
            why: reason for the loss, as a short phrase.
            counts: whether the loss counts as a failed attempt of the job. Set it to False if the
                cluster preempted the place and the job made progress.
        """
        found = self._places.get(place)
        if found is None:
            return []
        if not found.ready:
            self._unready += 1
            self._why = why
        log.debug("a worker was lost: %s", why)
        again = self._again(found.job, why, counts=counts) if found.job is not None else []
        return [self._close(place), *again]

    def stop(self) -> list[Command]:
        """Start no new jobs, and stop the running jobs gracefully. Further calls have no effect."""
        if self.is_stopping:
            return []
        self.is_stopping = True
        self._waiting.clear()
        return [
            self._close(n) if place.job is None else StopJob(n)
            for n, place in list(self._places.items())
        ]

    def close(self) -> list[Command]:
        """Close all places immediately, even if they are running jobs."""
        self._waiting.clear()
        return [self._close(number) for number in list(self._places)]

    def _again(self, job: Job, why: str, *, counts: bool = True) -> list[Command]:
        """Requeue a job if it has attempts left; if not, report that it was lost.

        While the sweep is stopping, the job is neither requeued nor reported. Rerunning the command
        resumes it.
        """
        if self.is_stopping:
            return []
        self._tries[job.number] += counts
        if self._tries[job.number] > self._retries:
            return [JobEnd(job.number, lost=why)]
        log.info("%s: %s; retrying it on another worker", job.name, why)
        self._waiting.appendleft(job)
        return []

    def _close(self, place: int) -> ClosePlace:
        del self._places[place]
        return ClosePlace(place)
