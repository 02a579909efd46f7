"""A process on a cluster machine that runs jobs of a sweep, one after another, in a child process.

The executor controls this process with messages. If this process dies, the running job writes a
checkpoint and ends (see `lenet_exp.executors.local.pool`), unless the cluster kills the job, too,
as Ray does. In this package, such a process is called a job slot, or a slot for short.
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

from lenet_exp.data.shared_memory import from_shared_memory, to_shared_memory
from lenet_exp.errors import ConfigError
from lenet_exp.executors.local.pool import PoolExecutor
from lenet_exp.executors.work import EpochReport, JobEnd, WorkSpec
from lenet_exp.folders.job import Job
from lenet_exp.machine import host, versions
from lenet_exp.package_files import source_digest
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
    """Description of a slot, which is a process that runs jobs on a cluster machine.

    Attributes:
        host: name of the machine.
        wrong: reason why the slot cannot use the outputs folder; empty if it can.
        lacks: reason why the slot has no native engine; empty if it has one or does not need one.
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
    arrays = []
    for dataset in work.sets:
        images = from_shared_memory(dataset.images).numpy()
        labels = from_shared_memory(dataset.labels).numpy()
        arrays.append((images, labels))

    asks = work.answer is not None
    sent_work = replace(work, answer=None, remote=None)
    return PortableWork(sent_work, arrays, time_limit, asks=asks, probe=probe)


def check_slot(slot: SlotInfo, folder: Path) -> None:
    """Check that a slot can run jobs and would give the same results as this machine.

    Args:
        slot: description of the slot.
        folder: outputs folder, for the message.

    Raises:
        ConfigError: the slot cannot run jobs, or would give different results.
    """
    node = f"node {slot.host}"
    if slot.wrong:
        raise ConfigError(
            f"{node} cannot use {folder} ({slot.wrong}); "
            "set LENET_EXP_OUTPUTS to a folder that all nodes share"
        )

    source_here = source_digest()
    if slot.source != source_here:
        raise ConfigError(
            f"{node} has a different version of lenet_exp ({slot.source[:12]}; "
            f"this machine has {source_here[:12]}); install the same version on every node"
        )

    torch_here = versions()["torch"]
    if slot.torch != torch_here:
        raise ConfigError(
            f"{node} has PyTorch {slot.torch}, but this machine has {torch_here}; "
            "install the same version on every node"
        )

    if slot.lacks:
        raise ConfigError(f"{node} has no native engine ({slot.lacks}); set engine=torch")
    if slot.data:
        raise ConfigError(f"{node}: {slot.data}")


class SlotProcess:
    """Runs one job at a time in a child process.

    Call `start`. If it returns an `EpochReport`, the job waits until you call `answer`. When the
    job ends, a `JobEnd` is returned.
    """

    def __init__(self, work: PortableWork) -> None:
        self._portable_work = work
        self._pool: PoolExecutor | None = None
        self._reports: queue.SimpleQueue[EpochReport | JobEnd | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._stopping = False

    def describe(self) -> SlotInfo:
        """Describe this process. Call this before the first job.

        If jobs need the native engine, this builds it.
        """
        lacks = ""
        if any(dataset.exact for dataset in self._portable_work.work.sets):
            lacks = why_no_kernels()
        wrong = _why_not_shared(*self._portable_work.probe)
        return SlotInfo(host(), wrong, lacks, source_digest(), torch=versions()["torch"])

    def start(self, job: Job) -> EpochReport | JobEnd | None:
        """Run a job until it reports an epoch or ends.

        Return None if the job was stopped before it started.
        """
        if self._pool is None:
            self._pool = self._new_pool()
        threading.Thread(target=self._run, args=(self._pool, job), daemon=True).start()
        return self._reports.get()

    def answer(self, answer: Any) -> EpochReport | JobEnd | None:
        """Pass the answer to the running job, and run it until it reports another epoch or ends."""
        self._answers.put(answer)
        return self._reports.get()

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
                self._reports.put(done)
                return

    def _ask(self, report: EpochReport) -> Any:
        """Return the answer to a report; None if the job is being stopped."""
        answer = None
        if not self._stopping:
            self._reports.put(report)
            answer = self._answers.get()
        if self._stopping and self._pool is not None:
            # before the answer, because the job would train more epochs until it is stopped
            self._pool.stop()
        return answer

    def _new_pool(self) -> PoolExecutor:
        portable_work = self._portable_work
        work = portable_work.work

        sets = []
        for dataset, (images, labels) in zip(work.sets, portable_work.arrays, strict=True):
            shared_images = to_shared_memory(torch.tensor(images))
            shared_labels = to_shared_memory(torch.tensor(labels))
            sets.append(replace(dataset, images=shared_images, labels=shared_labels))

        output = work.output.with_name(f"workers-{host()}.log")
        answer = self._ask if portable_work.asks else None
        # The cluster assigns GPUs, so `devices` is empty.
        local_work = replace(work, sets=sets, output=output, answer=answer, devices=())
        return PoolExecutor(local_work, 1, retries=0, time_limit=portable_work.time_limit)


def _why_not_shared(path: Path, content: str) -> str:
    """Return why this machine cannot share a folder with the executor; empty if it can.

    A folder is shared if it contains the executor's file and if this machine can write to the
    folder and lock files in it.

    Args:
        path: path of a file that the executor wrote to the folder.
        content: content of that file.
    """
    try:
        if path.read_text() != content:
            return "this node has a different folder at that path"
        # The name is unique, because other machines also check.
        own_file = path.with_name(f"{path.name}-{host()}-{os.getpid()}")
        with own_file.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(content)
        own_file.unlink()
    except FileNotFoundError:
        return "not found on this node"
    except OSError as e:
        return e.strerror or str(e)
    return ""
