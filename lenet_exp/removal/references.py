"""Determines which sweeps in an outputs folder need a run, and which runs of a sweep are older than the sweep."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder

MULTIRUN = frozenset({"-m", "--multirun", "hydra.mode=MULTIRUN"})  # the command of a sweep contains one of these


def users_of(outputs: Path, but: Collection[str]) -> dict[str, list[str]]:
    """Return the IDs of the sweeps that need each run, keyed by run ID.

    Args:
        but: IDs of sweeps to ignore.

    Raises:
        DamagedError: the jobs of a sweep are corrupt, so its runs are unknown.
    """
    users: dict[str, list[str]] = {}
    for path in sorted((outputs / "sweeps").glob("*/sweep.json")):
        sweep = SweepFolder(path.parent)
        for run in sweep.run_ids() if sweep.id not in but else ():
            users.setdefault(run, []).append(sweep.id)
    return users


def trained_alone(sweep: SweepFolder, outputs: Path) -> frozenset[str]:
    """Return the IDs of the sweep's runs that were started individually before the sweep was first started.

    Raises:
        DamagedError: jobs.jsonl is corrupt.
    """
    plan = sweep.kept_plan()
    created_ms = plan.created_ms if plan is not None else 0
    folders = [RunFolder(outputs / "runs" / run) for run in sweep.run_ids()]
    return frozenset(
        folder.id
        for folder in folders
        if (begun := folder.begun()) is not None
        and begun.created_ms < created_ms
        and MULTIRUN.isdisjoint(begun.command.removeprefix("python -m ").split())
        and folder.log_file.exists()  # a run from a different outputs folder has no log file
    )
