"""Finds a sweep by what a person calls it."""

from __future__ import annotations

import re

from lenet_exp.errors import ConfigError
from lenet_exp.files import user_path
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.outputs import outputs_dir


def is_mlflow_run_id(which: str) -> bool:
    """Whether it may name a sweep that only the store knows."""
    return re.fullmatch(r"[0-9a-f]{32}", which) is not None


def find_sweep(which: str) -> SweepFolder:
    """The sweep that `last`, an MLflow run id, a sweep's id or a sweep folder names.

    Raises:
        ConfigError: there is none.
    """
    path = user_path(which)
    if which != "last" and (path / "sweep.json").exists():
        return SweepFolder(path.absolute())
    named = [p.parent for p in (outputs_dir() / "sweeps").glob("*/sweep.json") if p.parent.name.startswith(which)]
    if len(which) >= 4 and len(named) == 1:  # damaged or not: whoever reads it will say so
        return SweepFolder(named[0])
    sweeps = all_sweeps(outputs_dir())
    for sweep in sweeps:
        plan = sweep.started()
        if which == "last" or (len(which) >= 4 and sweep.id.startswith(which)) or which in plan.mlflow_runs.values():
            return sweep
    raise ConfigError(
        f"{which}: no such sweep in {outputs_dir()}; allowed is last, a sweep's id or its MLflow run id"
        + (f" (there are {', '.join(s.id for s in sweeps[:5])})" if sweeps else ", or its folder's path")
    )
