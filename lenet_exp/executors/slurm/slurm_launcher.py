"""The launcher `hydra/launcher=cluster_slurm`, which runs jobs of a sweep on a Slurm cluster."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_exp.errors import ConfigError
from lenet_exp.executors.launcher import ExecutorLauncher
from lenet_exp.executors.slurm.options import (
    BEAT_SECONDS,
    SlurmOptions,
    allocation_arguments,
    allocation_script,
)

if TYPE_CHECKING:
    from lenet_exp.executors.executor import Executor
    from lenet_exp.executors.work import WorkSpec

# The module that a task of an allocation runs, and its first argument.
SLOT_TASK = ("lenet_exp.sweeps.slot_task", "slurm")


class SlurmLauncher(ExecutorLauncher):
    """Launcher that runs jobs on a Slurm cluster.

    Args:
        arguments: arguments of `ExecutorLauncher`, and fields of `SlurmOptions`. If `cpus` is
            None, each run has one CPU per thread.

    Raises:
        ConfigError: the value of an option is too small.
    """

    name = "cluster_slurm"

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        minimums = {"allocations": 1, "tasks": 1, "cpus": 1, "lost_after": 2 * BEAT_SECONDS}
        for name, value in self.options.items():
            minimum = minimums.get(name)
            if minimum is not None and value is not None and value < minimum:
                raise ConfigError(f"hydra.launcher.{name}={value:g}: must be at least {minimum:g}")

    def check(self, cores: int) -> None:
        """Check that Slurm would accept the allocations.

        Args:
            cores: number of cores per job.

        Raises:
            ConfigError: Slurm's commands were not found, or Slurm would refuse the allocations.
        """
        from lenet_exp.executors.slurm.queue import Queue

        options = self._options(cores)
        with tempfile.NamedTemporaryFile("w", prefix="lenet-", suffix=".sh") as script:
            script.write(allocation_script(options, ["true"]))
            script.flush()
            Queue().check(Path(script.name), allocation_arguments(options))

    def executor(self, work: WorkSpec) -> Executor:
        """Create the executor, which reuses allocations from an earlier session of the sweep."""
        from lenet_exp.executors.slurm.queue import Queue
        from lenet_exp.executors.slurm.slurm_executor import SlurmExecutor

        options = self._options(work.cores)
        command = [sys.executable, "-P", "-m", *SLOT_TASK]
        return SlurmExecutor(
            work, options, Queue(), command, retries=self.retries, time_limit=self.time_limit
        )

    def _options(self, cores: int) -> SlurmOptions:
        cpus = self.options["cpus"] or cores
        return SlurmOptions(**self.options | {"workers": self.workers, "cpus": cpus})
