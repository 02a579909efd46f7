"""Base class of lenet_exp's launchers, which create the executor to which a sweep submits jobs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from lenet_exp.errors import ConfigError

if TYPE_CHECKING:
    from lenet_exp.executors.executor import Executor
    from lenet_exp.executors.work import WorkSpec


class ExecutorLauncher(Launcher):
    """A launcher that creates an executor.

    Args:
        workers, retries, time_limit, max_failures: values of the `sweep.*` flags with these names.
        options: additional options of the launcher.
    """

    name: str  # the value for hydra/launcher=
    on_this_machine = False  # whether all jobs run on this machine

    def __init__(
        self,
        workers: int | None,
        retries: int,
        time_limit: float | None,
        max_failures: int | None,
        **options: Any,
    ) -> None:
        self.workers = workers
        self.retries = retries
        self.time_limit = time_limit
        self.max_failures = max_failures
        self.options = options

    @abstractmethod
    def executor(self, work: WorkSpec) -> Executor:
        """Create the executor to which the sweep submits its jobs.

        Args:
            work: functions that run the jobs, and information about the jobs.

        Raises:
            ConfigError: the executor is not available, or cannot run jobs with `work.cores` cores.
        """

    def check(self, cores: int) -> None:
        """Check that jobs can be launched. A sweep calls this method before it writes any files.

        Args:
            cores: number of cores per job.

        Raises:
            ConfigError: the executor is not available, or cannot run jobs with this number of
                cores.
        """

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Ignore the configuration. Hydra requires this method."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> NoReturn:
        """Raise an error, because Hydra's own sweeper cannot use an executor.

        Raises:
            ConfigError: always raised.
        """
        raise ConfigError(
            f"hydra/launcher={self.name}: must be used with hydra/sweeper=grid or search; "
            "with hydra/sweeper=basic, use hydra/launcher=basic"
        )
