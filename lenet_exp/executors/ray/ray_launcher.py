"""The launcher `hydra/launcher=cluster_ray`, which runs the jobs of a sweep on a Ray cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lenet_exp.errors import ConfigError
from lenet_exp.executors.launcher import ExecutorLauncher

if TYPE_CHECKING:
    from lenet_exp.executors.executor import Executor
    from lenet_exp.executors.ray.cluster import RayOptions
    from lenet_exp.executors.work import WorkSpec


class RayLauncher(ExecutorLauncher):
    """Launcher that runs jobs on a Ray cluster.

    Its options are the fields of `RayOptions`. If `cpus` is None, each run has one CPU per thread.
    """

    name = "cluster_ray"

    def executor(self, work: WorkSpec) -> Executor:
        """Create the executor, and connect to the cluster unless `check` has already connected."""
        options = self._options(work.cores)
        from lenet_exp.executors.ray.ray_executor import RayExecutor

        return RayExecutor(work, options, retries=self.retries, time_limit=self.time_limit)

    def check(self, cores: int) -> None:
        """Connect to the cluster, and check that a node has the resources for a run.

        Args:
            cores: number of cores per job.

        Raises:
            ConfigError: Ray is not installed, the cluster cannot be reached, or no node has the
                resources for a run.
        """
        options = self._options(cores)
        from lenet_exp.executors.ray.cluster import Cluster

        Cluster(options)

    def _options(self, cores: int) -> RayOptions:
        try:
            from lenet_exp.executors.ray.cluster import RayOptions
        except ImportError as e:
            raise ConfigError(
                "hydra/launcher=cluster_ray: requires Ray; run: pip install 'lenet_exp[ray]'"
            ) from e

        options: dict[str, Any] = {}
        for name, value in self.options.items():
            if isinstance(value, Mapping):  # Ray cannot handle OmegaConf containers
                options[name] = dict(value)
            else:
                options[name] = value

        cpus = options.pop("cpus")
        if cpus is None:
            cpus = cores
        return RayOptions(workers=self.workers, cpus=cpus, **options)
