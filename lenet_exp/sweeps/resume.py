"""Finds an earlier sweep and its frozen jobs, for `sweep.resume=` and `lenet-sweep`."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from lenet_exp.config.compose import typed
from lenet_exp.config.schema import Config
from lenet_exp.errors import ConfigError
from lenet_exp.outputs import outputs_dir
from lenet_exp.sweeps.freeze import FrozenJob
from lenet_exp.sweeps.sweep_folder import SweepFolder, all_sweeps


def frozen_sweep(given: Config) -> tuple[SweepFolder, list[FrozenJob], Config]:
    """The sweep that `given.sweep.resume` names, its jobs, and its configuration with what was given now.

    Raises:
        ConfigError: there is no such sweep, or its store needs a password that was not kept.
    """
    sweep = find_sweep(str(given.sweep.resume))
    jobs, kept = sweep.jobs(), sweep.plan()["tracking_uri"]
    uri = given.tracking.uri or kept
    if uri is not None and "***" in uri:
        raise ConfigError(f"tracking.uri={uri}: its password was not kept; give tracking.uri= or MLFLOW_TRACKING_URI")
    config = typed(jobs[0].config)
    return sweep, jobs, replace(config, sweep=given.sweep, tracking=replace(config.tracking, uri=uri))


def is_mlflow_run_id(which: str) -> bool:
    """Whether it may name a sweep that only the store knows."""
    return re.fullmatch(r"[0-9a-f]{32}", which) is not None


def find_sweep(which: str) -> SweepFolder:
    """The sweep that `last`, an MLflow run id, a sweep's id or a sweep folder names.

    Raises:
        ConfigError: there is none.
    """
    path = Path(which).expanduser()
    if which != "last" and (path / "sweep.json").exists():
        return SweepFolder(path.absolute())
    sweeps = all_sweeps(outputs_dir())
    for sweep in sweeps:
        plan = sweep.plan()
        if which == "last" or (len(which) >= 4 and sweep.id.startswith(which)) or which in plan["mlflow_runs"].values():
            return sweep
    raise ConfigError(
        f"{which}: no such sweep in {outputs_dir()}; allowed is last, a sweep's id or its MLflow run id"
        + (f" (there are {', '.join(s.id for s in sweeps[:5])})" if sweeps else ", or its folder's path")
    )
