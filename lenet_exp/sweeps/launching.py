"""Launches the jobs of a sweep, in local processes or with the launcher that is selected in
Hydra.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import cast

from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from lenet_exp.config.params import shown
from lenet_exp.config.schema import Config, Sweep, Tracking
from lenet_exp.errors import ConfigError
from lenet_exp.executors.launcher import ExecutorLauncher
from lenet_exp.executors.local.devices import worker_devices
from lenet_exp.executors.local.local_launcher import LocalLauncher
from lenet_exp.folders.job import Job
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.machine import command_line
from lenet_exp.sweeps.job import run_job
from lenet_exp.sweeps.session import Follow, Session
from lenet_exp.sweeps.watcher import watching
from lenet_exp.sweeps.workers import cores_of

log = logging.getLogger("lenet_exp")


def not_followed(
    sweep: SweepFolder, tracking: Tracking, *, trains: bool = True
) -> AbstractContextManager[None]:
    """Return a context for a sweep that nothing follows."""
    return nullcontext()


@dataclass(frozen=True, kw_only=True)
class Launching:
    """Launches jobs in processes on this machine, as specified by the `sweep.*` flags.

    Attributes:
        follow: function that returns a context in which a sweep is trained.
    """

    follow: Follow = not_followed

    def check(self, jobs: Sequence[Job], config: Config) -> None:
        """Check that jobs can be launched. A sweep calls this method before it writes any files.

        Args:
            jobs: jobs of the sweep, or examples of them.
            config: configuration of one job; its `sweep.*` flags apply to the sweep.

        Raises:
            ConfigError: the jobs cannot be launched.
        """
        worker_devices((job.config.device for job in jobs), config.sweep.devices)

    def launcher(self, session: Session) -> tuple[ExecutorLauncher, Mapping[str, str]]:
        """Return the launcher for the jobs of a sweep, and the environment variables for its
        processes.
        """
        flags = session.config.sweep
        launcher = LocalLauncher(flags.workers, flags.retries, flags.time_limit, flags.max_failures)
        return launcher, {}

    def train(
        self, session: Session, jobs: Iterable[Job | None], sample_jobs: Sequence[Job]
    ) -> None:
        """Train the jobs of a grid; see `Session.train`."""
        session.train(jobs, *self.launcher(session), sample_jobs=sample_jobs)


@dataclass(frozen=True, kw_only=True)
class HydraLaunching(Launching):
    """Launches jobs with the launcher that is selected in Hydra: one of lenet_exp or, for a grid,
    basic.

    Attributes:
        context: Hydra's context of the sweeper.
        config: configuration composed for the sweep, with the node `hydra`.
    """

    context: HydraContext
    config: DictConfig

    def check(self, jobs: Sequence[Job], config: Config) -> None:
        """Check that jobs can be launched; see `Launching.check`."""
        devices = config.sweep.devices
        if devices and self._launcher_class != "LocalLauncher":
            raise ConfigError(
                f"sweep.devices={shown(devices)}: requires hydra/launcher=local; "
                "Ray and Slurm assign GPUs"
            )

        super().check(jobs, config)
        if not self._in_this_process:
            self._launcher(config.sweep).check(cores_of(jobs))

    def launcher(self, session: Session) -> tuple[ExecutorLauncher, Mapping[str, str]]:
        """Return the launcher for the jobs of a sweep, and the environment variables for its
        processes.
        """
        environment = OmegaConf.to_container(self.config.hydra.job.env_set, resolve=True)
        return self._launcher(session.config.sweep), cast(Mapping[str, str], environment)

    def train(
        self, session: Session, jobs: Iterable[Job | None], sample_jobs: Sequence[Job]
    ) -> None:
        """Train the jobs of a grid; with `hydra/launcher=basic`, one after another in this
        process.
        """
        if not self._in_this_process:
            super().train(session, jobs, sample_jobs)
            return

        self._warn_of_ignored_flags(session.config.sweep)
        sweep = session.sweep
        display = session.display
        watch = watching(
            sweep, session.jobs, display, started_ms=session.started_ms, logs_ends=False
        )
        with display.sweep(), watch:
            for job in jobs:
                if job is None:  # never, because every earlier job has ended
                    continue
                with suppress(Exception):  # saved in the record of the run, or in the sweep folder
                    run_job(sweep, job, command=command_line(), display=display)

    @staticmethod
    def _warn_of_ignored_flags(flags: Sweep) -> None:
        ignored = []
        for flag in ("workers", "max_failures", "time_limit"):
            if getattr(flags, flag):
                ignored.append(f"sweep.{flag}")
        if ignored:
            log.warning(
                "hydra/launcher=basic ignores %s; set hydra/launcher=local", ", ".join(ignored)
            )

    @property
    def _launcher_class(self) -> str:
        """The class of the launcher without its module, such as `LocalLauncher`."""
        target = str(self.config.hydra.launcher._target_)
        return target.rpartition(".")[2]

    @property
    def _in_this_process(self) -> bool:
        return self._launcher_class == "BasicLauncher"

    def _launcher(self, flags: Sweep) -> ExecutorLauncher:
        composed = copy.deepcopy(self.config)
        with open_dict(composed):
            composed.sweep = OmegaConf.structured(flags)
        launcher = Plugins.instance().instantiate_launcher(
            self.context, task_function=lambda _: None, config=composed
        )
        return cast(ExecutorLauncher, launcher)
