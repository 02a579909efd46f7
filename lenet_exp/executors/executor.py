"""Where the jobs of a sweep run side by side: the processes of this machine, or a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from lenet_exp.data.images import SharedDataset
from lenet_exp.executors.local.pool import JobEnd
from lenet_exp.folders.job import Job


class Executor(Protocol):
    """Runs jobs; use it as a context, whose end lets go of all that it holds."""

    @property
    def capacity(self) -> int:
        """How many jobs run at once; more may be submitted, and wait."""

    @property
    def running(self) -> set[int]:
        """The numbers of the jobs that run now."""

    def submit(self, job: Job) -> None:
        """Queues a job."""

    def next_done(self, timeout: float) -> JobEnd | None:
        """Waits for the next job to end, and names it by its number; None after `timeout` seconds, or where nothing
        is left to wait for."""

    def stop(self) -> None:
        """Starts no more jobs and asks the running ones to come to an end; `next_done` still tells of them."""

    def kill(self) -> None:
        """Ends everything at once; what was committed stays."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


@dataclass(frozen=True)
class EpochReport:
    """An epoch of a job in training, as its process tells it to that of the sweep.

    Attributes:
        job: its number.
        epoch: from 1; after an interruption those that are committed are told once more.
        val_accuracy: a fraction.
    """

    job: int
    epoch: int
    val_accuracy: float
    val_loss: float


Ask = Callable[[EpochReport], bool | None]


@dataclass(frozen=True)
class RemoteWork:
    """The part of the work that a process on another machine needs besides the sweep's folder; JSON.

    Attributes:
        argv: the sweep's command.
        environment: what `hydra.job.env_set` sets in the processes.
        like: jobs, as their folder keeps them: one of each data set and engine.
    """

    argv: list[str]
    environment: dict[str, str]
    like: list[Any]


@dataclass(frozen=True)
class WorkSpec:
    """The facts about coming jobs that an executor needs.

    Attributes:
        task: what is done with a job, wherever it runs. Where there is an `answer`, it gets an `Ask` besides, by which
            it tells each epoch, and waits for what the sweep's process says: whether the run is pruned (None: that
            process is gone).
        prepare: called once in each process, before its first job, with the data sets.
        sets: the jobs' data sets, in memory that processes of this machine map if they inherit its descriptors.
        cores: of one job.
        jobs: how many there are; None: as many as there will be.
        output: file for what the processes print.
        answer: called in the sweep's own process, in `next_done`; the same report may come again, as after a loss.
        elsewhere: for an executor whose processes can be sent nothing.
    """

    task: Callable[..., object]
    prepare: Callable[[Sequence[SharedDataset]], object]
    sets: Sequence[SharedDataset]
    cores: int
    jobs: int | None
    output: Path
    answer: Ask | None = None
    remote: RemoteWork | None = None
