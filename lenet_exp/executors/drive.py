"""Drives an executor: submits jobs until none are left, and reports how each job ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from lenet_exp.executors.executor import Executor
from lenet_exp.executors.work import JobEnd
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
    """Run jobs with an executor until all jobs have ended.

    A job is requested from `jobs` only when the executor can start it, so jobs can be created while
    the sweep is running.

    Args:
        executor: executor that runs the jobs.
        jobs: jobs to run. An item that is None means that no job is available until other jobs have
            ended.
        max_failures: number of consecutive failures after which no new jobs are started and running
            jobs are stopped; None for no limit.
        on_done: function called with the end of each job. It is not called for jobs that are
            stopped because other jobs failed, or for jobs whose process is lost while they stop;
            these jobs resume in the next session. If the function returns True, the job counts as
            failed even if it returned a value.

    Raises:
        KeyboardInterrupt, Terminated: a signal stopped the sweep; all running jobs have ended.
    """
    waiting, flying, failures, gave_up = iter(jobs), set[int](), 0, False
    with graceful(), executor, on_forced_exit(executor.kill):
        while True:
            stopping = gave_up or stop_signal() is not None
            if stopping:
                executor.stop()
                flying.intersection_update(executor.running)
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
