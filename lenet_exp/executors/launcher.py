"""The common part of our launchers: each makes an executor, which a sweep drives."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from lenet_exp.errors import ConfigError

if TYPE_CHECKING:
    from lenet_exp.executors.executor import Executor, WorkSpec


class ExecutorLauncher(Launcher):
    """Args:
    workers, retries, time_limit, fail_fast, max_failures: as of `sweep.*`.
    options: further flags of `hydra.launcher`.
    """

    name: str  # after hydra/launcher=

    def __init__(
        self,
        workers: int | None,
        retries: int,
        time_limit: float | None,
        fail_fast: bool,
        max_failures: int | None,
        **options: Any,
    ) -> None:
        self.workers, self.retries, self.time_limit, self.options = workers, retries, time_limit, options
        self.max_failures = 1 if fail_fast else max_failures

    @abstractmethod
    def executor(self, work: WorkSpec) -> Executor:
        """A new executor.

        Raises:
            ConfigError: as of `check`.
        """

    def check(self, cores: int) -> None:
        """Checks what can be known before anything is written.

        Args:
            cores: of a job.

        Raises:
            ConfigError: its executor can't be had, or has no place for such a job.
        """

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Nothing of it is needed."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> NoReturn:
        """Raises:
        ConfigError: Hydra's own sweeper can't drive an executor.
        """
        allowed = "allowed with it is hydra/sweeper=grid or search; hydra/sweeper=basic takes hydra/launcher=basic"
        raise ConfigError(f"hydra/launcher={self.name}: {allowed}")
