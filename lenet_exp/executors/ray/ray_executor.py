"""The executor for Ray clusters. Jobs run in places, which are Ray actors that run one job at a
time.

Ray creates an actor on a node with free resources, and reports the actor's death. If the process or
node of a job is lost, `JobSlots` assigns the job to another place, where it resumes from its last
checkpoint.
"""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from collections.abc import Sequence
from typing import Any

import ray

from lenet_exp.errors import ConfigError
from lenet_exp.executors.executor import ClusterExecutor
from lenet_exp.executors.host import SlotInfo, check_place, portable_work
from lenet_exp.executors.places import ClosePlace, Command, OpenPlace, StartJob, StopJob
from lenet_exp.executors.ray.cluster import Cluster, RayOptions
from lenet_exp.executors.work import EpochReport, JobEnd, WorkSpec

LOOK_SECONDS = 5.0  # time between two queries of the cluster's resources
BEFORE = 0  # turn number of the first call to a place, which requests its description

log = logging.getLogger("lenet_exp")


class RayExecutor(ClusterExecutor):
    """An `Executor` for a Ray cluster.

    Args:
        work: functions that run the jobs, and information about the jobs.
        options: options of the launcher.
        retries: number of times to retry a job whose process or node died.
        time_limit: maximum duration of a job, in seconds; None for no limit.

    Raises:
        ConfigError: the cluster cannot be used; see `Cluster`.
    """

    def __init__(
        self, work: WorkSpec, options: RayOptions, *, retries: int, time_limit: float | None
    ) -> None:
        self._workers, self._cluster = options.workers, Cluster(options)
        super().__init__(
            "hydra/launcher=cluster_ray",
            work,
            retries=retries,
            probe=f".probe-{uuid.uuid4().hex[:8]}",
        )
        self._looked, self._room = 0.0, 0
        self._portable_work: Any = ray.put(
            portable_work(work, (self._probe, self._probe.name), time_limit)
        )
        self._actors: dict[int, Any] = {}
        self._asked: dict[Any, tuple[int, int]] = {}  # place and turn of each pending call
        self._usable = False  # whether any place has been usable
        self._refused: set[str] = set()  # messages about unusable places that were printed

    @property
    def capacity(self) -> int:
        """Number of runs that currently fit on the cluster, but at least 1, so that a run can wait
        for a node.
        """
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked, self._room = time.monotonic(), self._cluster.room()
        limits = [self._room, self._workers, self._work.jobs]
        return max(1, min(limit for limit in limits if limit is not None))

    def next_done(self, timeout: float) -> JobEnd | None:
        """Wait for the next job to end; see `Executor.next_done`."""
        deadline = time.monotonic() + timeout
        while True:
            if self._job_ends:
                return self._job_ends.popleft()
            self._do(self._places.fill(self.capacity))
            left = deadline - time.monotonic()
            if not self._asked or left <= 0:
                return None
            ready, _ = ray.wait(list(self._asked), timeout=left)
            for reference in ready:
                self._hear(reference)

    def kill(self) -> None:
        """Close all places immediately."""
        closing = [actor.close.remote() for actor in self._actors.values()]
        with contextlib.suppress(Exception):  # lost actors do not need to be closed
            ray.wait(closing, num_returns=len(closing), timeout=2.0)
        self._do(self._places.close())

    def __exit__(self, *_: object) -> None:
        self._probe.unlink(missing_ok=True)
        if self._actors:
            self.kill()
        ray.shutdown()

    def _hear(self, reference: Any) -> None:
        """Handle the result of a call to a place."""
        number, turn = self._asked.pop(reference, (0, 0))
        if number not in self._actors:  # already closed
            return
        try:
            said = ray.get(reference)
        except ray.exceptions.RayTaskError as e:
            raise e.as_instanceof_cause() from e
        except ray.exceptions.RayError as e:
            self._lost(number, turn, e)
            return
        if isinstance(said, SlotInfo):
            self._check(number, said)
        elif isinstance(said, EpochReport):
            assert self._work.answer is not None
            self._asked[self._actors[number].answer.remote(self._work.answer(said))] = number, turn
        else:
            self._do(self._places.ended(number, turn, said))

    def _check(self, number: int, place: SlotInfo) -> None:
        """Use a place for jobs if it gives the same results as this machine.

        A node that joins later and does not, for example because it has lost a network file system,
        must not end the sweep of the other nodes.

        Raises:
            ConfigError: no place has been usable so far.
        """
        try:
            check_place(place, self._probe.parent)
        except ConfigError as e:
            if not self._usable:
                raise
            if str(e) not in self._refused:
                log.warning("continuing without this node: %s", e)
            self._refused.add(str(e))
            self._do(self._places.lost(number, str(e)))
        else:
            self._usable = True
            self._places.ready(number)

    def _lost(self, number: int, turn: int, error: Exception) -> None:
        """Handle the loss of a place."""
        self._looked = 0.0
        why = (str(error).strip().splitlines() or [type(error).__name__])[
            -1
        ].strip()  # the last line of a traceback
        if turn != BEFORE:
            why = f"its node or process was lost ({type(error).__name__})"
        self._do(self._places.lost(number, why))

    def _do(self, commands: Sequence[Command]) -> None:
        for command in commands:
            if isinstance(command, JobEnd):
                self._job_ends.append(command)
            elif isinstance(command, OpenPlace):
                actor = self._actors[command.place] = self._cluster.actor.remote(
                    self._portable_work
                )
                self._asked[actor.describe.remote()] = command.place, BEFORE
            elif isinstance(command, StartJob):
                reference = self._actors[command.place].start.remote(command.job)
                self._asked[reference] = command.place, command.turn
            elif isinstance(command, StopJob):
                self._actors[command.place].stop.remote()
            elif isinstance(command, ClosePlace):
                actor = self._actors.pop(command.place)
                self._asked = {
                    r: asked for r, asked in self._asked.items() if asked[0] != command.place
                }
                with contextlib.suppress(Exception):
                    ray.kill(actor)
