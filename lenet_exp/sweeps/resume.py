"""The sweep that goes on with `sweep.resume=`, whatever conf/ holds now."""

from __future__ import annotations

from dataclasses import replace

from lenet_exp.config.schema import Config
from lenet_exp.errors import ConfigError
from lenet_exp.folders.find import find_sweep
from lenet_exp.folders.job import Job
from lenet_exp.folders.sweep_folder import SweepFolder


def frozen_sweep(given: Config) -> tuple[SweepFolder, list[Job], Config]:
    """The sweep that `given.sweep.resume` names, its jobs, and its configuration with what was given now.

    Raises:
        ConfigError: there is no such sweep, or its store needs a password that was not kept.
    """
    sweep = find_sweep(str(given.sweep.resume))
    jobs, kept = sweep.jobs(), sweep.started().tracking_uri
    uri = given.tracking.uri or kept
    if uri is not None and "***" in uri:
        raise ConfigError(f"tracking.uri={uri}: its password was not kept; give tracking.uri= or MLFLOW_TRACKING_URI")
    config = jobs[0].config
    return sweep, jobs, replace(config, sweep=given.sweep, tracking=replace(config.tracking, uri=uri))
