"""sweep.detach: the sweep is checked, handed to the cluster, and the command returns."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from hydra.plugins.launcher import Launcher

from lenet_exp.addresses import hide_password
from lenet_exp.config.schema import Config
from lenet_exp.errors import ConfigError
from lenet_exp.executors.slurm.driver import queued
from lenet_exp.executors.slurm.slurm_launcher import SlurmLauncher
from lenet_exp.folders.job import Job
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.outputs import check_outputs
from lenet_exp.sweeps.session import SweepRequest, plan_fields
from lenet_exp.sweeps.workers import cores_of
from lenet_exp.tracking.delivery.store_delivery import StoreDelivery

BY_ENVIRONMENT = "allowed with sweep.detach is the environment, MLFLOW_TRACKING_URI, which sbatch passes on"

log = logging.getLogger("lenet_exp")


def check_detachable(launcher: Launcher) -> None:
    """Raises:
    ConfigError: the launcher submits nothing, or the command, which is kept, holds a password.
    """
    if not isinstance(launcher, SlurmLauncher):
        raise ConfigError("sweep.detach=true: must come with hydra/launcher=cluster_slurm")
    for word in sys.argv[1:]:  # the line is kept, in the sweep's folder and by Slurm
        if hide_password(word) != word:
            raise ConfigError(f"{hide_password(word)}: its password would be kept; {BY_ENVIRONMENT}")


def detach(launcher: Launcher, sweep: SweepFolder, jobs: Sequence[Job], config: Config, request: SweepRequest) -> None:
    """Submits the line that was typed, unless that was done before.

    Args:
        jobs: those that are known; of a search, some that it may make.

    Raises:
        ConfigError: the launcher can't, the cluster refuses it, or the outputs folder can't be written.
        StoreError: the MLflow store can't be used.
    """
    check_detachable(launcher)
    assert isinstance(launcher, SlurmLauncher)
    check_outputs(sweep.outputs)
    StoreDelivery(config.tracking, sweep.outputs, in_sweep=True)
    owner, (driver, _) = sweep.owner(), queued(sweep.path)
    if owner is not None or driver is not None:
        where = f"in process {owner.pid} on {owner.host}" if owner else f"as Slurm's job {driver.id}"  # type: ignore[union-attr]
        log.info("sweep %s runs already, %s", sweep.id, where)
        return
    if sweep.kept_plan() is None:
        with sweep.claim():
            known = [] if request.search is not None else list(jobs)
            sweep.start(known, runs=len(known), **plan_fields(request, config, again=False))
            sweep.save(outcome=Outcome.not_started, starts=0)
    typed = [word for word in sys.argv[1:] if not word.lstrip("+").startswith("sweep.detach=")]
    job = launcher.detach(sweep.path, [sys.executable, "-m", "lenet_exp", "train", *typed], cores_of(jobs))
    log.info("sweep %s: Slurm's job %s drives it; lenet-sweep status, watch and stop know of it", sweep.id, job)
