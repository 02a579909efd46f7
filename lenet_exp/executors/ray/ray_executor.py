"""The executor for Ray clusters, on which jobs run in job slots.

A job slot is a Ray actor that runs one job at a time. Ray creates an actor on a node with free
resources, and reports the actor's death. If the process or node of a job is lost, `JobSlots`
assigns the job to another slot, where it resumes from its last checkpoint.
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
from lenet_exp.executors.job_slots import CloseSlot, Command, OpenSlot, StartJob, StopJob
from lenet_exp.executors.ray.cluster import Cluster, RayOptions
from lenet_exp.executors.slot_process import SlotInfo, check_slot, portable_work
from lenet_exp.executors.work import EpochReport, JobEnd, WorkSpec

LOOK_SECONDS = 5.0  # time between two queries of the cluster's resources
DESCRIBE_TURN = 0  # turn number of the first call to a slot, which requests its description

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
        self._workers = options.workers
        self._cluster = Cluster(options)
        super().__init__(
            "hydra/launcher=cluster_ray",
            work,
            retries=retries,
            probe=f".probe-{uuid.uuid4().hex[:8]}",
        )
        self._looked_at = 0.0
        self._room = 0
        probe = (self._probe, self._probe.name)
        self._portable_work: Any = ray.put(portable_work(work, probe, time_limit))
        self._actors: dict[int, Any] = {}
        self._pending: dict[Any, tuple[int, int]] = {}  # slot and turn of each pending call
        self._usable = False  # whether any slot has been usable
        self._refused: set[str] = set()  # messages about unusable slots that were printed

    @property
    def capacity(self) -> int:
        """Number of runs that fit on the cluster now.

        It is at least 1, so that a run can wait for a node.
        """
        if time.monotonic() - self._looked_at > LOOK_SECONDS:
            looked_at = time.monotonic()
            self._room = self._cluster.room()
            self._looked_at = looked_at
        limits = [self._room, self._workers, self._work.jobs]
        return max(1, min(limit for limit in limits if limit is not None))

    def next_done(self, timeout: float) -> JobEnd | None:
        """Wait for the next job to end; see `Executor.next_done`."""
        deadline = time.monotonic() + timeout
        while True:
            if self._job_ends:
                return self._job_ends.popleft()
            self._do(self._slots.fill(self.capacity))

            left = deadline - time.monotonic()
            if not self._pending or left <= 0:
                return None
            ready, _ = ray.wait(list(self._pending), timeout=left)
            for reference in ready:
                self._receive(reference)

    def kill(self) -> None:
        """Close all slots immediately."""
        closing = [actor.close.remote() for actor in self._actors.values()]
        with contextlib.suppress(Exception):  # lost actors do not need to be closed
            ray.wait(closing, num_returns=len(closing), timeout=2.0)
        self._do(self._slots.close())

    def __exit__(self, *_: object) -> None:
        self._probe.unlink(missing_ok=True)
        if self._actors:
            self.kill()
        ray.shutdown()

    def _receive(self, reference: Any) -> None:
        """Handle the result of a call to a slot."""
        number, turn = self._pending.pop(reference, (0, 0))
        if number not in self._actors:  # already closed
            return

        try:
            result = ray.get(reference)
        except ray.exceptions.RayTaskError as e:
            raise e.as_instanceof_cause() from e
        except ray.exceptions.RayError as e:
            self._lose(number, turn, e)
            return

        if isinstance(result, SlotInfo):
            self._check(number, result)
        elif isinstance(result, EpochReport):
            assert self._work.answer is not None
            answer = self._work.answer(result)
            answered = self._actors[number].answer.remote(answer)
            self._pending[answered] = (number, turn)
        else:
            self._do(self._slots.ended(number, turn, result))

    def _check(self, number: int, slot: SlotInfo) -> None:
        """Use a slot for jobs if it gives the same results as this machine.

        A node that joins later and does not, for example because it has lost a network file system,
        must not end the sweep of the other nodes.

        Raises:
            ConfigError: no slot has been usable so far.
        """
        try:
            check_slot(slot, self._probe.parent)
        except ConfigError as e:
            if not self._usable:
                raise
            message = str(e)
            if message not in self._refused:
                log.warning("continuing without this node: %s", message)
            self._refused.add(message)
            self._do(self._slots.lost(number, message))
        else:
            self._usable = True
            self._slots.ready(number)

    def _lose(self, number: int, turn: int, error: Exception) -> None:
        """Handle the loss of a slot."""
        self._looked_at = 0.0  # a node may be lost, too
        error_type = type(error).__name__
        if turn == DESCRIBE_TURN:
            lines = str(error).strip().splitlines() or [error_type]
            why = lines[-1].strip()  # the last line of a traceback
        else:
            why = f"its node or process was lost ({error_type})"
        self._do(self._slots.lost(number, why))

    def _do(self, commands: Sequence[Command]) -> None:
        for command in commands:
            if isinstance(command, JobEnd):
                self._job_ends.append(command)
            elif isinstance(command, OpenSlot):
                actor = self._cluster.actor.remote(self._portable_work)
                self._actors[command.slot] = actor
                self._pending[actor.describe.remote()] = (command.slot, DESCRIBE_TURN)
            elif isinstance(command, StartJob):
                started = self._actors[command.slot].start.remote(command.job)
                self._pending[started] = (command.slot, command.turn)
            elif isinstance(command, StopJob):
                self._actors[command.slot].stop.remote()
            elif isinstance(command, CloseSlot):
                self._close(command.slot)

    def _close(self, number: int) -> None:
        actor = self._actors.pop(number)
        self._pending = {
            reference: (slot, turn)
            for reference, (slot, turn) in self._pending.items()
            if slot != number
        }
        with contextlib.suppress(Exception):
            ray.kill(actor)
