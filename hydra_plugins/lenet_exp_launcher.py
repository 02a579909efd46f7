"""The launchers of ours. Hydra may load a plugin's module twice, so the classes live elsewhere."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore

from lenet_exp.executors.local import local_launcher
from lenet_exp.executors.ray import ray_launcher
from lenet_exp.executors.slurm import slurm_launcher
from lenet_exp.executors.slurm.options import SlurmOptions


@dataclass
class LocalLauncherConf:
    _target_: str = "hydra_plugins.lenet_exp_launcher.LocalLauncher"
    workers: Any = "${oc.select:sweep.workers,null}"  # at once; null: the machine's cores
    retries: Any = "${oc.select:sweep.retries,1}"  # of a job whose process died
    time_limit: Any = "${oc.select:sweep.time_limit,null}"  # seconds a job
    fail_fast: Any = "${oc.select:sweep.fail_fast,false}"
    max_failures: Any = "${oc.select:sweep.max_failures,null}"  # in a row


@dataclass
class RayLauncherConf(LocalLauncherConf):
    """Workers: as many as the cluster has room for, where they are null."""

    _target_: str = "hydra_plugins.lenet_exp_launcher.RayLauncher"
    address: str | None = None  # of a cluster: auto, host:port, ray://host:port; null: one of this machine's own
    cpus: float | None = None  # of a run; null: its threads
    gpus: float = 0.0  # of a run; may be a share of one
    memory: int | None = None  # of a run, in bytes
    resources: dict[str, float] = field(default_factory=dict)  # of a run, as Ray's nodes name them
    init: dict[str, Any] = field(default_factory=dict)  # further arguments of ray.init


@dataclass
class SlurmLauncherConf(LocalLauncherConf, SlurmOptions):
    """Workers: allocations * tasks in all, where they are null."""

    _target_: str = "hydra_plugins.lenet_exp_launcher.SlurmLauncher"
    driver: dict[str, Any] = field(default_factory=dict)  # options of sbatch for the job that sweep.detach=true makes


ConfigStore.instance().store(group="hydra/launcher", name="local", node=LocalLauncherConf, provider="lenet_exp")


class LocalLauncher(local_launcher.LocalLauncher):
    """Under the name by which Hydra finds it."""


ConfigStore.instance().store(group="hydra/launcher", name="cluster_ray", node=RayLauncherConf, provider="lenet_exp")


class RayLauncher(ray_launcher.RayLauncher):
    """Under the name by which Hydra finds it."""


ConfigStore.instance().store(group="hydra/launcher", name="cluster_slurm", node=SlurmLauncherConf, provider="lenet_exp")


class SlurmLauncher(slurm_launcher.SlurmLauncher):
    """Under the name by which Hydra finds it."""
