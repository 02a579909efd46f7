"""Determines which runs a sweep needs and which sweeps in an outputs folder need a run."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from lenet_exp.files import from_json, read_regular
from lenet_exp.folders.damage import damage_error
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder

MULTIRUN = frozenset({"-m", "--multirun", "hydra.mode=MULTIRUN"})  # the command of a sweep contains one of these


def runs_of(sweep: Path) -> list[str]:
    """Return the IDs of a sweep's runs in the order of its jobs, without loading the jobs' configurations.

    Raises:
        DamagedError: jobs.jsonl is corrupt.
    """
    try:
        lines = read_regular(sweep / "jobs.jsonl").splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            del lines[-1]  # the sweep was killed while it added a job
        return list(dict.fromkeys(str(from_json(line)["run"]) for line in lines))
    except (OSError, ValueError, KeyError, TypeError) as e:
        again = "rerun the sweep's command to restore it"
        raise damage_error(sweep / "jobs.jsonl", type(e).__name__, again) from e


def users_of(outputs: Path, but: Collection[str]) -> dict[str, list[str]]:
    """Return the IDs of the sweeps that need each run, keyed by run ID.

    Args:
        but: IDs of sweeps to ignore.

    Raises:
        DamagedError: the jobs of a sweep are corrupt, so its runs are unknown.
    """
    users: dict[str, list[str]] = {}
    for started in sorted((outputs / "sweeps").glob("*/sweep.json")):
        sweep = started.parent
        for run in runs_of(sweep) if sweep.name not in but else ():
            users.setdefault(run, []).append(sweep.name)
    return users


def trained_alone(sweep: SweepFolder, outputs: Path) -> frozenset[str]:
    """Return the IDs of the sweep's runs that were started individually before the sweep was first started.

    Raises:
        DamagedError: jobs.jsonl is corrupt.
    """
    plan = sweep.kept_plan()
    created_ms = plan.created_ms if plan is not None else 0
    folders = [RunFolder(outputs / "runs" / run) for run in runs_of(sweep.path)]
    return frozenset(
        folder.id
        for folder in folders
        if (begun := folder.begun()) is not None
        and begun.created_ms < created_ms
        and MULTIRUN.isdisjoint(begun.command.removeprefix("python -m ").split())
        and folder.log_file.exists()  # a run from a different outputs folder has no log file
    )
