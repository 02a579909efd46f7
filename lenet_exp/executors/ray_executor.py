"""The executor of a Ray cluster: an actor for each place, where Ray finds the resources for it.

Ray says where, and that something died; all else is as on one machine: a job whose process or node is lost goes on
from its last commit at another place.
"""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import ray

from lenet_exp.errors import UserError, first_line
from lenet_exp.executors.executor import Work
from lenet_exp.executors.host import Described, Question, carried
from lenet_exp.executors.ray_cluster import Cluster, RayOptions, check_place, never_begins
from lenet_exp.folders.job import Job
from lenet_exp.pool.pool import Done

LOOK_SECONDS = 5.0  # between two looks at what the cluster has

log = logging.getLogger("lenet_exp")


@dataclass
class _Place:
    """An actor and what it was asked last."""

    actor: Any
    reference: Any
    ready: bool = False
    job: int | None = None


class RayExecutor:
    """An `Executor`.

    Args:
        retries: how often a job is tried again whose process or node died.
        time_limit: seconds a job may take; None: any.

    Raises:
        ConfigError: as of `Cluster`.
    """

    def __init__(self, work: Work, options: RayOptions, *, retries: int, time_limit: float | None) -> None:
        self._work, self._workers, self._retries = work, options.workers, retries
        self._cluster = Cluster(options)
        self._looked, self._room = 0.0, 0
        self._probe = work.output.with_name(f".probe-{uuid.uuid4().hex[:8]}")
        self._probe.write_text(self._probe.name)
        self._carried: Any = ray.put(carried(work, (self._probe, self._probe.name), time_limit))
        self._waiting: deque[Job] = deque()
        self._jobs: dict[int, Job] = {}
        self._tries: dict[int, int] = {}
        self._places: list[_Place] = []
        self._stopping = False

    @property
    def capacity(self) -> int:
        """What the cluster has room for now; one at least, which waits for a node."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked, self._room = time.monotonic(), self._cluster.room()
        limits = [self._room, self._workers, self._work.jobs]
        return max(1, min(limit for limit in limits if limit is not None))

    @property
    def running(self) -> set[int]:
        return {place.job for place in self._places if place.job is not None}

    def submit(self, job: Job) -> None:
        self._jobs[job.number], self._tries[job.number] = job, 0
        self._waiting.append(job)

    def next_done(self, timeout: float) -> Done | None:
        deadline = time.monotonic() + timeout
        while True:
            self._assign()
            asked = {place.reference: place for place in self._places if place.reference is not None}
            left = deadline - time.monotonic()
            if not asked or left <= 0:
                return None
            ready, _ = ray.wait(list(asked), timeout=left)
            for reference in ready:
                done = self._hear(asked[reference])
                if done is not None:
                    return done

    def stop(self) -> None:
        self._waiting.clear()
        if self._stopping:
            return
        self._stopping = True
        for place in list(self._places):
            if place.job is None:
                self._remove(place)
            else:
                place.actor.stop.remote()

    def kill(self) -> None:
        closing = [place.actor.close.remote() for place in self._places]
        with contextlib.suppress(Exception):  # what is lost needs no end
            ray.wait(closing, num_returns=len(closing), timeout=2.0)
        for place in list(self._places):
            self._remove(place)

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._probe.unlink(missing_ok=True)
        if self._places:
            self.kill()
        ray.shutdown()

    def _assign(self) -> None:
        """Gives jobs to places that are free, and asks for more places."""
        for place in self._places:
            if self._waiting and place.ready and place.job is None:
                job = self._waiting.popleft()
                place.job, place.reference = job.number, place.actor.start.remote(job)
        coming = sum(not place.ready for place in self._places)
        while coming < len(self._waiting) and len(self._places) < self.capacity:
            actor = self._cluster.new_place(self._carried)
            self._places.append(_Place(actor, actor.describe.remote()))
            coming += 1

    def _hear(self, place: _Place) -> Done | None:
        """What a place said: how its job ended, or None."""
        reference, place.reference = place.reference, None
        try:
            said = ray.get(reference)
        except ray.exceptions.RayTaskError as e:
            raise e.as_instanceof_cause() from e
        except ray.exceptions.RayError as e:
            return self._lost(place, e)
        if isinstance(said, Described):
            check_place(said, self._probe.parent)
            place.ready = True
            return None
        if isinstance(said, Question):
            assert self._work.answer is not None
            place.reference = place.actor.go_on.remote(self._work.answer(said.what))
            return None
        if said is None:  # it was stopped before its job began, and that stays as it was
            self._remove(place)
            return None
        assert isinstance(said, Done)
        place.job = None
        if self._stopping:
            self._remove(place)
        if said.lost is not None and not self._stopping and "time limit" not in said.lost:
            return self._again(said.job, said.lost)
        return said

    def _lost(self, place: _Place, error: Exception) -> Done | None:
        """A place is gone, and its node perhaps with it."""
        self._looked = 0.0
        job = place.job
        self._remove(place)
        if job is None:
            if not place.ready and never_begins(error):
                why = str(error).strip().splitlines()[-1].strip()  # it comes with a traceback from there
                raise UserError(f"hydra/launcher=cluster_ray: no place could be made ({why})") from error
            log.debug("a place is gone: %s", first_line(error))
            return None
        return self._again(job, f"its node or process was lost ({type(error).__name__})")

    def _again(self, number: int, why: str) -> Done | None:
        self._tries[number] += 1
        if self._tries[number] <= self._retries and not self._stopping:
            log.debug("job %d: %s; it goes on elsewhere", number, why)
            self._waiting.appendleft(self._jobs[number])
            return None
        return Done(number, lost=why)

    def _remove(self, place: _Place) -> None:
        with contextlib.suppress(Exception):
            ray.kill(place.actor)
        self._places.remove(place)
