"""The launcher `hydra/launcher=local`, which runs jobs of a sweep in processes on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lenet_exp.executors.launcher import ExecutorLauncher

if TYPE_CHECKING:
    from lenet_exp.executors.executor import Executor
    from lenet_exp.executors.work import WorkSpec


class LocalLauncher(ExecutorLauncher):
    """Launcher that runs jobs in a pool of processes on this machine."""

    name = "local"
    on_this_machine = True

    def executor(self, work: WorkSpec) -> Executor:
        """Create a pool of worker processes.

        Its default size is the number of jobs that the machine's cores allow.
        """
        from lenet_exp.executors.local.pool import PoolExecutor
        from lenet_exp.machine import cpu_count

        workers = self.workers or max(1, cpu_count() // work.cores)
        return PoolExecutor(work, workers, retries=self.retries, time_limit=self.time_limit)
