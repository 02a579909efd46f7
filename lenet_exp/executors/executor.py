"""The interface of executors, which run a sweep's jobs in parallel on this machine or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from lenet_exp.data.images import SharedDataset
from lenet_exp.executors.local.pool import JobEnd
from lenet_exp.executors.places import Places
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


@dataclass(frozen=True)
class EpochReport:
    """Results of one epoch, which a running job reports to the sweep's process.

    Attributes:
        job: number of the job.
        epoch: number of the epoch, counted from 1. When an interrupted job resumes, earlier epochs are reported again.
        val_accuracy: validation accuracy, as a fraction.
        val_loss: validation loss.
    """

    job: int
    epoch: int
    val_accuracy: float
    val_loss: float


Ask = Callable[[EpochReport], bool | None]


@dataclass(frozen=True)
class RemoteWork:
    """Data that a process on another machine needs in addition to the sweep folder. It is stored as JSON.

    Attributes:
        argv: command of the sweep, as in `sys.argv`.
        environment: environment variables in `hydra.job.env_set`, which are set in each process.
        like: sample jobs as JSON values, one for each combination of dataset and engine.
    """

    argv: list[str]
    environment: dict[str, str]
    like: list[Any]


@dataclass(frozen=True)
class WorkSpec:
    """The work of an executor: functions that run jobs, and information about these jobs.

    Attributes:
        task: function called with each job, in the process that runs the job. If `answer` is set, the function also
            receives an `Ask`, which is a function that reports an epoch and returns whether to prune the run, or None
            if the sweep's process has died.
        prepare: function called once in each process, with the datasets, before the process runs its first job.
        sets: datasets of the jobs, in shared memory. Processes on this machine can map the memory if they inherit its
            file descriptors.
        cores: number of cores per job.
        jobs: number of jobs; None if the number is not known in advance.
        output: file for the stdout and stderr of the processes.
        answer: function that `next_done` calls in the sweep's own process, with each report; it returns whether to
            prune the run. It can receive the same report twice, for example after the loss of a process.
        remote: description of the work as plain data, for executors that cannot send Python objects to their processes.
    """

    task: Callable[..., object]
    prepare: Callable[[Sequence[SharedDataset]], object]
    sets: Sequence[SharedDataset]
    cores: int
    jobs: int | None
    output: Path
    answer: Ask | None = None
    remote: RemoteWork | None = None
