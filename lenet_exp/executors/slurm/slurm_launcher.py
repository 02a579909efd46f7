"""hydra/launcher=cluster_slurm: the jobs of a sweep in allocations of a Slurm cluster."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from lenet_exp.errors import ConfigError

if TYPE_CHECKING:
    from lenet_exp.executors.executor import Executor, Work
    from lenet_exp.executors.slurm.options import SlurmOptions

LEAST_LOST_AFTER = 5.0  # a place is heard of every 5 s
Given = Mapping[str, str | int | float | bool | None]


class SlurmLauncher(Launcher):
    """Gives the executor of a Slurm cluster to a sweep of ours."""

    def __init__(
        self,
        allocations: int,
        tasks: int,
        cpus: int | None,
        partition: str | None,
        account: str | None,
        time: str | None,
        requeue: bool,
        sbatch: Given,
        driver: Given,
        before: Sequence[str],
        lost_after: float,
        workers: int | None,
        retries: int,
        time_limit: float | None,
        fail_fast: bool,
        max_failures: int | None,
    ) -> None:
        self.allocations, self.tasks, self.cpus = allocations, tasks, cpus
        self.partition, self.account, self.time, self.requeue = partition, account, time, requeue
        self.sbatch, self.driver = ({str(k): v for k, v in given.items()} for given in (sbatch, driver))
        self.before = [str(line) for line in before]
        self.lost_after = lost_after
        self.workers, self.retries, self.time_limit = workers, retries, time_limit
        self.max_failures = 1 if fail_fast else max_failures
        for name, least in (("allocations", 1), ("tasks", 1), ("cpus", 1), ("lost_after", 2 * LEAST_LOST_AFTER)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"hydra.launcher.{name}={value:g}: allowed is {least:g} or more")

    def check(self, cores: int) -> None:
        """Asks Slurm whether it would take the allocations.

        Raises:
            ConfigError: Slurm's commands are not there, or it refuses.
        """
        from lenet_exp.executors.slurm.options import allocation_arguments, allocation_script
        from lenet_exp.executors.slurm.queue import SlurmQueue

        options = self.options(cores)
        with tempfile.NamedTemporaryFile("w", prefix="lenet-", suffix=".sh") as script:
            script.write(allocation_script(options, ["true"]))
            script.flush()
            SlurmQueue().check(Path(script.name), allocation_arguments(options))

    def executor(self, work: Work) -> Executor:
        """Takes over what an earlier start of the sweep left in the queue.

        Raises:
            ConfigError: Slurm's commands are not there.
        """
        from lenet_exp.executors.slurm.queue import SlurmQueue
        from lenet_exp.executors.slurm.slurm_executor import SlurmExecutor

        return SlurmExecutor(
            work,
            self.options(work.cores),
            SlurmQueue(),
            [sys.executable, "-P", "-m"],
            retries=self.retries,
            time_limit=self.time_limit,
        )

    def options(self, cores: int) -> SlurmOptions:
        """Args:
        cores: of a run.
        """
        from lenet_exp.executors.slurm.options import SlurmOptions

        return SlurmOptions(
            allocations=self.allocations,
            tasks=self.tasks,
            cpus=self.cpus or cores,
            partition=self.partition,
            account=self.account,
            time=self.time,
            requeue=self.requeue,
            sbatch=self.sbatch,
            before=self.before,
            lost_after=self.lost_after,
            workers=self.workers,
        )

    def detach(self, sweep: Path, command: Sequence[str], cores: int) -> str:
        """Submits a job that drives the sweep where nobody waits for it; its id.

        Raises:
            ConfigError: Slurm's commands are not there, or it refuses that job.
        """
        from lenet_exp.executors.slurm.driver import submit_driver

        return submit_driver(sweep, command, self.options(cores), self.driver)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Nothing of it is needed."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Raises:
        ConfigError: Hydra's own sweepers can't drive an executor.
        """
        raise ConfigError("hydra/launcher=cluster_slurm: allowed with it is hydra/sweeper=grid or search")
