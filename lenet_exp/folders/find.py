"""Lookup of a sweep or a run by the name that a user types."""

from __future__ import annotations

import re
from pathlib import Path

from lenet_exp.errors import ConfigError
from lenet_exp.files import user_path
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.outputs import outputs_dir


def is_mlflow_run_id(which: str) -> bool:
    """Return whether a name has the form of an MLflow run id, and so may name a sweep that only the store knows."""
    return re.fullmatch(r"[0-9a-f]{32}", which) is not None


def find_sweep(which: str) -> SweepFolder:
    """Return the sweep that `last`, an MLflow run id, a sweep's id or a sweep folder names.

    Raises:
        ConfigError: no sweep is found.
    """
    path = user_path(which)
    if which != "last" and (path / "sweep.json").exists():
        return SweepFolder(path.absolute())
    named = [p.parent for p in (outputs_dir() / "sweeps").glob("*/sweep.json") if p.parent.name.startswith(which)]
    if len(which) >= 4 and len(named) == 1:  # if it is corrupt, reading it reports that
        return SweepFolder(named[0])
    sweeps = all_sweeps(outputs_dir())
    for sweep in sweeps:
        plan = sweep.started()
        if which == "last" or (len(which) >= 4 and sweep.id.startswith(which)) or which in plan.mlflow_runs.values():
            return sweep
    if which == "last":
        there = "lenet-train -m ... starts one, LENET_EXP_OUTPUTS names another folder"
        raise ConfigError(f"sweep=last: there is no sweep in {outputs_dir()}; {there}")
    raise ConfigError(
        f"{which}: no such sweep in {outputs_dir()}; "
        + (
            "must be last, a sweep id (or its first 4 digits) or its MLflow run id "
            f"(found: {', '.join(s.id for s in sweeps[:5])})"
            if sweeps
            else "none was started there; give the path of a sweep's folder"
        )
    )


def find_run(which: str) -> RunFolder:
    """Return the run that a run folder or its id (or the id's first digits) names.

    Raises:
        ConfigError: no run is found, or several match.
    """
    path = user_path(which)
    if RunFolder(path.absolute()).begun() is not None:
        return RunFolder(path.absolute())
    runs = outputs_dir() / "runs"
    found = [path for path in all_runs(outputs_dir()) if len(which) >= 4 and path.id.startswith(which)]
    if len(found) == 1:
        return found[0]
    several = f"; these are several: {', '.join(run.id for run in found[:5])}" if found else ""
    raise ConfigError(f"{which}: not found in {runs}; must be a run folder or its id (or its first 4 digits){several}")


def all_runs(outputs: Path) -> list[RunFolder]:
    """Return the run folders in an outputs folder."""
    return [RunFolder(path) for path in sorted((outputs / "runs").glob("*")) if path.is_dir()]
