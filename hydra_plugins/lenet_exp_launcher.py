"""Hydra launchers of lenet_exp.

Their base classes are in other modules, because Hydra can load this module twice.
"""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore

from lenet_exp.executors.local import local_launcher
from lenet_exp.executors.ray import ray_launcher
from lenet_exp.executors.slurm import slurm_launcher
from lenet_exp.executors.slurm.options import SlurmOptions


@dataclass
class LocalLauncherConf:
    """Options of `hydra/launcher=local`."""

    _target_: str = "hydra_plugins.lenet_exp_launcher.LocalLauncher"
    # Number of parallel jobs; null for as many as the cores allow.
    workers: Any = "${oc.select:sweep.workers,null}"
    # Number of retries for a job whose process died.
    retries: Any = "${oc.select:sweep.retries,1}"
    # Maximum duration of a job, in seconds; null for no limit.
    time_limit: Any = "${oc.select:sweep.time_limit,null}"
    # Number of consecutive failures before the sweep stops; null for no limit.
    max_failures: Any = "${oc.select:sweep.max_failures,null}"


@dataclass
class RayLauncherConf(LocalLauncherConf):
    """Options of `hydra/launcher=cluster_ray`.

    If `workers` is null, the cluster limits the number of workers.
    """

    _target_: str = "hydra_plugins.lenet_exp_launcher.RayLauncher"
    # auto, host:port, or ray://host:port; null to start Ray on this machine.
    address: str | None = None
    cpus: float | None = None  # CPUs per run; null for the run's number of threads
    gpus: float = 0.0  # GPUs per run; can be a fraction
    memory: int | None = None  # bytes per run
    resources: dict[str, float] = field(default_factory=dict)  # custom Ray resources per run
    init: dict[str, Any] = field(default_factory=dict)  # additional arguments for ray.init


@dataclass
class SlurmLauncherConf(LocalLauncherConf, SlurmOptions):
    """Options of `hydra/launcher=cluster_slurm`.

    The default number of workers is `allocations` times `tasks`.
    """

    _target_: str = "hydra_plugins.lenet_exp_launcher.SlurmLauncher"


ConfigStore.instance().store(
    group="hydra/launcher", name="local", node=LocalLauncherConf, provider="lenet_exp"
)


class LocalLauncher(local_launcher.LocalLauncher):
    """The launcher `hydra/launcher=local`, in this module because Hydra looks for launchers
    here.
    """


ConfigStore.instance().store(
    group="hydra/launcher", name="cluster_ray", node=RayLauncherConf, provider="lenet_exp"
)


class RayLauncher(ray_launcher.RayLauncher):
    """The launcher `hydra/launcher=cluster_ray`, in this module because Hydra looks for
    launchers here.
    """


ConfigStore.instance().store(
    group="hydra/launcher", name="cluster_slurm", node=SlurmLauncherConf, provider="lenet_exp"
)


class SlurmLauncher(slurm_launcher.SlurmLauncher):
    """The launcher `hydra/launcher=cluster_slurm`, in this module because Hydra looks for
    launchers here.
    """
