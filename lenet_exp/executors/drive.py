"""Drives an executor: gives it jobs while there are any, and hears how each ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from lenet_exp.executors.executor import Executor
from lenet_exp.executors.local.pool import JobEnd
from lenet_exp.folders.job import Job
from lenet_exp.stopping import graceful, on_forced_exit, stop_signal

TICK_SECONDS = 0.2

log = logging.getLogger("lenet_exp")


def drive(
    executor: Executor,
    jobs: Iterable[Job | None],
    *,
    max_failures: int | None,
    on_done: Callable[[JobEnd], bool | None],
) -> None:
    """Runs the jobs. They are asked for one at a time, when a place is free, so they may be made as it goes.

    Args:
        jobs: None among them: there is none now, and may be when others have ended.
        max_failures: after so many in a row no more are started, and the running ones are asked to end; None: any.
        on_done: is told how each ended, but for those that end because others failed, and those whose process was lost
            while they came to their end: they go on at the next start. True: it counts as a failure, even though it
            returned a value.

    Raises:
        KeyboardInterrupt, Terminated: a signal asked for the end, and the running jobs have come to theirs.
    """
    waiting, flying, failures, gave_up = iter(jobs), set[int](), 0, False
    with graceful(), executor, on_forced_exit(executor.kill):
        while True:
            stopping = gave_up or stop_signal() is not None
            if stopping:
                executor.stop()
                flying &= executor.running
            while not stopping and len(flying) < executor.capacity:
                job = next(waiting, None)
                if job is None:
                    break
                executor.submit(job)
                flying.add(job.number)
            if not flying:
                return
            done = executor.next_done(TICK_SECONDS)
            if done is None:
                continue
            flying.discard(done.job)
            if gave_up or (stopping and done.lost is not None and not done.over_limit):
                continue
            failed = on_done(done) or done.lost is not None or done.error is not None
            failures = failures + 1 if failed else 0
            if max_failures is not None and failures >= max_failures:
                log.debug("%d failures in a row: no more jobs are started", failures)
                gave_up = True
