"""The runs that a sweep needs, and the sweeps in an outputs folder that need a run."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from lenet_exp.files import from_json, read_regular
from lenet_exp.folders.damage import damage_error
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder

MULTIRUN = frozenset({"-m", "--multirun", "hydra.mode=MULTIRUN"})  # the command of a sweep contains one of these


def runs_of(sweep: Path) -> list[str]:
    """Return the run folder's name for each of a sweep's jobs, in order, without parsing the rest of the jobs.

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
    """Return the sweeps that need each run folder, by run folder.

    Args:
        but: ids of sweeps to ignore.

    Raises:
        DamagedError: the jobs of a sweep are corrupt, so that its runs are unknown.
    """
    users: dict[str, list[str]] = {}
    for started in sorted((outputs / "sweeps").glob("*/sweep.json")):
        sweep = started.parent
        for run in runs_of(sweep) if sweep.name not in but else ():
            users.setdefault(run, []).append(sweep.name)
    return users


def trained_alone(sweep: SweepFolder, outputs: Path) -> frozenset[str]:
    """Return the sweep's run folders that were started outside any sweep before this sweep was first started.

    Raises:
        DamagedError: see `runs_of`.
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
        and folder.log_file.exists()  # a run from a different outputs folder has none
    )
