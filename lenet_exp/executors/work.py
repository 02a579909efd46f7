"""The work of an executor, and what it reports: the epochs of its jobs, and how they ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lenet_exp.data.images import SharedDataset


@dataclass(frozen=True)
class JobEnd:
    """The end of a job: it returned a value, raised an exception, or was lost.

    Attributes:
        job: number of the job, as submitted.
        value: value that the job returned.
        error: exception that the job raised; None if it raised no exception.
        lost: reason why the job was lost, such as `killed by SIGKILL`; None if it was not lost.
        over_limit: whether the job was lost because it exceeded the time limit.
    """

    job: int
    value: Any = None
    error: BaseException | None = None
    lost: str | None = None
    over_limit: bool = False


@dataclass(frozen=True)
class EpochReport:
    """Results of one epoch, which a running job reports to the sweep's process.

    Attributes:
        job: number of the job.
        epoch: number of the epoch, counted from 1. When an interrupted job resumes, earlier epochs
            are reported again.
        value: value of the metric, by default the validation accuracy as a fraction.
        val_loss: validation loss.
    """

    job: int
    epoch: int
    value: float
    val_loss: float


Ask = Callable[[EpochReport], bool | None]


@dataclass(frozen=True)
class RemoteWork:
    """Data that a process on another machine needs in addition to the sweep folder. It is stored as
    JSON.

    Attributes:
        argv: command of the sweep, as in `sys.argv`.
        environment: environment variables in `hydra.job.env_set`, which are set in each process.
        sample_jobs: sample jobs as JSON values, one for each combination of dataset and engine.
    """

    argv: list[str]
    environment: dict[str, str]
    sample_jobs: list[Any]


@dataclass(frozen=True)
class WorkSpec:
    """The work of an executor: functions that run jobs, and information about these jobs.

    Attributes:
        task: function called with each job, in the process that runs the job. If `answer` is set,
            the function also receives an `Ask`, which is a function that reports an epoch and
            returns whether to prune the run, or None if the sweep's process has died.
        prepare: function called once in each process, with the datasets, before the process runs
            its first job.
        sets: datasets of the jobs, in shared memory. Processes on this machine can map the memory
            if they inherit its file descriptors.
        cores: number of cores per job.
        jobs: number of jobs; None if the number is not known in advance.
        output: file for the stdout and stderr of the processes.
        answer: function that `next_done` calls in the sweep's own process, with each report; it
            returns whether to prune the run. It can receive the same report twice, for example
            after the loss of a process.
        remote: description of the work as plain data, for executors that cannot send Python objects
            to their processes.
        devices: CUDA devices that processes on this machine use in turn; empty if they do not
            select a device.
    """

    task: Callable[..., object]
    prepare: Callable[[Sequence[SharedDataset]], object]
    sets: Sequence[SharedDataset]
    cores: int
    jobs: int | None
    output: Path
    answer: Ask | None = None
    remote: RemoteWork | None = None
    devices: Sequence[int] = ()
