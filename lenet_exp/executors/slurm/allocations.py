"""Manages the Slurm allocations of a sweep.

This module submits allocations as needed, reuses allocations from an earlier session, and detects
lost allocations. Each allocation provides job slots, which are processes that each run one job at a
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

# Time between two queries of Slurm's controller, which all users share.
QUEUE_SECONDS = 5.0
# Time between two queries while the controller does not respond or rejects queries.
AWAY_SECONDS = 30.0
# Time without a heartbeat after which a running allocation is canceled.
QUIET_SECONDS = 300.0

log = logging.getLogger("lenet_exp")


@dataclass(frozen=True)
class LostAllocation:
    """An allocation whose processes have ended or do not respond.

    Attributes:
        id: Slurm's job ID of the allocation.
        why: description of the loss, for messages.
        unopened: number of slots that the allocation had not opened yet; 0 if Slurm will restart
            the allocation.
    """

    id: str
    why: str
    unopened: int


@dataclass
class _Allocation:
    """A Slurm job that provides slots.

    Attributes:
        listed_at: time when the queue last listed the allocation, or when it was submitted.
        heard_at: time of the last heartbeat from one of its slots or, before the first heartbeat,
            start time of the allocation; None while the allocation has no node.
        opened: names of the slots that the allocation has opened since its start.
    """

    listed_at: float
    heard_at: float | None = None
    opened: set[str] = field(default_factory=set)


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
        self._folder = folder
        self._options = options
        self._queue = queue
        self._clock = clock
        self._arguments = allocation_arguments(options)
        self._name = job_name(sweep, self._arguments, script)
        (folder / "job.sh").write_text(script)
        self._allocations = self._adopt(job_prefix(sweep))
        self._had_one = bool(self._allocations)
        self._look_at = -math.inf
        self._submit_at = -math.inf

    def arrived(self, slot: str) -> None:
        """Record a new slot. Forget slots that its allocation opened before a restart."""
        allocation_id, restart, _ = slot.split("-")
        allocation = self._allocations.setdefault(allocation_id, _Allocation(self._clock()))
        allocation.opened = {name for name in allocation.opened if name.split("-")[1] == restart}
        allocation.opened.add(slot)

    def ask_for(self, slots: int) -> None:
        """Submit allocations, unless there are enough already or the limit is reached.

        Args:
            slots: number of additional slots that are needed.

        Raises:
            ConfigError: Slurm refused the first allocations. If a later submission fails, it is
                retried instead, because the controller may be unreachable.
        """
        now = self._clock()
        unopened = sum(self._num_unopened(a) for a in self._allocations.values())
        needed = math.ceil((slots - unopened) / self._options.tasks)
        allowed = self._options.allocations - len(self._allocations)
        count = min(needed, allowed)
        if count <= 0 or now < self._submit_at:
            return

        try:
            ids = self._submit(count)
        except ConfigError as e:
            if not self._had_one:
                raise
            log.warning("%s; retrying in %.0f s", e, AWAY_SECONDS)
            self._submit_at = now + AWAY_SECONDS
            return

        self._had_one = True
        self._allocations |= {allocation_id: _Allocation(now) for allocation_id in ids}
        log.info("Slurm: %s submitted (%s)", number_of(count, "allocation"), ", ".join(ids))

    def _submit(self, count: int) -> list[str]:
        folder = str(self._folder).replace("%", "%%")  # % starts a pattern in `sbatch --output`
        return self._queue.submit(
            self._folder / "job.sh",
            self._name,
            f"{folder}/%A_%a.log",
            count,
            arguments=self._arguments,
        )

    def is_due(self) -> bool:
        """Return whether it is time to call `look`."""
        return self._clock() >= self._look_at

    def look(self, silent: Mapping[str, float]) -> list[LostAllocation]:
        """Query Slurm's queue, and return the allocations that have been lost.

        Args:
            silent: number of seconds since the last heartbeat of each slot, keyed by the name of
                the slot.
        """
        now = self._clock()
        self._look_at = now + QUEUE_SECONDS
        for slot, seconds in silent.items():
            allocation = self._allocations.get(slot.partition("-")[0])
            if allocation is not None and allocation.heard_at is not None:
                allocation.heard_at = max(allocation.heard_at, now - seconds)

        jobs = self._queue.jobs(self._name)
        if jobs is None:  # the controller is busy or unreachable; the jobs may still be running
            self._look_at = now + AWAY_SECONDS
            for allocation in self._allocations.values():
                allocation.listed_at = now
            return []

        jobs_by_id = {job.id: job for job in jobs}
        lost_allocations = []
        for allocation_id, allocation in list(self._allocations.items()):
            lost = self._update(allocation_id, allocation, jobs_by_id.get(allocation_id), now)
            if lost is not None:
                lost_allocations.append(lost)
        return lost_allocations

    def cancel(self) -> None:
        """Cancel all allocations."""
        self._queue.cancel(list(self._allocations))

    def _adopt(self, prefix: str) -> dict[str, _Allocation]:
        """Reuse allocations from an earlier session of this sweep.

        Allocations with different options are canceled.
        """
        alive_jobs = [job for job in self._queue.jobs(prefix) or [] if job.is_alive]
        reused = [job.id for job in alive_jobs if job.name == self._name]
        outdated = [job.id for job in alive_jobs if job.name != self._name]
        self._queue.cancel(outdated)

        if reused:
            log.info(
                "Slurm: reusing %s from an earlier session (%s)",
                number_of(len(reused), "allocation"),
                ", ".join(reused),
            )
        if outdated:
            log.info(
                "Slurm: canceled %s from an earlier session with different options (%s)",
                number_of(len(outdated), "allocation"),
                ", ".join(outdated),
            )
        return {allocation_id: _Allocation(self._clock()) for allocation_id in reused}

    def _update(
        self, allocation_id: str, allocation: _Allocation, job: QueuedJob | None, now: float
    ) -> LostAllocation | None:
        """Update an allocation with its state in the queue. Return it if it has been lost.

        Args:
            job: the allocation's job in the queue; None if the queue does not list it.
            now: current time, in seconds.
        """
        if job is None or job.may_wait_again:
            if now - allocation.listed_at > self._options.lost_after:
                return self._remove(allocation_id, "no longer in the queue")
            return None

        allocation.listed_at = now
        if job.is_over:
            return self._remove(allocation_id, job.state)

        if job.waits and allocation.heard_at is not None:  # Slurm has preempted or requeued it
            allocation.heard_at = None
            allocation.opened.clear()
            why = f"allocation {allocation_id} is queued again ({job.state})"
            return LostAllocation(allocation_id, why, unopened=0)

        if job.state == "RUNNING":
            allocation.heard_at = allocation.heard_at or now
            if now - allocation.heard_at > QUIET_SECONDS:
                self._queue.cancel([allocation_id])
                return self._remove(allocation_id, f"running, but silent for {QUIET_SECONDS:.0f} s")
        return None

    def _num_unopened(self, allocation: _Allocation) -> int:
        return max(0, self._options.tasks - len(allocation.opened))

    def _remove(self, allocation_id: str, why: str) -> LostAllocation:
        allocation = self._allocations.pop(allocation_id)
        description = f"allocation {allocation_id}: {why}; {self._last_words(allocation_id)}"
        return LostAllocation(allocation_id, description, self._num_unopened(allocation))

    def _last_words(self, allocation_id: str) -> str:
        """Return the last line of an allocation's log, if possible a line not from Slurm itself."""
        try:
            text = (self._folder / f"{allocation_id}.log").read_text(errors="replace")
        except OSError:
            return "its log is missing; set LENET_EXP_OUTPUTS to a folder that all nodes share"

        lines = [line.strip() for line in text.splitlines() if line.strip()]
        lines_of_program = [line for line in lines if not line.startswith(("srun:", "slurmstepd"))]
        if lines_of_program:
            return lines_of_program[-1]
        if lines:
            return lines[-1]
        return "it printed nothing"
