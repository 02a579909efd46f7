"""Drives an executor: submits jobs until none are left, and reports how each job ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

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
    waiting = iter(jobs)
    submitted: set[int] = set()  # numbers of the jobs that have not ended
    failures_in_a_row = 0
    gave_up = False

    with graceful(), executor, on_forced_exit(executor.kill):
        while True:
            is_stopping = gave_up or stop_signal() is not None
            if is_stopping:
                executor.stop()
                submitted.intersection_update(executor.running)
            else:
                _submit_jobs(executor, waiting, submitted)
            if not submitted:
                return

            done = executor.next_done(TICK_SECONDS)
            if done is None:
                continue
            submitted.discard(done.job)
            was_lost_while_stopping = is_stopping and done.lost is not None and not done.over_limit
            if gave_up or was_lost_while_stopping:
                continue

            counts_as_failed = on_done(done)
            if counts_as_failed or done.lost is not None or done.error is not None:
                failures_in_a_row += 1
            else:
                failures_in_a_row = 0
            if max_failures is not None and failures_in_a_row >= max_failures:
                log.debug("%d failures in a row: no more jobs are started", failures_in_a_row)
                gave_up = True


def _submit_jobs(executor: Executor, waiting: Iterator[Job | None], submitted: set[int]) -> None:
    """Submit the next jobs until the executor has no free worker, or no job is available."""
    while len(submitted) < executor.capacity:
        job = next(waiting, None)
        if job is None:
            return
        executor.submit(job)
        submitted.add(job.number)
