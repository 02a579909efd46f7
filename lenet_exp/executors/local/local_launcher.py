"""A Hydra launcher: jobs side by side in processes that outlive any of them (lenet_exp.executors.local.pool)."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from lenet_exp.executors.executor import Executor, Work

log = logging.getLogger("hydra_plugins.lenet_exp_launcher")  # shown as hydra.hydra_logging says

TICK_SECONDS = 0.2


class JobLost(Exception):
    """A job's process died, or the job ran over its time limit."""


class NotStarted(Exception):
    """The sweep ended before the job's turn came."""


class LocalLauncher(Launcher):
    """Runs jobs in a `Pool`.

    `launch` serves Hydra's own sweeper and other apps; a sweep of ours drives the `executor`.
    """

    def __init__(
        self, workers: int | None, retries: int, time_limit: float | None, fail_fast: bool, max_failures: int | None
    ) -> None:
        self.workers = workers
        self.retries = retries
        self.time_limit = time_limit
        self.max_failures = 1 if fail_fast else max_failures
        self._job: Callable[[int, list[str]], JobReturn] | None = None
        self._config: DictConfig | None = None

    def executor(self, work: Work) -> Executor:
        """The pool for a sweep of ours, which drives it without Hydra's `launch`."""
        from lenet_exp.executors.local.pool_executor import PoolExecutor
        from lenet_exp.machine import cpu_count

        workers = self.workers or max(1, cpu_count() // work.cores)
        return PoolExecutor(work, workers, retries=self.retries, time_limit=self.time_limit)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from lenet_exp.executors.local.hydra_worker import run_hydra_job

        self._config = config
        self._job = partial(run_hydra_job, hydra_context, config, task_function)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from lenet_exp.executors.local.hydra_worker import prepare_worker, run_here
        from lenet_exp.executors.local.pool import Pool
        from lenet_exp.machine import cpu_count
        from lenet_exp.stopping import asked, before_leaving, graceful

        assert self._config is not None
        assert self._job is not None
        setup_globals()
        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        Path(str(self._config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        workers = self.workers or cpu_count()
        log.info("Launching %d jobs with %d workers", len(job_overrides), workers)
        returns = [JobReturn(overrides=o, status=JobStatus.FAILED, _return_value=NotStarted()) for o in job_overrides]
        failures = 0
        prepare = partial(prepare_worker, list(sys.argv), Singleton.get_state(), self._job)
        with (
            graceful(),
            Pool(
                min(workers, len(job_overrides)),
                retries=self.retries,
                time_limit=self.time_limit,
                prepare=prepare,
            ) as pool,
            before_leaving(pool.kill),
        ):
            for index, overrides in enumerate(job_overrides):
                log.info("\t#%d : %s", initial_job_idx + index, " ".join(filter_overrides(overrides)))
                pool.submit(index, run_here, initial_job_idx + index, list(overrides))
            left = len(job_overrides)
            while left:
                if asked() is not None:
                    pool.stop()
                done = pool.next_done(TICK_SECONDS)
                if done is None:
                    if asked() is not None and not pool.running:
                        break
                    continue
                left -= 1
                if done.lost is not None:
                    returns[done.job].return_value = JobLost(done.lost)
                elif done.error is not None:
                    returns[done.job].return_value = done.error
                else:
                    returns[done.job] = done.value
                failed = returns[done.job].status is not JobStatus.COMPLETED
                failures = failures + 1 if failed else 0
                if self.max_failures is not None and failures >= self.max_failures:
                    log.info("%d failures in a row: no more jobs are started", failures)
                    pool.stop()
                    while (done := pool.next_done()) is not None:
                        if done.lost is None and done.error is None:
                            returns[done.job] = done.value
                    break
        return returns
