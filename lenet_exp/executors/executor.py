"""Interface of executors, which run a sweep's jobs in parallel on this machine or a cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Collection, Sequence
from typing import Protocol, Self

from lenet_exp.executors.job_slots import Command, JobSlots
from lenet_exp.executors.work import JobEnd, WorkSpec
from lenet_exp.folders.job import Job


class Executor(Protocol):
    """Runs jobs. As a context manager, an executor releases its processes and files."""

    @property
    def capacity(self) -> int:
        """Maximum number of jobs that run simultaneously. Additional jobs wait."""

    @property
    def running(self) -> Collection[int]:
        """Numbers of the running jobs."""

    def submit(self, job: Job) -> None:
        """Queue a job."""

    def next_done(self, timeout: float) -> JobEnd | None:
        """Wait for the next job to end, and return how it ended.

        Return None after `timeout` seconds, or if all jobs have ended.
        """

    def stop(self) -> None:
        """Start no new jobs, and stop the running jobs gracefully.

        `next_done` still returns how they ended.
        """

    def kill(self) -> None:
        """Kill all running jobs immediately. Their checkpoints are kept."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class ClusterExecutor(ABC):
    """Base class of executors for clusters, which assign jobs to job slots with `JobSlots`.

    Args:
        name: name of the executor, for messages.
        work: functions that run the jobs, and information about the jobs.
        retries: number of times to retry a job whose process or node was lost.
        probe: name of a file that this process writes to the sweep folder, and that slots look
            for.
    """

    def __init__(self, name: str, work: WorkSpec, *, retries: int, probe: str) -> None:
        self._work = work
        self._slots = JobSlots(name, retries=retries)
        self._job_ends: deque[JobEnd] = deque()
        self._probe = work.output.with_name(probe)
        self._probe.write_text(probe)

    @property
    def running(self) -> set[int]:
        """Numbers of the jobs that have a slot."""
        return self._slots.running

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._slots.submit(job)

    def stop(self) -> None:
        """Start no new jobs, and stop the running jobs gracefully."""
        self._do(self._slots.stop())

    @abstractmethod
    def _do(self, commands: Sequence[Command]) -> None:
        """Execute commands of `JobSlots`."""

    def __enter__(self) -> Self:
        return self
