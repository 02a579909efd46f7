"""The launchers of ours. Hydra may load a plugin's module twice, so the classes live elsewhere."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore

from lenet_exp.executors.local import local_launcher
from lenet_exp.executors.ray import ray_launcher
from lenet_exp.executors.slurm import slurm_launcher


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
class SlurmLauncherConf(LocalLauncherConf):
    """Workers: allocations * tasks in all, where they are null."""

    _target_: str = "hydra_plugins.lenet_exp_launcher.SlurmLauncher"
    allocations: int = 1  # Slurm jobs at once, submitted as an array
    tasks: int = 1  # runs at once in each of them
    cpus: int | None = None  # of a run; null: its threads
    partition: str | None = None
    account: str | None = None
    time: str | None = None  # of an allocation, as sbatch takes it
    requeue: bool = True  # whether Slurm may start an allocation again that it took back or whose node it lost
    sbatch: dict[str, Any] = field(default_factory=dict)  # further options of sbatch
    driver: dict[str, Any] = field(default_factory=dict)  # the same of the job that sweep.detach=true makes
    before: list[str] = field(default_factory=list)  # lines of bash, run before Python is started
    lost_after: float = 60.0  # seconds of silence, or of absence from the queue


ConfigStore.instance().store(group="hydra/launcher", name="local", node=LocalLauncherConf, provider="lenet_exp")


class LocalLauncher(local_launcher.LocalLauncher):
    """Under the name by which Hydra finds it."""


ConfigStore.instance().store(group="hydra/launcher", name="cluster_ray", node=RayLauncherConf, provider="lenet_exp")


class RayLauncher(ray_launcher.RayLauncher):
    """Under the name by which Hydra finds it."""


ConfigStore.instance().store(group="hydra/launcher", name="cluster_slurm", node=SlurmLauncherConf, provider="lenet_exp")


class SlurmLauncher(slurm_launcher.SlurmLauncher):
    """Under the name by which Hydra finds it."""
