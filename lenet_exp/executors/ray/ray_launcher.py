"""hydra/launcher=cluster_ray: the jobs of a sweep on a Ray cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from lenet_exp.errors import ConfigError

if TYPE_CHECKING:
    from lenet_exp.executors.executor import Executor, Work
    from lenet_exp.executors.ray.cluster import RayOptions


class RayLauncher(Launcher):
    """Gives the executor of a Ray cluster to a sweep of ours."""

    def __init__(
        self,
        address: str | None,
        workers: int | None,
        cpus: float | None,
        gpus: float,
        memory: int | None,
        resources: Mapping[str, float],
        init: Mapping[str, Any],
        retries: int,
        time_limit: float | None,
        fail_fast: bool,
        max_failures: int | None,
    ) -> None:
        self.address = address
        self.workers = workers
        self.cpus, self.gpus, self.memory = cpus, gpus, memory
        self.resources = {str(name): float(value) for name, value in resources.items()}
        self.init = {str(name): value for name, value in init.items()}
        self.retries = retries
        self.time_limit = time_limit
        self.max_failures = 1 if fail_fast else max_failures

    def executor(self, work: Work) -> Executor:
        """Connects to the cluster, unless `check` has.

        Raises:
            ConfigError: as of `check`.
        """
        options = self._options(work.cores)
        from lenet_exp.executors.ray.ray_executor import RayExecutor

        return RayExecutor(work, options, retries=self.retries, time_limit=self.time_limit)

    def check(self, cores: int) -> None:
        """Connects to the cluster.

        Raises:
            ConfigError: Ray is not installed, the cluster can't be reached, or no node has what a run needs.
        """
        options = self._options(cores)
        from lenet_exp.executors.ray.cluster import Cluster

        Cluster(options)

    def _options(self, cores: int) -> RayOptions:
        try:
            from lenet_exp.executors.ray.cluster import RayOptions
        except ImportError as e:
            raise ConfigError("hydra/launcher=cluster_ray needs Ray: pip install 'lenet_exp[ray]'") from e
        cpus = cores if self.cpus is None else self.cpus
        return RayOptions(
            address=self.address,
            workers=self.workers,
            cpus=cpus,
            gpus=self.gpus,
            memory=self.memory,
            resources=self.resources,
            init=self.init,
        )

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Nothing of it is needed."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Raises:
        ConfigError: Hydra's own sweepers can't drive an executor.
        """
        raise ConfigError("hydra/launcher=cluster_ray: allowed with it is hydra/sweeper=grid or search")
