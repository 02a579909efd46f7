"""hydra/launcher=local. Hydra may load a plugin's module twice, so the class lives elsewhere."""

from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore

from lenet_exp.executors import local_launcher


@dataclass
class LocalLauncherConf:
    _target_: str = "hydra_plugins.lenet_exp_launcher.LocalLauncher"
    workers: Any = "${oc.select:sweep.workers,null}"  # null: the machine's cores
    retries: Any = "${oc.select:sweep.retries,1}"  # of a job whose process died
    time_limit: Any = "${oc.select:sweep.time_limit,null}"  # seconds a job
    fail_fast: Any = "${oc.select:sweep.fail_fast,false}"
    max_failures: Any = "${oc.select:sweep.max_failures,null}"  # in a row


ConfigStore.instance().store(group="hydra/launcher", name="local", node=LocalLauncherConf, provider="lenet_exp")


class LocalLauncher(local_launcher.LocalLauncher):
    """Under the name by which Hydra finds it."""
