"""Manages the Slurm allocations of a sweep.

This module submits allocations as needed, reuses allocations from an earlier session, and detects
lost allocations. Each allocation provides places, which are processes that each run one job at a
time.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lenet_exp.amounts import number_of
from lenet_exp.errors import ConfigError
from lenet_exp.executors.slurm.options import (
    SlurmOptions,
    allocation_arguments,
    job_name,
    job_prefix,
)
from lenet_exp.executors.slurm.queue import Queue, QueuedJob

QUEUE_SECONDS = 5.0  # time between two queries of Slurm's controller, which all users share
AWAY_SECONDS = (
    30.0  # time between two queries while the controller does not respond or rejects queries
)
QUIET_SECONDS = 300.0  # time without a heartbeat after which a running allocation is canceled

log = logging.getLogger("lenet_exp")


@dataclass(frozen=True)
class LostAllocation:
    """An allocation whose processes have ended or do not respond.

    Attributes:
        id: Slurm's job ID of the allocation.
        why: description of the loss, for messages.
        unmade: number of places that the allocation had not opened yet; 0 if Slurm will restart the
            allocation.
    """

    id: str
    why: str
    unmade: int


@dataclass
class _Allocation:
    """A Slurm job that provides places.

    Attributes:
        seen: time when the queue last listed the allocation, or when it was submitted.
        heard: time of the last heartbeat from one of its places or, before the first heartbeat,
            start time of the allocation; None while the allocation has no node.
        came: names of the places that the allocation has opened since its start.
    """

    seen: float
    heard: float | None = None
    came: set[str] = field(default_factory=set)


class Allocations:
    """The Slurm allocations of a sweep.

    Args:
        sweep: ID of the sweep.
        folder: folder for the script and logs of the allocations.
        script: text of the script that each allocation executes.
        options: Slurm options for the sweep.
        queue: queue of the cluster.
        clock: function that returns the seconds since a fixed time.
    """

    def __init__(
        self,
        sweep: str,
        folder: Path,
        script: str,
        options: SlurmOptions,
        queue: Queue,
        clock: Callable[[], float],
    ) -> None:
        self._folder, self._options, self._queue, self._clock = folder, options, queue, clock
        self._arguments = allocation_arguments(options)
        self._name = job_name(sweep, self._arguments, script)
        (folder / "job.sh").write_text(script)
        self._allocations = self._adopt(job_prefix(sweep))
        self._had_one = bool(self._allocations)
        self._look_at = self._ask_at = -math.inf

    def arrived(self, place: str) -> None:
        """Record a new place. Forget places that its allocation opened before a restart."""
        one, restart, _ = place.split("-")
        known = self._allocations.setdefault(one, _Allocation(self._clock()))
        known.came = {name for name in known.came if name.split("-")[1] == restart} | {place}

    def ask_for(self, places: int) -> None:
        """Submit allocations, unless the current allocations will open enough places or the limit
        is reached.

        Args:
            places: number of additional places that are needed.

        Raises:
            ConfigError: Slurm refused the first allocations. If a later submission fails, it is
                retried instead, because the controller may be unreachable.
        """
        tasks, now = self._options.tasks, self._clock()
        missing = places - sum(max(0, tasks - len(a.came)) for a in self._allocations.values())
        count = min(math.ceil(missing / tasks), self._options.allocations - len(self._allocations))
        if count <= 0 or now < self._ask_at:
            return
        try:
            # % starts a pattern in `sbatch --output`
            log_file = f"{str(self._folder).replace('%', '%%')}/%A_%a.log"
            ids = self._queue.submit(
                self._folder / "job.sh", self._name, log_file, count, arguments=self._arguments
            )
        except ConfigError as e:
            if not self._had_one:
                raise
            log.warning("%s; retrying in %.0f s", e, AWAY_SECONDS)
            self._ask_at = now + AWAY_SECONDS
            return
        self._had_one = True
        self._allocations |= {one: _Allocation(now) for one in ids}
        log.info("Slurm: %s submitted (%s)", number_of(count, "allocation"), ", ".join(ids))

    def is_due(self) -> bool:
        """Return whether it is time to call `look`."""
        return self._clock() >= self._look_at

    def look(self, silent: Mapping[str, float]) -> list[LostAllocation]:
        """Query Slurm's queue, and return the allocations that have been lost.

        Args:
            silent: number of seconds since the last heartbeat of each place, keyed by the name of
                the place.
        """
        now = self._clock()
        self._look_at = now + QUEUE_SECONDS
        for place, seconds in silent.items():
            known = self._allocations.get(place.partition("-")[0])
            if known is not None and known.heard is not None:
                known.heard = max(known.heard, now - seconds)
        jobs = self._queue.jobs(self._name)
        if jobs is None:  # the controller is busy or unreachable; the jobs may still be running
            self._look_at = now + AWAY_SECONDS
            for allocation in self._allocations.values():
                allocation.seen = now
            return []
        queued = {job.id: job for job in jobs}
        found = [
            self._judge(one, a, queued.get(one), now) for one, a in list(self._allocations.items())
        ]
        return [lost for lost in found if lost is not None]

    def cancel(self) -> None:
        """Cancel all allocations."""
        self._queue.cancel(list(self._allocations))

    def _adopt(self, prefix: str) -> dict[str, _Allocation]:
        """Reuse allocations from an earlier session of this sweep. Cancel allocations with
        different options.
        """
        left = [job for job in self._queue.jobs(prefix) or [] if job.is_alive]
        ours, others = (
            [job.id for job in left if (job.name == self._name) is same] for same in (True, False)
        )
        self._queue.cancel(others)
        if ours:
            log.info(
                "Slurm: reusing %s from an earlier session (%s)",
                number_of(len(ours), "allocation"),
                ", ".join(ours),
            )
        if others:
            words = "Slurm: canceled %s from an earlier session with different options (%s)"
            log.info(words, number_of(len(others), "allocation"), ", ".join(others))
        return {one: _Allocation(self._clock()) for one in ours}

    def _judge(
        self, one: str, allocation: _Allocation, job: QueuedJob | None, now: float
    ) -> LostAllocation | None:
        if job is None or job.may_wait_again:
            absent = now - allocation.seen > self._options.lost_after
            return self._gone(one, "no longer in the queue") if absent else None
        allocation.seen = now
        if job.is_over:
            return self._gone(one, job.state)
        if job.waits and allocation.heard is not None:  # Slurm has preempted or requeued it
            allocation.heard = None
            allocation.came.clear()
            return LostAllocation(one, f"allocation {one} is queued again ({job.state})", 0)
        if job.state == "RUNNING":
            allocation.heard = allocation.heard or now
            if now - allocation.heard > QUIET_SECONDS:
                self._queue.cancel([one])
                return self._gone(one, f"running, but silent for {QUIET_SECONDS:.0f} s")
        return None

    def _gone(self, one: str, why: str) -> LostAllocation:
        unmade = max(0, self._options.tasks - len(self._allocations.pop(one).came))
        return LostAllocation(one, f"allocation {one}: {why}; {self._last_words(one)}", unmade)

    def _last_words(self, one: str) -> str:
        try:
            text = (self._folder / f"{one}.log").read_text(errors="replace")
        except OSError:
            return "its log is missing; set LENET_EXP_OUTPUTS to a folder that all nodes share"
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        own = [line for line in lines if not line.startswith(("srun:", "slurmstepd"))]
        return (own or lines or ["it printed nothing"])[-1]
