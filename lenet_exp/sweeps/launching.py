"""Launches the jobs of a sweep, in local processes or with the launcher that is selected in Hydra."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, cast

from hydra.core.config_loader import ConfigLoader
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from lenet_exp.addresses import hide_password
from lenet_exp.config.params import shown
from lenet_exp.config.schema import Config
from lenet_exp.errors import ConfigError, first_line
from lenet_exp.executors.launcher import ExecutorLauncher
from lenet_exp.executors.local.devices import worker_devices
from lenet_exp.executors.local.local_launcher import LocalLauncher
from lenet_exp.folders.job import Job
from lenet_exp.sweeps.job import hydra_task
from lenet_exp.sweeps.session import Session
from lenet_exp.sweeps.workers import cores_of

OURS = "hydra_plugins.lenet_exp_"

log = logging.getLogger("lenet_exp")


class LocalLaunching:
    """Launches jobs in processes on this machine, as specified by the `sweep.*` flags."""

    def check(self, jobs: Sequence[Job], config: Config) -> None:
        """Check that the devices in `sweep.devices` exist; see `HydraLaunching.check`."""
        worker_devices((job.config.device for job in jobs), config.sweep.devices)

    def launcher(self, session: Session) -> tuple[LocalLauncher, Mapping[str, str]]:
        """Return a local launcher; see `HydraLaunching.launcher`."""
        flags = session.config.sweep
        launcher = LocalLauncher(
            flags.workers, flags.retries, flags.time_limit, flags.fail_fast, max_failures=flags.max_failures
        )
        return launcher, {}

    def train(self, session: Session, jobs: Sequence[Job]) -> None:
        """Train the jobs of a grid."""
        launcher, environment = self.launcher(session)
        session.train(jobs, launcher, environment, like=jobs)


@dataclass(frozen=True)
class HydraLaunching:
    """Launches jobs with the launcher that is selected in Hydra, which can be from lenet_exp, Hydra, or another plugin.

    Attributes:
        context: Hydra's context of the sweeper.
        config: configuration composed for the sweep, with the node `hydra`.
    """

    context: HydraContext
    config: DictConfig

    def check_gives_executor(self) -> None:
        """Check that the launcher can accept jobs one at a time, which a search requires.

        Raises:
            ConfigError: the launcher only accepts lists of jobs.
        """
        name = str(self.config.hydra.launcher._target_)
        if not name.startswith(OURS):
            raise ConfigError(
                f"hydra/launcher ({name.rpartition('.')[2]}): cannot run a search; set "
                "hydra/launcher=local, cluster_ray, or cluster_slurm"
            )

    def check(self, jobs: Sequence[Job], config: Config) -> None:
        """Check that jobs can be launched. A sweep calls this method before it writes any files.

        Args:
            jobs: jobs of the sweep, or examples of them.
            config: configuration of one job; its `sweep.*` flags apply to the sweep.

        Raises:
            ConfigError: the jobs cannot be launched.
        """
        devices, name = config.sweep.devices, str(self.config.hydra.launcher._target_)
        if devices and name != f"{OURS}launcher.LocalLauncher":
            raise ConfigError(
                f"sweep.devices={shown(devices)}: requires hydra/launcher=local; Ray and Slurm assign GPUs"
            )
        worker_devices((job.config.device for job in jobs), devices)
        if not name.startswith(OURS):
            return
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self.context, task_function=hydra_task, config=self.config
        )
        if isinstance(launcher, ExecutorLauncher):
            launcher.check(cores_of(jobs))

    def launcher(self, session: Session) -> tuple[Launcher, Mapping[str, str]]:
        """Return the launcher for the jobs of a sweep, and the environment variables for its processes.

        Args:
            session: open session of the sweep, which uploads and displays runs that train in this process.
        """
        composed = copy.deepcopy(self.config)
        OmegaConf.set_readonly(composed.hydra, False)
        with open_dict(composed):
            composed.hydra.sweep.dir = str(session.sweep.path)
            composed.sweep = OmegaConf.structured(replace(session.config.sweep, on_end=None, webhook=None))
            raw = cast(Any, OmegaConf.to_container(composed.hydra))  # interpolations can contain secrets
            composed.hydra.overrides.task = [hide_password(o) for o in raw["overrides"]["task"]]  # launchers store it
            composed.hydra.job.override_dirname = hide_password(raw["job"]["override_dirname"])
        loader = cast(ConfigLoader, JobLoader(session.sweep.path))
        context = HydraContext(config_loader=loader, callbacks=self.context.callbacks)
        task: TaskFunction = hydra_task
        if self._in_this_process:
            task = partial(hydra_task, delivery=session.background, display=session.display)
        launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=composed)
        environment = OmegaConf.to_container(composed.hydra.job.env_set, resolve=True)
        return launcher, cast(Mapping[str, str], environment)

    def train(self, session: Session, jobs: Sequence[Job]) -> None:
        """Train the jobs of a grid."""
        launcher, environment = self.launcher(session)
        if isinstance(launcher, ExecutorLauncher):
            session.train(jobs, launcher, environment, like=jobs)
        else:
            launch(launcher, session, jobs, in_this_process=self._in_this_process)

    @property
    def _in_this_process(self) -> bool:
        return str(self.config.hydra.launcher._target_).endswith(".BasicLauncher")


Launching = LocalLaunching | HydraLaunching


class JobLoader:
    """Config loader that returns frozen jobs to launchers that compose configurations, so conf/ is read only once.

    The overrides of each job must end with an additional item, `job_number=<number of the job>`.
    """

    def __init__(self, sweep: Path) -> None:
        self.sweep = sweep

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """Return the configuration of a job; implements Hydra's `ConfigLoader`."""
        *overrides, marker = sweep_overrides
        config = copy.deepcopy(master_config)  # keeps the types of the node `hydra`
        OmegaConf.set_readonly(config.hydra, False)  # launchers store job numbers there
        with open_dict(config):
            for key in [key for key in config if key != "hydra"]:
                del config[key]
            config.sweep_job = {"sweep": str(self.sweep), "number": int(marker.partition("=")[2])}
            config.hydra.overrides.task = overrides
        return config


