"""A process on a cluster machine that runs jobs of a sweep, one after another, in a child process.

The executor controls this process with messages. If this process dies, the running job writes a
checkpoint and ends (see `lenet_exp.executors.local.pool`), unless the cluster kills the job, too,
as Ray does. In this package, such a process is called a place.
"""

from __future__ import annotations

import fcntl
import os
import queue
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lenet_exp.config.package_files import source_digest
from lenet_exp.data.shared_memory import from_shared_memory, to_shared_memory
from lenet_exp.errors import ConfigError
from lenet_exp.executors.local.pool import PoolExecutor
from lenet_exp.executors.work import EpochReport, JobEnd, WorkSpec
from lenet_exp.folders.job import Job
from lenet_exp.machine import host, versions
from lenet_exp.training.native.library import why_no_kernels

TICK_SECONDS = 0.2


@dataclass(frozen=True)
class PortableWork:
    """A `WorkSpec` that can be sent to other machines, because its datasets are ordinary arrays.

    Attributes:
        work: the work, without `answer` and `remote`.
        arrays: images and labels of each dataset in `work.sets`.
        time_limit: maximum duration of a job, in seconds; None for no limit.
        asks: whether jobs report epochs and wait for answers; see `WorkSpec.answer`.
        probe: path of a file that the executor wrote to the outputs folder, and the content of the
            file.
    """

    work: WorkSpec
    arrays: list[tuple[NDArray[np.float32], NDArray[np.int64]]]
    time_limit: float | None
    asks: bool
    probe: tuple[Path, str]


@dataclass(frozen=True)
class SlotInfo:
    """Description of a place, which is a process that runs jobs on a cluster machine.

    Attributes:
        host: name of the machine.
        wrong: reason why the place cannot use the outputs folder; empty if it can.
        lacks: reason why the place has no native engine; empty if it has one or does not need one.
        source: digest of lenet_exp's source.
        torch: version of torch.
        data: description of a dataset that is missing or different on the machine; empty if all
            datasets match or were sent with the work.
    """

    host: str
    wrong: str
    lacks: str
    source: str
    torch: str
    data: str = ""


def portable_work(
    work: WorkSpec, probe: tuple[Path, str], time_limit: float | None
) -> PortableWork:
    """Convert a `WorkSpec` into a form that can be sent to other machines."""
    arrays = [
        (from_shared_memory(s.images).numpy(), from_shared_memory(s.labels).numpy())
        for s in work.sets
    ]
    asks = work.answer is not None
    return PortableWork(
        replace(work, answer=None, remote=None), arrays, time_limit, asks=asks, probe=probe
    )


def check_place(place: SlotInfo, folder: Path) -> None:
    """Check that a place on another machine can run jobs and would give the same results as this
    machine.

    Args:
        place: description of the place.
        folder: outputs folder, for the message.

    Raises:
        ConfigError: the place cannot run jobs, or would give different results.
    """
    where = f"node {place.host}"
    if place.wrong:
        raise ConfigError(
            f"{where} cannot use {folder} ({place.wrong}); set LENET_EXP_OUTPUTS to a folder that all nodes share"
        )
    if place.source != source_digest():
        here = source_digest()[:12]
        raise ConfigError(
            f"{where} has a different version of lenet_exp ({place.source[:12]}; this machine has {here}); "
            "install the same version on every node"
        )
    if place.torch != versions()["torch"]:
        raise ConfigError(
            f"{where} has PyTorch {place.torch}, but this machine has {versions()['torch']}; install the same version "
            "on every node"
        )
    if place.lacks:
        raise ConfigError(f"{where} has no native engine ({place.lacks}); set engine=torch")
    if place.data:
        raise ConfigError(f"{where}: {place.data}")


class SlotProcess:
    """Runs one job at a time in a child process.

    Call `start`. If it returns an `EpochReport`, the job waits until you call `answer`. When the
    job ends, a `JobEnd` is returned.
    """

    def __init__(self, given: PortableWork) -> None:
        self._given = given
        self._pool: PoolExecutor | None = None
        self._said: queue.SimpleQueue[EpochReport | JobEnd | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._stopping = False

    def describe(self) -> SlotInfo:
        """Build the native engine if jobs need it, and describe this process. Call this before the
        first job.
        """
        lacks = why_no_kernels() if any(shared.exact for shared in self._given.work.sets) else ""
        return SlotInfo(
            host(), _wrong(*self._given.probe), lacks, source_digest(), torch=versions()["torch"]
        )

    def start(self, job: Job) -> EpochReport | JobEnd | None:
        """Run a job until it reports an epoch or ends. Return None if the job was stopped before it
        started.
        """
        if self._pool is None:
            self._pool = self._new_pool()
        threading.Thread(target=self._run, args=(self._pool, job), daemon=True).start()
        return self._said.get()

    def answer(self, answer: Any) -> EpochReport | JobEnd | None:
        """Pass the answer to the running job, and run it until it reports another epoch or ends."""
        self._answers.put(answer)
        return self._said.get()

    def stop(self) -> None:
        """Stop the running job gracefully. `start` or `answer` still returns its `JobEnd`."""
        self._stopping = True  # `_run` stops the pool, because a pool is not thread-safe
        self._answers.put(None)  # unblocks a job that is waiting for an answer

    def close(self) -> None:
        """Immediately kill the child process and the job that it is running."""
        if self._pool is not None:
            self._pool.kill()
            self._pool.close()

    def _run(self, pool: PoolExecutor, job: Job) -> None:
        pool.submit(job)
        while True:
            if self._stopping:
                pool.stop()
            done = pool.next_done(TICK_SECONDS)
            if done is not None or (self._stopping and not pool.running):
                self._said.put(done)
                return

    def _ask(self, report: EpochReport) -> Any:
        """Return the answer to a report; None if the job is being stopped."""
        answer = None
        if not self._stopping:
            self._said.put(report)
            answer = self._answers.get()
        if self._stopping and self._pool is not None:
            # before the answer, because the job would train more epochs until it is stopped
            self._pool.stop()
        return answer

    def _new_pool(self) -> PoolExecutor:
        given, work = self._given, self._given.work
        sets = [
            replace(
                s,
                images=to_shared_memory(torch.tensor(images)),
                labels=to_shared_memory(torch.tensor(labels)),
            )
            for s, (images, labels) in zip(work.sets, given.arrays, strict=True)
        ]
        output, answer = (
            work.output.with_name(f"workers-{host()}.log"),
            self._ask if given.asks else None,
        )
        work = replace(
            work, sets=sets, output=output, answer=answer, devices=()
        )  # the cluster assigns GPUs
        return PoolExecutor(work, 1, retries=0, time_limit=given.time_limit)


def _wrong(path: Path, content: str) -> str:
    """Return the reason why this machine cannot share a folder with the executor; empty if it can.

    A folder is shared if it contains the executor's file and if this machine can write to the
    folder and lock files in it.

    Args:
        path: path of a file that the executor wrote to the folder.
        content: content of that file.
    """
    try:
        if path.read_text() != content:
            return "this node has a different folder at that path"
        aside = path.with_name(
            f"{path.name}-{host()}-{os.getpid()}"
        )  # unique, because other machines also check
        with aside.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(content)
        aside.unlink()
    except FileNotFoundError:
        return "not found on this node"
    except OSError as e:
        return e.strerror or str(e)
    return ""
