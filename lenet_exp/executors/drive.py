"""Drives an executor: submits jobs as long as there are any, and reports how each one ended."""

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
    """Run the jobs. A job is taken from `jobs` only when a place is free, so jobs can be created while the sweep is
    running.

    Args:
        jobs: the jobs to run. An item that is None means that no job is available until others have ended.
        max_failures: after this many failures in a row, start no more jobs and ask the running ones to stop. None:
            no limit.
        on_done: called with the end of every job, except for jobs that stop because others failed and jobs whose
            process is lost while stopping. These jobs resume in the next session. Return True to count the job as
            failed even though it returned a value.

    Raises:
        KeyboardInterrupt, Terminated: a signal asked the sweep to stop, and all running jobs have ended.
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
