"""Functions that workers run in the tests of the pool, in a module that a new worker can import."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_exp.executors.local.pool import PoolExecutor
from lenet_exp.executors.work import EpochReport, WorkSpec
from lenet_exp.stopping import Terminated, graceful, stop_signal

if TYPE_CHECKING:
    from lenet_exp.folders.job import Job

prepared: list[object] = []  # an entry for each call of `prepare` in this process
slots: list[int] = []  # the slot of this worker
selected: list[int] = []  # CUDA devices that this process selected


@dataclass(frozen=True)
class Call:
    """A job that calls a function."""

    number: int
    function: Callable[..., Any]
    arguments: Sequence[Any]
    name: str = "job"


def call(job: Call, *ask: Callable[[Any], Any]) -> object:
    return job.function(*job.arguments, *ask)


def prepare(sets: object) -> None:
    """Record the call in this process."""
    prepared.append(sets)


def prepare_slowly(sets: object) -> None:
    time.sleep(2)


def pool(
    *calls: Sequence[Any],
    prepare: Callable[..., None] = prepare,
    workers: int = 1,
    retries: int = 0,
    time_limit: float | None = None,
    **work: Any,
) -> PoolExecutor:
    """Return a pool with a queued job for each call (function, arguments...)."""
    work = {"cores": 1, "jobs": None, "output": Path(os.devnull)} | work
    spec = WorkSpec(call, prepare, [], **work)
    executor = PoolExecutor(spec, workers, retries=retries, time_limit=time_limit)
    for number, (function, *arguments) in enumerate(calls):
        executor.submit(Call(number, function, arguments))
    return executor


def prepare_with_gpus(prepare: Callable[[], object], devices: Sequence[int], slot: int) -> None:
    """Prepare as a sweep's worker does, on a machine with these CUDA devices."""
    import torch

    from lenet_exp.executors.local.devices import prepare_worker

    torch.cuda.set_device = selected.append
    slots.append(slot)
    prepare_worker(prepare, devices, slot)


def where(n: int) -> tuple[int, int, int, int]:
    """Return `n`, the process, its session, and the number of calls of `prepare` in it."""
    return n, os.getpid(), os.getsid(0), len(prepared)


def meet(folder: Path, n: int, others: int) -> tuple[int, list[int]]:
    """Wait until so many other jobs have started, and return the slot and the selected devices of
    this worker.
    """
    (folder / f"met-{n}").touch()
    while len(list(folder.glob("met-*"))) <= others:
        time.sleep(0.01)
    return slots[0], selected


def die_and_meet(folder: Path, n: int, others: int) -> tuple[int, list[int]]:
    """Die in the first attempt; in the second, `meet`."""
    die(-signal.SIGKILL, str(folder))
    return meet(folder, n, others)


def double(n: int) -> int:
    return 2 * n


def prepare_with(sets: object) -> None:
    """Prepare nothing."""


def number_of(job: Job) -> float:
    return job.number


def report_until_stopped(file: str, job: Job, ask: Callable[[EpochReport], object]) -> None:
    """Report epochs until stopped, and write a line to `file` for each."""
    with graceful(), open(file, "a", buffering=1) as lines:
        while stop_signal() is None:
            lines.write("epoch\n")
            ask(EpochReport(job.number, 1, 0.5, 1.0))


def fail(text: str) -> None:
    raise ValueError(text)


class Unreadable(Exception):
    """An exception that cannot be unpickled, because its constructor takes two arguments."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


def fail_unreadably() -> None:
    raise Unreadable(1, 2)


def die(how: int, folder: str = "") -> str:
    """End the process by a signal (negative) or with a status; with `folder`, only in the first
    attempt.
    """
    if folder:
        try:
            (Path(folder) / "tried").touch(exist_ok=False)
        except FileExistsError:
            return "second try"
    if how < 0:
        os.kill(os.getpid(), -how)
        time.sleep(60)
    os._exit(how)


def overflow_the_stack() -> None:
    """Cause a real segmentation fault."""
    import ctypes

    ctypes.string_at(0)


def wait_for_the_end(file: str) -> str:
    """Write the process ID to `file`, and sleep until SIGTERM, which is recorded in `file`."""
    Path(file).write_text(str(os.getpid()))
    try:
        time.sleep(600)
    except Terminated:
        Path(file).write_text("ended cleanly")
        raise
    return "slept"


def never_end(file: str) -> None:
    """Ignore SIGTERM, and start a child that ignores it, too."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sleep = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", sleep])
    Path(file).write_text(f"{os.getpid()} {child.pid}")
    time.sleep(600)


def shout(text: str) -> None:
    print(text, flush=True)
    print(text, file=sys.stderr, flush=True)


def pool_of_waiting(file: str) -> None:
    """Run a pool whose only job waits for SIGTERM."""
    with pool((wait_for_the_end, file)) as executor:
        executor.next_done(60)


def pool_of_starting(file: str, started: str) -> None:
    """Run a pool with a job, and write the ID of its slowly starting worker to `started`."""
    with pool((wait_for_the_end, file), prepare=prepare_slowly) as executor:
        executor.next_done(0.01)
        Path(started).write_text(str(executor.running[0]))
        executor.next_done(60)


def sum_of_answers(n: int, ask: Callable[[int], int]) -> int:
    """Ask `n` questions and return the sum of the answers."""
    return sum(ask(question) for question in range(n))


def ask_and_die(died: Path, ask: Callable[[int], int]) -> int:
    """Ask a question; in the first attempt, die after the answer."""
    answer = ask(1)
    if not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return answer