def launch(launcher: Launcher, session: Session, jobs: Sequence[Job], *, in_this_process: bool) -> None:
    """Run jobs with a launcher from Hydra or another plugin, such as basic, joblib, ray, or submitit.

    If the launcher fails, an error is logged, and the command exits with status 1.

    Args:
        launcher: launcher to use.
        session: session of the sweep.
        jobs: jobs to run.
        in_this_process: whether the launcher runs jobs in the sweep's own process.
    """
    flags = session.config.sweep
    ignored = [f for f in ("workers", "fail_fast", "max_failures", "time_limit") if getattr(flags, f)]
    if ignored:
        names = ", ".join(f"sweep.{flag}" for flag in ignored)
        log.warning("%s ignores %s; to use them, set hydra/launcher=local", type(launcher).__name__, names)
    marked = [[*job.overrides, f"job_number={job.number}"] for job in jobs]
    with session.display.sweep(), session.watching(in_this_process=in_this_process):
        try:
            returns: Sequence[JobReturn] = launcher.launch(marked, initial_job_idx=0)
        except Exception as e:
            log.error("%s failed: %s: %s", type(launcher).__name__, type(e).__name__, first_line(e))
            session.launcher_gave_up = True
            returns = []
        for job, done in zip(jobs, returns, strict=False):
            if done.status is not JobStatus.COMPLETED:
                session.record_failure(job.number, _error_of(done))


def _error_of(done: JobReturn) -> BaseException:
    """Return the exception that a job raised."""
    try:
        with redirect_stderr(StringIO()):  # Hydra also prints the exception
            return TypeError(f"{done.status}: {done.return_value}")
    except Exception as e:
        return e
