"""The interface of executors, which run the jobs of a sweep in parallel, on this machine or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from lenet_exp.data.images import SharedDataset
from lenet_exp.executors.local.pool import JobEnd
from lenet_exp.executors.places import Places
from lenet_exp.folders.job import Job


class Executor(Protocol):
    """Runs jobs. Use it as a context manager; leaving the context releases everything it holds."""

    @property
    def capacity(self) -> int:
        """The maximum number of jobs that run simultaneously. Additional jobs wait."""

    @property
    def running(self) -> set[int]:
        """The numbers of the jobs that are running."""

    def submit(self, job: Job) -> None:
        """Queue a job."""

    def next_done(self, timeout: float) -> JobEnd | None:
        """Wait for the next job to end. Return None after `timeout` seconds, or if no job is left to wait for."""

    def stop(self) -> None:
        """Start no more jobs and ask the running ones to stop; `next_done` still returns them."""

    def kill(self) -> None:
        """Kill all running jobs immediately. Their checkpoints are kept."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class ClusterExecutor:
    """A base class for executors whose `Places` decide which job runs where."""

    _places: Places

    @property
    def running(self) -> set[int]:
        """The numbers of the jobs that have a place."""
        return self._places.running

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._places.submit(job)

    def __enter__(self) -> Self:
        return self


@dataclass(frozen=True)
class EpochReport:
    """One epoch of a running job, as its process reports it to the sweep's process.

    Attributes:
        job: number of the job.
        epoch: counted from 1; after an interruption, epochs that have a checkpoint are reported again.
        val_accuracy: a fraction.
    """

    job: int
    epoch: int
    val_accuracy: float
    val_loss: float


Ask = Callable[[EpochReport], bool | None]


@dataclass(frozen=True)
class RemoteWork:
    """The data that a process on another machine needs in addition to the sweep folder. It is stored as JSON.

    Attributes:
        argv: the sweep's command.
        environment: the variables of `hydra.job.env_set`, which are set in the processes.
        like: for each combination of dataset and engine, one job as stored in its folder.
    """

    argv: list[str]
    environment: dict[str, str]
    like: list[Any]


@dataclass(frozen=True)
class WorkSpec:
    """The facts about upcoming jobs that an executor needs.

    Attributes:
        task: a function that is called with each job, wherever it runs. If there is an `answer`, it also gets an `Ask`.
            This function reports an epoch and returns whether to prune the run, or None if the sweep's process is gone.
        prepare: called once in each process, before its first job, with the datasets.
        sets: the jobs' datasets, in shared memory that processes on this machine can map if they inherit its file
            descriptors.
        cores: number of cores per job.
        jobs: number of jobs; None if the number is not known in advance.
        output: file for stdout and stderr of the processes.
        answer: called in the sweep's own process, within `next_done`. A report can arrive twice, for example after a
            lost process.
        remote: the same work as data, for executors that cannot send Python objects to their processes.
    """

    task: Callable[..., object]
    prepare: Callable[[Sequence[SharedDataset]], object]
    sets: Sequence[SharedDataset]
    cores: int
    jobs: int | None
    output: Path
    answer: Ask | None = None
    remote: RemoteWork | None = None
