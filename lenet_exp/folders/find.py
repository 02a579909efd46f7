"""Lookup of sweeps and runs by the name that a user types."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from lenet_exp.errors import ConfigError, DamagedError
from lenet_exp.files import user_path
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.outputs import outputs_dir

LEAST_CHARACTERS = 4  # of an ID that the user abbreviates
FEW = 5  # maximum number of IDs in an error message
LATEST = 20  # number of sweeps that `has_finished` reads


def is_mlflow_run_id(which: str) -> bool:
    """Return whether a name is in the form of an MLflow run ID.

    Such an ID can identify a sweep without a sweep folder.
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

    matching_folders = []
    for file in (outputs_dir() / "sweeps").glob("*/sweep.json"):
        if _is_abbreviation(which, file.parent.name):
            matching_folders.append(file.parent)
    if len(matching_folders) == 1:
        # If sweep.json is corrupt, reading it reports the error.
        return SweepFolder(matching_folders[0])

    sweeps = all_sweeps(outputs_dir())
    for sweep in sweeps:
        if which == "last" or _is_abbreviation(which, sweep.id):
            return sweep
        if which in sweep.delivered().run_ids().values():
            return sweep

    if which == "last":
        raise ConfigError(
            f"{flag}=last: no sweep found in {outputs_dir()}; run lenet-train -m first, "
            "or set LENET_EXP_OUTPUTS to another folder"
        )
    choices = ""
    if sweeps:
        ids = ", ".join(sweep.id for sweep in sweeps[:FEW])
        choices = f" (found: {ids})"
    raise ConfigError(
        f"{flag}={which}: not found in {outputs_dir()}; must be 'last', a sweep ID (or at least "
        f"its first {LEAST_CHARACTERS} characters), an MLflow run ID, or a sweep folder{choices}"
    )


def _is_abbreviation(which: str, name: str) -> bool:
    return len(which) >= LEAST_CHARACTERS and name.startswith(which)


def has_finished(command: str) -> bool:
    """Return whether a command trained one of the latest sweeps, which has finished.

    This is a guess, because the option files may have changed since.

    Args:
        command: command as in sweep.json.
    """
    files = []
    for file in (outputs_dir() / "sweeps").glob("*/sweep.json"):
        with contextlib.suppress(OSError):  # removed in the meantime
            files.append((file.stat().st_mtime_ns, file))

    for _, file in sorted(files, reverse=True)[:LATEST]:
        with contextlib.suppress(OSError, DamagedError):
            plan = SweepFolder(file.parent).started()
            if plan.command == command and plan.outcome is Outcome.finished:
                return True
    return False


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

    matching_runs = [run for run in all_runs(outputs_dir()) if _is_abbreviation(which, run.id)]
    if len(matching_runs) == 1:
        return matching_runs[0]

    if matching_runs:
        ids = ", ".join(run.id for run in matching_runs[:FEW])
        problem = f"matches several runs ({ids})"
    else:
        problem = f"not found in {outputs_dir() / 'runs'}"
    raise ConfigError(
        f"{which}: {problem}; must be a run folder or a run ID "
        f"(or at least its first {LEAST_CHARACTERS} characters)"
    )


def run_uploaded_as(run_id: str) -> RunFolder | None:
    """Return the run folder in the outputs folder from which an MLflow run was uploaded.

    The result is None if there is no such folder.
    """
    for folder in all_runs(outputs_dir()):
        entries = folder.delivered().mlflow_runs
        if any(entry.run_id == run_id for entry in entries):
            return folder
    return None


def all_runs(outputs: Path) -> list[RunFolder]:
    """Return the run folders in an outputs folder."""
    return [RunFolder(path) for path in sorted((outputs / "runs").glob("*")) if path.is_dir()]
