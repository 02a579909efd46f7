"""Launchers of lenet_exp for Hydra. The classes are defined elsewhere, because Hydra can load this module twice."""

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
    workers: Any = "${oc.select:sweep.workers,null}"  # number of parallel jobs; null: the machine's number of cores
    retries: Any = "${oc.select:sweep.retries,1}"  # number of retries of a job whose process died
    time_limit: Any = "${oc.select:sweep.time_limit,null}"  # seconds per job
    fail_fast: Any = "${oc.select:sweep.fail_fast,false}"
    max_failures: Any = "${oc.select:sweep.max_failures,null}"  # failures in a row


@dataclass
class RayLauncherConf(LocalLauncherConf):
    """Options of `hydra/launcher=cluster_ray`. If workers is null, the cluster's size limits their number."""

    _target_: str = "hydra_plugins.lenet_exp_launcher.RayLauncher"
    address: str | None = None  # the cluster: auto, host:port, ray://host:port; null: a new one on this machine
    cpus: float | None = None  # CPUs per run; null: the run's number of threads
    gpus: float = 0.0  # GPUs per run; can be a fraction
    memory: int | None = None  # bytes per run
    resources: dict[str, float] = field(default_factory=dict)  # resources per run, with the names of Ray's nodes
    init: dict[str, Any] = field(default_factory=dict)  # additional arguments for ray.init


@dataclass
class SlurmLauncherConf(LocalLauncherConf, SlurmOptions):
    """Options of `hydra/launcher=cluster_slurm`. If workers is null, there are allocations * tasks workers."""

    _target_: str = "hydra_plugins.lenet_exp_launcher.SlurmLauncher"
    driver: dict[str, Any] = field(default_factory=dict)  # sbatch options for the job that sweep.detach=true submits


ConfigStore.instance().store(group="hydra/launcher", name="local", node=LocalLauncherConf, provider="lenet_exp")


class LocalLauncher(local_launcher.LocalLauncher):
    """The local launcher, under the name by which Hydra finds it."""


ConfigStore.instance().store(group="hydra/launcher", name="cluster_ray", node=RayLauncherConf, provider="lenet_exp")


class RayLauncher(ray_launcher.RayLauncher):
    """The Ray launcher, under the name by which Hydra finds it."""


ConfigStore.instance().store(group="hydra/launcher", name="cluster_slurm", node=SlurmLauncherConf, provider="lenet_exp")


class SlurmLauncher(slurm_launcher.SlurmLauncher):
    """The Slurm launcher, under the name by which Hydra finds it."""
