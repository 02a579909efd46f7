"""Submits a sweep to the cluster as a job (`sweep.detach=true`), so that the command returns immediately."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from hydra.plugins.launcher import Launcher

from lenet_exp.addresses import hide_password
from lenet_exp.config.schema import HOOKS, Config, value_of
from lenet_exp.errors import ConfigError
from lenet_exp.executors.launcher import ExecutorLauncher
from lenet_exp.executors.queues import queued
from lenet_exp.folders.code_folder import save_code
from lenet_exp.folders.config_dir import RESUMABLE
from lenet_exp.folders.job import Job
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.outputs import check_outputs
from lenet_exp.sweeps.session import SweepRequest, plan_fields
from lenet_exp.sweeps.workers import cores_of
from lenet_exp.tracking.delivery.store_delivery import StoreDelivery

BY_ENVIRONMENT = "set MLFLOW_TRACKING_URI instead, which sbatch passes to the job"
BY_VARIABLE = "set sweep.webhook='${oc.env:NAME}' and the environment variable NAME, which sbatch passes to the job"

log = logging.getLogger("lenet_exp")


def check_detachable(launcher: Launcher) -> ExecutorLauncher:
    """Check that a sweep can be submitted to the cluster, and return its launcher.

    Raises:
        ConfigError: the launcher cannot submit sweeps, or the command contains a password or the address of a webhook,
            which would be stored.
    """
    if not (isinstance(launcher, ExecutorLauncher) and launcher.detaches):
        raise ConfigError("sweep.detach=true: requires hydra/launcher=cluster_slurm")
    for word in sys.argv[1:]:  # the command is stored in the sweep folder and by Slurm
        if (shown := hide_password(word)) != word:
            secret, instead = ("address", BY_VARIABLE) if "webhook" in shown else ("password", BY_ENVIRONMENT)
            raise ConfigError(f"{shown}: its {secret} would be stored; {instead}")
    return launcher


def detach(launcher: Launcher, sweep: SweepFolder, jobs: Sequence[Job], config: Config, request: SweepRequest) -> None:
    """Submit a command that resumes the sweep as a Slurm job, unless the sweep is already running or queued.

    The job runs the configurations and the code of now, even if they change before it starts.

    Args:
        launcher: launcher that submits the command.
        sweep: folder of the sweep.
        jobs: all jobs of a grid; for a search, examples of jobs that it may create.
        config: configuration of one job; its `sweep.*` and `tracking.*` flags apply to the sweep.
        request: sweep as requested by the user.

    Raises:
        ConfigError: the launcher cannot submit sweeps, Slurm refuses the job, or the outputs folder cannot be written
            to.
        StoreError: the MLflow store cannot be used.
    """
    detaching = check_detachable(launcher)
    words = [w for w in _kept(sys.argv[1:]) if not w.lstrip("+").startswith("sweep.detach=")]
    for hook in HOOKS:  # the driver resumes the sweep, without option files
        if value_of(config, hook) and not any(word.startswith(f"{hook}=") for word in words):
            raise ConfigError(f"{hook}: must be set on the command line with sweep.detach=true")
    check_outputs(sweep.outputs)
    save_code((job.config for job in jobs), sweep.outputs)
    StoreDelivery(config.tracking, sweep.outputs, in_sweep=True)
    owner, (driver, _) = sweep.owner(), queued(sweep.path)
    if owner is not None or driver is not None:
        where = f"in process {owner.pid} on {owner.host}" if owner else f"as Slurm job {driver.id}"  # type: ignore[union-attr]
        log.info("sweep %s is already running %s", sweep.id, where)
        return
    if sweep.kept_plan() is None:
        with sweep.claim():
            known = [] if request.search is not None else list(jobs)
            sweep.start(known, runs=len(known), **plan_fields(request, config, again=False))
            sweep.save(outcome=Outcome.not_started, starts=0)
    command = [sys.executable, "-m", "lenet_exp", "train", *words, f"sweep.resume={sweep.id}"]
    job = detaching.detach(sweep.path, command, cores_of(jobs))
    follow = f"lenet-sweep watch sweep={sweep.id}"
    log.info("sweep %s: submitted as Slurm job %s, which takes a core; to watch it, run: %s", sweep.id, job, follow)


def _kept(words: Sequence[str]) -> list[str]:
    """Return the words of a command that may accompany `sweep.resume=`: options with their values, and some flags."""
    pairs = zip(words, ["", *words], strict=False)
    return [w for w, before in pairs if w.startswith(("-", *RESUMABLE)) or before in {"--config-dir", "-cd"}]
