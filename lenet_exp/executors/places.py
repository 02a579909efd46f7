"""Which job goes to which place of a cluster, and what follows when a place is lost.

A function of the events alone: it reads no clock and no file and knows no cluster, so that every order of events can be
tried (tests/sweeps/test_schedules.py). An executor tells it what it is_current and does what it is told in return. What
comes late, twice, or from a place that was given up changes nothing.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass

from lenet_exp.errors import UserError
from lenet_exp.executors.local.pool import JobEnd
from lenet_exp.folders.job import Job

MOST_UNREADY = 5  # places in a row that were lost before they were ready

log = logging.getLogger("lenet_exp")


@dataclass(frozen=True)
class OpenPlace:
    """A new place has to be made; it is known by this number from now on."""

    place: int


@dataclass(frozen=True)
class StartJob:
    """A job has to begin at a place that is ready; `turn` tells this try from all others."""

    place: int
    turn: int
    job: Job


@dataclass(frozen=True)
class StopJob:
    """The job at a place has to be asked to come to its end."""

    place: int


@dataclass(frozen=True)
class ClosePlace:
    """A place has to be let go of, whatever it does; nothing that it says counts any more."""

    place: int


@dataclass(frozen=True)
class ReportEnd:
    """The sweep has to hear how a job ended."""

    done: JobEnd


Command = OpenPlace | StartJob | StopJob | ClosePlace | ReportEnd


@dataclass
class _Place:
    ready: bool = False
    turn: int | None = None
    job: Job | None = None


class Places:
    """Args:
    name: of the executor, for what a person reads.
    retries: how often a job is tried again whose process or place was lost.
    """

    def __init__(self, name: str, *, retries: int) -> None:
        self._name = name
        self._retries = retries
        self._waiting: deque[Job] = deque()
        self._tries: dict[int, int] = {}
        self._places: dict[int, _Place] = {}
        self._opened = 0
        self._turns = 0
        self._unready = 0
        self._why = ""
        self._stopping = False

    @property
    def running(self) -> set[int]:
        """The numbers of the jobs that have a place."""
        return {place.job.number for place in self._places.values() if place.job is not None}

    @property
    def waiting(self) -> int:
        """How many jobs have none."""
        return len(self._waiting)

    def is_current(self, place: int, turn: int) -> bool:
        """Whether what a place says of this turn counts: a question of it is to be answered."""
        return place in self._places and self._places[place].turn == turn

    def submit(self, job: Job) -> None:
        """A job waits for a place; `fill` finds it one."""
        if not self._stopping:
            self._tries[job.number] = 0
            self._waiting.append(job)

    def fill(self, room: int) -> list[Command]:
        """Jobs that wait go to places that are free, and new places are asked for.

        Args:
            room: how many places there may be now.

        Raises:
            UserError: no place is left, and of those that were made each was lost before it was ready.
        """
        commands: list[Command] = []
        for number, place in self._places.items():
            if self._waiting and place.ready and place.job is None:
                self._turns += 1
                place.turn, place.job = self._turns, self._waiting.popleft()
                commands.append(StartJob(number, place.turn, place.job))
        if self._unready >= MOST_UNREADY:
            if self._waiting and not self._places:
                raise self.no_place_error(f"{self._unready} in a row were lost before they were ready: {self._why}")
            return commands
        coming = sum(not place.ready for place in self._places.values())
        for _ in range(min(len(self._waiting) - coming, room - len(self._places))):
            self._opened += 1
            self._places[self._opened] = _Place()
            commands.append(OpenPlace(self._opened))
        return commands

    def ready(self, place: int) -> None:
        """A place can take jobs."""
        if place in self._places:
            self._places[place].ready = True
            self._unready = 0

    def ended(self, place: int, turn: int, done: JobEnd | None) -> list[Command]:
        """A job came to its end; None: it was stopped before it began, and stays as it was."""
        found = self._places.get(place)
        if found is None or found.job is None or found.turn != turn:
            return []
        job, found.job, found.turn = found.job, None, None
        self._unready = 0
        closed: list[Command] = [self._close(place)] if self._stopping else []
        if done is None:
            return [*closed, *self._again(job, "it was stopped before it began", counts=False)]
        if done.lost is not None and not done.over_limit:
            return [*closed, *self._again(job, done.lost)]
        return [*closed, ReportEnd(done)]

    def job(self, place: int) -> Job | None:
        """The one that a place runs."""
        found = self._places.get(place)
        return found.job if found is not None else None

    def lost(self, place: int, why: str, *, counts: bool = True) -> list[Command]:
        """A place is gone, and its node perhaps with it; what its job committed is there.

        Args:
            counts: as a try of the job. Where the cluster took the place back and the job got further, it need not.
        """
        found = self._places.get(place)
        if found is None:
            return []
        if not found.ready:
            self._unready += 1
            self._why = why
        log.debug("a place is gone: %s", why)
        closed = self._close(place)
        if found.job is None:
            return [closed]
        return [closed, *self._again(found.job, why, counts=counts)]

    def stop(self) -> list[Command]:
        """No more jobs are started; the running ones are asked to end, once."""
        if self._stopping:
            return []
        self._stopping = True
        self._waiting.clear()
        return [self._close(n) if place.job is None else StopJob(n) for n, place in list(self._places.items())]

    def close(self) -> list[Command]:
        """Lets go of all places, whatever they do."""
        self._waiting.clear()
        return [self._close(number) for number in list(self._places)]

    def _again(self, job: Job, why: str, *, counts: bool = True) -> list[Command]:
        """A job goes on at another place, if it has a try left; one that is lost in the end of a sweep stays as it is,
        and the same line goes on with it."""
        if self._stopping:
            return []
        self._tries[job.number] += counts
        if self._tries[job.number] > self._retries:
            return [ReportEnd(JobEnd(job.number, lost=why))]
        log.debug("job %d: %s; it goes on elsewhere", job.number, why)
        self._waiting.appendleft(job)
        return []

    def no_place_error(self, why: str) -> UserError:
        """The error that ends the sweep because further places would fail, too."""
        return UserError(f"{self._name}: no place could be made ({why})")

    def _close(self, place: int) -> ClosePlace:
        del self._places[place]
        return ClosePlace(place)
