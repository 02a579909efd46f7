"""The interface of executors, which run a sweep's jobs in parallel on this machine or on a cluster."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol, Self

from lenet_exp.executors.places import Places
from lenet_exp.executors.work import JobEnd
from lenet_exp.folders.job import Job


class Executor(Protocol):
    """Runs jobs. Use an executor as a context manager, so that its processes and files are released."""

    @property
    def capacity(self) -> int:
        """Maximum number of jobs that run simultaneously. Additional jobs wait."""

    @property
    def running(self) -> Collection[int]:
        """Numbers of the running jobs."""

    def submit(self, job: Job) -> None:
        """Queue a job."""

    def next_done(self, timeout: float) -> JobEnd | None:
        """Wait for the next job to end. Return None after `timeout` seconds, or if all jobs have ended."""

    def stop(self) -> None:
        """Start no new jobs, and stop the running jobs gracefully. `next_done` still returns how they ended."""

    def kill(self) -> None:
        """Kill all running jobs immediately. Their checkpoints are kept."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class ClusterExecutor:
    """Base class of executors for clusters. They use `Places` to assign jobs to job slots on the cluster's machines."""

    _places: Places

    @property
    def running(self) -> set[int]:
        """Numbers of the jobs that have a slot."""
        return self._places.running

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._places.submit(job)

    def __enter__(self) -> Self:
        return self
