"""Launches the jobs of a sweep by a launcher of Hydra's or of others: basic, joblib, ray, submitit."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, open_dict

from lenet_exp.config.schema import Sweep
from lenet_exp.errors import first_line
from lenet_exp.folders.job import Job
from lenet_exp.sweeps.session import Session

log = logging.getLogger("lenet_exp")


class JobLoader:
    """Gives a launcher frozen jobs where it asks for composed ones, so that conf/ is read once a sweep.

    A job's overrides have one more, `job_line=<where its line begins in jobs.jsonl>`.
    """

    def __init__(self, sweep: Path) -> None:
        self.sweep = sweep

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        *overrides, marker = sweep_overrides
        config = copy.deepcopy(master_config)  # keeps the types of the node `hydra`
        with open_dict(config):
            for key in [key for key in config if key != "hydra"]:
                del config[key]
            config.sweep_job = {"sweep": str(self.sweep), "line": int(marker.partition("=")[2])}
            config.hydra.overrides.task = overrides
        return config


def here(config: DictConfig) -> bool:
    """Whether the configured launcher runs jobs in the sweep's own process."""
    return str(config.hydra.launcher._target_).endswith(".BasicLauncher")


def launch(launcher: Launcher, session: Session, jobs: Sequence[Job], *, in_this_process: bool) -> None:
    """Calls the launcher. One that gives up is said, and the sweep comes to its end with status 1."""
    _tell_promises(launcher, session.config.sweep)
    offsets = session.sweep.offsets()
    marked = [[*job.overrides, f"job_line={offsets[job.number]}"] for job in jobs]
    with session.watching(in_this_process=in_this_process):
        try:
            returns: Sequence[JobReturn] = launcher.launch(marked, initial_job_idx=0)
        except Exception as e:
            log.error("%s gave up: %s: %s", type(launcher).__name__, type(e).__name__, first_line(e))
            session.launcher_gave_up = True
            returns = []
        for job, done in zip(jobs, returns, strict=False):
            if done.status is not JobStatus.COMPLETED:
                session.tell_failure(job.number, done._return_value)


def _tell_promises(launcher: Launcher, flags: Sweep) -> None:
    """Says what another launcher than the local one can't do."""
    name = type(launcher).__name__
    defaults = {"workers": None, "retries": 1, "fail_fast": False, "max_failures": None, "time_limit": None}
    without = [f"sweep.{flag}" for flag, value in defaults.items() if getattr(flags, flag) != value]
    if without:
        log.warning("%s: no effect of %s; hydra/launcher=local has them", name, ", ".join(without))
    log.info("%s: a process that dies may end the sweep (docs/launchers.md); the same line again goes on", name)
