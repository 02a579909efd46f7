"""hydra/launcher=local: the jobs of a sweep in processes of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lenet_exp.executors.launcher import ExecutorLauncher

if TYPE_CHECKING:
    from lenet_exp.executors.executor import Executor, WorkSpec


class LocalLauncher(ExecutorLauncher):
    """Gives a pool of processes to a sweep of ours."""

    name = "local"

    def executor(self, work: WorkSpec) -> Executor:
        """A pool with as many workers as were asked for, by default as there are cores for."""
        from lenet_exp.executors.local.pool_executor import PoolExecutor
        from lenet_exp.machine import cpu_count

        workers = self.workers or max(1, cpu_count() // work.cores)
        return PoolExecutor(work, workers, retries=self.retries, time_limit=self.time_limit)
