"""Lookup of sweeps and runs by the name that a user types."""

from __future__ import annotations

import re
from pathlib import Path

from lenet_exp.errors import ConfigError
from lenet_exp.files import user_path
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.outputs import outputs_dir


def is_mlflow_run_id(which: str) -> bool:
    """Return whether a name is in the form of an MLflow run ID, which can identify a sweep without
    a sweep folder.
    """
    return re.fullmatch(r"[0-9a-f]{32}", which) is not None


def find_sweep(which: str, flag: str = "sweep") -> SweepFolder:
    """Return the sweep that a user specified.

    Args:
        which: `last`, a sweep ID or at least its first four characters, an MLflow run ID, or a
            sweep folder.
        flag: flag with this value, for errors.

    Raises:
        ConfigError: no sweep was found.
    """
    path = user_path(which)
    if which != "last" and (path / "sweep.json").exists():
        return SweepFolder(path.absolute())
    named = [
        p.parent
        for p in (outputs_dir() / "sweeps").glob("*/sweep.json")
        if p.parent.name.startswith(which)
    ]
    if (
        len(which) >= 4 and len(named) == 1
    ):  # if sweep.json is corrupt, reading it reports the error
        return SweepFolder(named[0])
    sweeps = all_sweeps(outputs_dir())
    for sweep in sweeps:
        is_named = len(which) >= 4 and sweep.id.startswith(which)
        if which == "last" or is_named or which in sweep.delivered().run_ids().values():
            return sweep
    if which == "last":
        there = "run lenet-train -m first, or set LENET_EXP_OUTPUTS to another folder"
        raise ConfigError(f"{flag}=last: no sweep found in {outputs_dir()}; {there}")
    found = f" (found: {', '.join(s.id for s in sweeps[:5])})" if sweeps else ""
    raise ConfigError(
        f"{flag}={which}: not found in {outputs_dir()}; must be 'last', a sweep ID (or at least its first 4 "
        f"characters), an MLflow run ID, or a sweep folder{found}"
    )


def find_run(which: str) -> RunFolder:
    """Return the run that a user specified.

    Args:
        which: run ID or at least its first four characters, or a run folder.

    Raises:
        ConfigError: no run is found, or several runs match.
    """
    path = user_path(which)
    if path.is_dir() and RunFolder(path.absolute()).begun() is not None:
        return RunFolder(path.absolute())
    runs = outputs_dir() / "runs"
    found = [run for run in all_runs(outputs_dir()) if len(which) >= 4 and run.id.startswith(which)]
    if len(found) == 1:
        return found[0]
    several = (
        f"matches several runs ({', '.join(run.id for run in found[:5])})"
        if found
        else f"not found in {runs}"
    )
    raise ConfigError(
        f"{which}: {several}; must be a run folder or a run ID (or at least its first 4 characters)"
    )


def run_uploaded_as(run_id: str) -> RunFolder | None:
    """Return the run folder in the outputs folder from which an MLflow run was uploaded, or None if
    there is none.
    """
    for folder in all_runs(outputs_dir()):
        if any(uploaded.run_id == run_id for uploaded in folder.delivered().mlflow_runs):
            return folder
    return None


def all_runs(outputs: Path) -> list[RunFolder]:
    """Return the run folders in an outputs folder."""
    return [RunFolder(path) for path in sorted((outputs / "runs").glob("*")) if path.is_dir()]
