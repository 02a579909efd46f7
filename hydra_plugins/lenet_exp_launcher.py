"""hydra/launcher=local and cluster_ray. Hydra may load a plugin's module twice, so the classes live elsewhere."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore

from lenet_exp.executors import local_launcher, ray_launcher


@dataclass
class LocalLauncherConf:
    _target_: str = "hydra_plugins.lenet_exp_launcher.LocalLauncher"
    workers: Any = "${oc.select:sweep.workers,null}"  # null: the machine's cores
    retries: Any = "${oc.select:sweep.retries,1}"  # of a job whose process died
    time_limit: Any = "${oc.select:sweep.time_limit,null}"  # seconds a job
    fail_fast: Any = "${oc.select:sweep.fail_fast,false}"
    max_failures: Any = "${oc.select:sweep.max_failures,null}"  # in a row


@dataclass
class RayLauncherConf:
    _target_: str = "hydra_plugins.lenet_exp_launcher.RayLauncher"
    address: str | None = None  # of a cluster: auto, host:port, ray://host:port; null: one of this machine's own
    workers: Any = "${oc.select:sweep.workers,null}"  # at once; null: as many as the cluster has room for
    cpus: float | None = None  # of a run; null: its threads
    gpus: float = 0.0  # of a run; may be a share of one
    memory: int | None = None  # of a run, in bytes
    resources: dict[str, float] = field(default_factory=dict)  # of a run, as Ray's nodes name them
    init: dict[str, Any] = field(default_factory=dict)  # further arguments of ray.init
    retries: Any = "${oc.select:sweep.retries,1}"
    time_limit: Any = "${oc.select:sweep.time_limit,null}"
    fail_fast: Any = "${oc.select:sweep.fail_fast,false}"
    max_failures: Any = "${oc.select:sweep.max_failures,null}"


ConfigStore.instance().store(group="hydra/launcher", name="local", node=LocalLauncherConf, provider="lenet_exp")


class LocalLauncher(local_launcher.LocalLauncher):
    """Under the name by which Hydra finds it."""


ConfigStore.instance().store(group="hydra/launcher", name="cluster_ray", node=RayLauncherConf, provider="lenet_exp")


class RayLauncher(ray_launcher.RayLauncher):
    """Under the name by which Hydra finds it."""
